"""Measure a restorer on pairs: one row per picture."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from restoration_lib import metrics
from restoration_lib.baselines import BASELINES
from restoration_lib.data import Pair
from restoration_lib.images import to_tensor, to_uint8
from restoration_lib.methods.base import Method

INPUT, RESTORED = "input", "restored"


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
