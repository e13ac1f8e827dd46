"""Measure a restorer of local damage: inside the damage, outside it, and how well it finds it. One row per picture."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch.nn.functional as F
from scipy.signal import welch
from skimage.color import rgb2gray
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from restoration_lib import baselines
from restoration_lib.data import Degrade, Pair, Pictures, degraded_pairs
from restoration_lib.degradations.damage import VISIBLE, damage_mask
from restoration_lib.evaluation import INPUT, RESTORED, beside
from restoration_lib.images import to_tensor, to_uint8
from restoration_lib.methods.pix2pix import Pix2Pix
from restoration_lib.metrics import METRICS

WHOLE = ("ssim", "checkerboard")  # of METRICS
SMALLEST = 64  # px, side of a picture that can be measured: `checkerboard` asks for it
PERFECT = 99.0  # dB, stands for no error at all, in a picture or a part of it: a mean needs a number
MEDIAN = "median 5x5"
GRID_BINS = 32
COVERAGES = (0.05, 0.1, 0.2, 0.4)
Known = tuple[np.ndarray, np.ndarray, np.ndarray]  # truth and damaged picture (H, W, 3), 8 bits, true mask (H, W)
Result = tuple[np.ndarray, np.ndarray | None]  # picture (H, W, 3), 8 bits, and the mask found (H, W)


def measure(method: Pix2Pix, pairs: list[Pair], filters: bool = True) -> pd.DataFrame:
    """Rows `picture, method` of the damaged input, the restored picture and the baselines, with

    - `psnr`, `ssim`, `checkerboard` of the whole picture,
    - `coverage`: part of the picture that is damaged,
    - `inside`, `outside`: PSNR in dB over the pixels that are damaged, and over all others; as `psnr`, PERFECT at most,
    - `change`: largest change of an undamaged pixel, in grey levels,
    - `unmasked_change`: the same, of the pixels outside the mask that the network found,
    - `precision`, `recall`, `f1` of that mask. What a method does not say is NaN.

    Args:
        filters: whether the baselines that no network enters are measured too: a median, and biharmonic inpainting
            with the true mask (an oracle). Biharmonic inpainting with the mask found is always measured.
    """
    rows = []
    for pair in pairs:
        known = _known(method, pair)
        for name, (picture, found) in _results(method, pair, known, filters).items():
            rows.append({"picture": pair.name, "method": name} | _row(*known, picture, found))
    return pd.DataFrame(rows)


def _known(method: Pix2Pix, pair: Pair) -> Known:
    """Truth and damaged picture, 8 bits, and the true mask."""
    truth, damaged = (to_uint8(picture)[0] for picture in (pair.target, pair.input))
    return truth, damaged, method.mask(pair.input, pair.target)[0, 0].numpy()


def _results(method: Pix2Pix, pair: Pair, known: Known, filters: bool) -> dict[str, Result]:
    _, damaged, mask = known
    restored, found = repair(method, pair)
    results: dict[str, Result] = {INPUT: (damaged, None), RESTORED: (restored, found)}
    if filters:
        results[MEDIAN] = baselines.SHUFFLE_BASELINES[MEDIAN](damaged), None
        results[baselines.TRUE_MASK] = baselines.biharmonic(damaged, mask), None
    if found is not None:
        results[baselines.FOUND_MASK] = baselines.biharmonic(damaged, found), None
    return results


def repair(method: Pix2Pix, pair: Pair) -> Result:
    """The restored picture and the mask of the damage found, or None."""
    restored, found = method.paint(beside(method, pair.input))
    return to_uint8(restored)[0], None if found is None else found[0, 0].cpu().numpy()


def _row(
    truth: np.ndarray, damaged: np.ndarray, mask: np.ndarray, picture: np.ndarray, found: np.ndarray | None
) -> dict:
    return {
        "psnr": _psnr(truth, picture),
        **{name: METRICS[name](truth, picture) for name in WHOLE},
        "coverage": float(mask.mean()),
        "inside": _psnr(truth[mask], picture[mask]),
        "outside": _psnr(truth[~mask], picture[~mask]),
        "change": _largest(damaged[~mask], picture[~mask]),
        "unmasked_change": math.nan if found is None else _largest(damaged[~found], picture[~found]),
        **_detection(mask, found),
    }


def _psnr(truth: np.ndarray, picture: np.ndarray) -> float:
    if not truth.size:
        return math.nan
    if np.array_equal(truth, picture):
        return PERFECT
    return min(PERFECT, float(peak_signal_noise_ratio(truth, picture, data_range=255)))


def _largest(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.abs(before.astype(int) - after).max(initial=0))


def _detection(mask: np.ndarray, found: np.ndarray | None) -> dict[str, float]:
    """Precision, recall and F1; NaN where nothing was to be found, or nothing said."""
    if found is None or not mask.any():
        return dict.fromkeys(("precision", "recall", "f1"), math.nan)
    hits, claimed, there = (mask & found).sum(), found.sum(), mask.sum()
    return {
        "precision": float(hits / claimed) if claimed else 0.0,
        "recall": float(hits / there),
        "f1": float(2 * hits / (claimed + there)),
    }


def through(method: Pix2Pix, pairs: list[Pair], side: int, filters: bool = True) -> pd.DataFrame:
    """What S2's author did: every picture reduced to `side` x `side` px, restored, and enlarged to its size again.

    Rows as those of `measure`, all methods at the reduced size, the input reduced and enlarged alone.
    """
    rows = []
    for pair in pairs:
        known = _known(method, pair)
        small = Pair(pair.name, *(_resized(picture, (side, side)) for picture in (pair.input, pair.target)))
        for name, (picture, _) in _results(method, small, _known(method, small), filters).items():
            back = to_uint8(_resized(to_tensor(picture)[None], pair.input.shape[-2:]))[0]
            rows.append({"picture": pair.name, "method": name} | _row(*known, back, None))
    return pd.DataFrame(rows)


def restore_through(method: Pix2Pix, picture: Tensor, side: int) -> Tensor:
    """The picture (1, 3, H, W) restored at `side` x `side` px, and enlarged to its own size."""
    restored = method.restore(beside(method, _resized(picture, (side, side)))).cpu()
    return _resized(restored, picture.shape[-2:])


def _resized(picture: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(picture, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def heavy(
    method: Pix2Pix, pictures: Pictures, degrade: Callable[[float], Degrade], crop: int, filters: bool = True
) -> pd.DataFrame:
    """`measure` at each of COVERAGES, with `degrade(coverage)`; the column `test` says "5 %", …"""
    tables = []
    for coverage in COVERAGES:
        pairs = degraded_pairs(pictures, degrade(coverage), crop)
        tables.append(measure(method, pairs, filters).assign(test=f"{coverage:.0%}".replace("%", " %")))
    return pd.concat(tables, ignore_index=True)


def spectrum(method: Pix2Pix, pairs: list[Pair]) -> pd.DataFrame:
    """Energy over the truth's, in dB, by frequency along rows and columns, in cycles per pixel: a grid shows as peaks.

    Columns "input" and "restored"; the frequencies are the multiples of 1/(2 GRID_BINS) up to 1/2, whatever the size.
    """
    power = {name: np.zeros(GRID_BINS + 1) for name in ("truth", INPUT, RESTORED)}
    for pair in pairs:
        pictures = (to_uint8(pair.target)[0], to_uint8(pair.input)[0], repair(method, pair)[0])
        for name, picture in zip(power, pictures, strict=True):
            power[name] += _line_power(rgb2gray(picture))
    frequency = pd.Index(np.arange(GRID_BINS + 1) / (2 * GRID_BINS), name="frequency")
    ratios = {name: 10 * np.log10(power[name] / power["truth"]) for name in (INPUT, RESTORED)}
    return pd.DataFrame(ratios, index=frequency)


def _line_power(grey: np.ndarray) -> np.ndarray:
    """Welch's power spectrum of all rows and all columns, in windows of 2 GRID_BINS pixels."""
    options = {"nperseg": 2 * GRID_BINS, "detrend": "constant"}
    return welch(grey, **options, axis=1)[1].mean(0) + welch(grey, **options, axis=0)[1].mean(1)


def validator(pairs: list[Pair], least_damage: int = VISIBLE) -> Callable[[Pix2Pix], dict[str, float]]:
    """For `training.fit`: means of PSNR, PSNR inside the damage, and F1 of the mask if any, of the damaged `pairs`.

    Raises:
        ValueError: none of them is damaged.
    """
    damaged = [pair for pair in pairs if damage_mask(pair.input, pair.target, least_damage).any()]
    if not damaged:
        raise ValueError(f"validation: none of the {len(pairs)} pairs differ by least_damage; are they damaged?")

    def validate(method: Pix2Pix) -> dict[str, float]:
        rows = []
        for pair in damaged:
            truth, _, mask = _known(method, pair)
            restored, found = repair(method, pair)
            inside = _psnr(truth[mask], restored[mask])
            rows.append({"psnr": _psnr(truth, restored), "inside": inside, "f1": _detection(mask, found)["f1"]})
        return pd.DataFrame(rows).mean().dropna().to_dict()

    return validate


def require_crop(name: str, crop: int) -> None:
    """Raise ValueError if crops of this side, in pixels, the parameter `name`, cannot be measured."""
    if crop < SMALLEST:
        raise ValueError(f"{name}: expected {SMALLEST} px or more, got {crop}")
