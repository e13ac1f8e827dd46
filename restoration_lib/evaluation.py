"""Measure a restorer on pairs: one row per picture."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from skimage.color import rgb2gray
from skimage.filters import sobel
from torch import Tensor

from restoration_lib.data import Pair
from restoration_lib.images import to_tensor, to_uint8
from restoration_lib.methods.base import Method
from restoration_lib.methods.cyclegan import CycleGAN
from restoration_lib.metrics import METRICS, ciede2000, psnr

INPUT, RESTORED = "input", "restored"
NAMES = ("psnr", "ssim")  # of METRICS, where nothing else is asked for
AGEING = ("psnr", "ssim", "ciede2000", "checkerboard")  # of METRICS, for aged photographs
TRANSLATION = ("round_trip", "identity", "colour_shift")
Filter = Callable[[np.ndarray], np.ndarray]
Named = Sequence[tuple[str, Tensor]]  # name and picture (1, 3, H, W)
DETAIL = (0, 2, 4, 8, 16, 32)  # grey levels per pixel: from flat areas to hard edges


def restore(method: Method, picture: Tensor) -> Tensor:
    """Restored picture (1, 3, H, W) on the CPU, computed where the method's networks are."""
    return method.restore(beside(method, picture)).cpu()


def translate(method: CycleGAN, picture: Tensor, domain: str) -> Tensor:
    """The picture (1, 3, H, W) as one of `domain`, on the CPU, computed where the method's networks are."""
    return method.translate(beside(method, picture), domain).cpu()


def beside(method: Method, picture: Tensor) -> Tensor:
    """The picture where the method's networks are."""
    device = next(next(iter(method.networks.values())).parameters()).device
    return picture.to(device, memory_format=torch.channels_last)


def evaluate(method: Method, pairs: list[Pair], names: Sequence[str] = NAMES) -> pd.DataFrame:
    """Rows `picture, method` and the named METRICS, of the degraded input and of the restored picture."""
    results = {INPUT: lambda pair: pair.input, RESTORED: lambda pair: restore(method, pair.input)}
    return _measure(pairs, results, names)


def evaluate_baselines(
    pairs: list[Pair], baselines: Mapping[str, Filter], names: Sequence[str] = NAMES
) -> pd.DataFrame:
    """Rows `picture, method` and the named METRICS, of each classical baseline."""
    return _measure(pairs, {name: partial(filtered, baseline) for name, baseline in baselines.items()}, names)


def validator(pairs: list[Pair], names: Sequence[str] = NAMES) -> Callable[[Method], dict[str, float]]:
    """For `training.fit`: means of the named METRICS over the restored pictures."""

    def validate(method: Method) -> dict[str, float]:
        rows = _measure(pairs, {RESTORED: lambda pair: restore(method, pair.input)}, names)
        return rows[list(names)].mean().to_dict()

    return validate


def evaluate_translation(method: CycleGAN, pictures_a: Named, pictures_b: Named) -> pd.DataFrame:
    """What can be measured without truth: rows `picture, domain, method` and, for a picture of A (and so for B),

    - `round_trip`, PSNR in dB of A -> B -> A against the picture,
    - `identity`, PSNR in dB of what generator A, whose own domain it is, makes of it,
    - `colour_shift`, mean CIEDE2000 between the picture and its translation into B.
    """
    rows = []
    for domain, other, pictures in (("a", "b", pictures_a), ("b", "a", pictures_b)):
        for name, picture in pictures:
            there = translate(method, picture, other)
            back, same = translate(method, there, domain), translate(method, picture, domain)
            truth, there, back, same = (to_uint8(x)[0] for x in (picture, there, back, same))
            values = psnr(truth, back), psnr(truth, same), ciede2000(truth, there)
            figures = dict(zip(TRANSLATION, values, strict=True))
            rows.append({"picture": f"{domain}/{name}", "domain": domain, "method": RESTORED, **figures})
    return pd.DataFrame(rows)


def paths(method: CycleGAN, a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """The eight pictures of `methods.cyclegan.PATHS`, of one picture (1, 3, H, W) of each domain."""
    fake_b, fake_a = translate(method, a, "b"), translate(method, b, "a")
    pictures_a = {"real_a": a, "fake_b": fake_b, "round_trip_a": translate(method, fake_b, "a")}
    pictures_b = {"real_b": b, "fake_a": fake_a, "round_trip_b": translate(method, fake_a, "b")}
    identities = {"identity_a": translate(method, a, "a"), "identity_b": translate(method, b, "b")}
    return pictures_a | pictures_b | identities


def translation_validator(pictures_a: Named, pictures_b: Named) -> Callable[[CycleGAN], dict[str, float]]:
    """For `training.fit`: means of `evaluate_translation`."""

    def validate(method: CycleGAN) -> dict[str, float]:
        return evaluate_translation(method, pictures_a, pictures_b)[list(TRANSLATION)].mean().to_dict()

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


def filtered(baseline: Filter, pair: Pair) -> Tensor:
    """What a classical baseline makes of the pair's input, (3, H, W)."""
    return to_tensor(baseline(to_uint8(pair.input)[0]))


def _measure(pairs: list[Pair], results: dict[str, Callable[[Pair], Tensor]], names: Sequence[str]) -> pd.DataFrame:
    """A row for each pair and result; means are taken over pictures, never over pooled pixels."""
    rows = []
    for pair in pairs:
        truth = to_uint8(pair.target)[0]
        for name, result in results.items():
            picture = to_uint8(result(pair)).reshape(truth.shape)
            figures = {figure: METRICS[figure](truth, picture) for figure in names}
            rows.append({"picture": pair.name, "method": name, **figures})
    return pd.DataFrame(rows)
