"""Measure a restorer on pairs: one row per picture."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from skimage.color import rgb2gray
from skimage.filters import sobel
from torch import Tensor

from restoration_lib import metrics
from restoration_lib.baselines import BASELINES
from restoration_lib.data import Pair
from restoration_lib.images import to_tensor, to_uint8
from restoration_lib.methods.base import Method

INPUT, RESTORED = "input", "restored"
DETAIL = (0, 2, 4, 8, 16, 32)  # grey levels per pixel: from flat areas to hard edges


def restore(method: Method, picture: Tensor) -> Tensor:
    """Restored picture (1, 3, H, W) on the CPU, computed where the method's networks are."""
    device = next(next(iter(method.networks.values())).parameters()).device
    return method.restore(picture.to(device, memory_format=torch.channels_last)).cpu()


def evaluate(method: Method, pairs: list[Pair]) -> pd.DataFrame:
    """Rows `picture, method, psnr, ssim` of the degraded input and of the restored picture."""
    return _measure(pairs, {INPUT: lambda pair: pair.input, RESTORED: lambda pair: restore(method, pair.input)})


def evaluate_baselines(pairs: list[Pair]) -> pd.DataFrame:
    """Rows `picture, method, psnr, ssim` of each classical baseline."""
    return _measure(pairs, {name: partial(_filtered, baseline) for name, baseline in BASELINES.items()})


def validator(pairs: list[Pair]) -> Callable[[Method], dict[str, float]]:
    """For `training.fit`: mean PSNR in dB and mean SSIM of the restored pictures."""

    def validate(method: Method) -> dict[str, float]:
        rows = _measure(pairs, {RESTORED: lambda pair: restore(method, pair.input)})
        return rows[["psnr", "ssim"]].mean().to_dict()

    return validate


def error_by_detail(method: Method, pairs: list[Pair], edges: Sequence[float] = DETAIL) -> pd.DataFrame:
    """Where the errors are: mean absolute error by the local gradient of the truth, both in grey levels.

    Args:
        edges: bounds of the classes, in grey levels per pixel of the truth's Sobel gradient.

    Returns:
        Rows `method, detail, share, error`: the lower bound of the class, its share of all pixels, its mean error.
    """
    results = {INPUT: lambda pair: pair.input, RESTORED: lambda pair: restore(method, pair.input)}
    rows = []
    classes = [np.digitize(gradient(pair.target), edges) - 1 for pair in pairs]
    detail = np.concatenate([c.ravel() for c in classes])
    for name, result in results.items():
        errors = [255 * (result(pair) - pair.target).abs().mean(1).flatten().numpy() for pair in pairs]
        error = np.concatenate(errors)
        for k, edge in enumerate(edges):
            inside = detail == k
            if inside.any():
                rows.append({"method": name, "detail": edge, "share": inside.mean(), "error": error[inside].mean()})
    return pd.DataFrame(rows)


def gradient(picture: Tensor) -> np.ndarray:
    """Sobel gradient (H, W) of the grey picture (1, 3, H, W), in grey levels per pixel."""
    # scikit-image's sobel is the root mean square of two differences over two pixels: sqrt(2) times the gradient
    return 255 / np.sqrt(2) * sobel(rgb2gray(to_uint8(picture)[0]))


def _filtered(baseline: Callable[[np.ndarray], np.ndarray], pair: Pair) -> Tensor:
    return to_tensor(baseline(to_uint8(pair.input)[0]))


def _measure(pairs: list[Pair], results: dict[str, Callable[[Pair], Tensor]]) -> pd.DataFrame:
    """A row for each pair and result; means are taken over pictures, never over pooled pixels."""
    rows = []
    for pair in pairs:
        truth = to_uint8(pair.target)[0]
        for name, result in results.items():
            picture = to_uint8(result(pair)).reshape(truth.shape)
            figures = {"psnr": metrics.psnr(truth, picture), "ssim": metrics.ssim(truth, picture)}
            rows.append({"picture": pair.name, "method": name, **figures})
    return pd.DataFrame(rows)
