"""Scores of the removal of local damage: inside the damage, outside it, and how well it is found."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial

import numpy as np
import pandas as pd
import torch.nn.functional as F
from scipy.signal import welch
from skimage.color import rgb2gray
from torch import Tensor

from restoration_lib.data.datasets import Pair
from restoration_lib.data.files import to_tensor, to_uint8
from restoration_lib.evaluation import baselines, measure
from restoration_lib.evaluation.measure import Restorer, Score
from restoration_lib.evaluation.metrics import checkerboard, psnr, ssim

SMALLEST = 64  # px, side of an image that can be measured: `checkerboard` asks for it
PERFECT = 99.0  # dB, stands for no error at all, in an image or a part of it: a mean needs a number
GRID_BINS = 32
COVERAGES = {"5 %": 0.05, "10 %": 0.1, "20 %": 0.2, "40 %": 0.4}  # of the tests with heavy damage

Mask = Callable[[Tensor, Tensor], Tensor]  # damaged image and target to the true mask (1, 1, H, W), bool
Painted = tuple[Tensor, Tensor | None]  # restored image, and mask found
Paint = Callable[[Tensor], Painted]  # of a damaged image
DETECTION = ("precision", "recall", "f1")
NAMES = ("psnr", "ssim", "checkerboard", "coverage", "inside", "outside", "change", "unmasked_change", *DETECTION)


def score(mask: Mask, names: Sequence[str] = NAMES) -> Score:
    """The named ones of NAMES, of a restored image, alone or with the mask of the damage found, or None:

    - `psnr`, `ssim`, `checkerboard` of the whole image,
    - `coverage`: part of the image that is damaged,
    - `inside`, `outside`: PSNR in dB over the pixels that are damaged, and over all others; as `psnr`, PERFECT at most,
    - `change`: largest change of an undamaged pixel, in grey levels,
    - `unmasked_change`: the same, of the pixels outside the mask found,
    - `precision`, `recall`, `f1` of that mask. What a method does not say is NaN.
    """

    return partial(_score, mask, tuple(names))


def _score(mask: Mask, names: tuple[str, ...], pair: Pair, made: Tensor | Painted) -> dict[str, float]:
    target, damaged, image = map(_pixels, (pair.target, pair.input, made))
    found = made[1] if isinstance(made, tuple) else None
    true, found = mask(pair.input, pair.target)[0, 0].numpy(), None if found is None else found[0, 0].numpy()
    values = {
        "psnr": lambda: _psnr(target, image),
        "ssim": lambda: ssim(target, image),
        "checkerboard": lambda: checkerboard(target, image),
        "coverage": lambda: float(true.mean()),
        "inside": lambda: _psnr(target[true], image[true]),
        "outside": lambda: _psnr(target[~true], image[~true]),
        "change": lambda: _largest(damaged[~true], image[~true]),
        "unmasked_change": lambda: math.nan if found is None else _largest(damaged[~found], image[~found]),
        "precision": lambda: _detection(true, found)[0],
        "recall": lambda: _detection(true, found)[1],
        "f1": lambda: _detection(true, found)[2],
    }
    return {name: values[name]() for name in names}


def _pixels(made: Tensor | Painted) -> np.ndarray:
    return to_uint8(made[0] if isinstance(made, tuple) else made)[0]


def _psnr(target: np.ndarray, image: np.ndarray) -> float:
    return min(PERFECT, psnr(target, image)) if target.size else math.nan


def _largest(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.abs(before.astype(int) - after).max(initial=0))


def _detection(true: np.ndarray, found: np.ndarray | None) -> tuple[float, float, float]:
    """Precision, recall and F1; NaN where nothing was to be found, or nothing said."""
    if found is None or not true.any():
        return math.nan, math.nan, math.nan
    hits, claimed, there = (true & found).sum(), found.sum(), true.sum()
    precision = float(hits / claimed) if claimed else 0.0
    return precision, float(hits / there), float(2 * hits / (claimed + there))


def restorers(paint: Paint, mask: Mask) -> dict[str, Restorer]:
    """The input as it is, the method, a median, and biharmonic inpainting: with the true mask (an oracle), and with the
    mask that the method found, if it finds one.

    What the method makes of a damaged image is kept: image and mask come from one call, and so do metrics and spectrum.
    """
    once = cache(paint)

    return {
        baselines.INPUT: measure.as_it_is,
        baselines.RESTORED: lambda pair: once(pair.input),
        baselines.MEDIAN: partial(measure.filtered, baselines.SHUFFLE_BASELINES[baselines.MEDIAN]),
        baselines.TRUE_MASK: partial(inpainted, mask),
        baselines.FOUND_MASK: partial(inpainted, lambda damaged, _: once(damaged)[1]),
    }


def inpainted(mask: Mask, pair: Pair) -> Tensor | None:
    """Biharmonic inpainting of the pixels of `mask(input, target)`, (1, 1, H, W); None where it gives none."""
    found = mask(pair.input, pair.target)
    if found is None:
        return None
    return to_tensor(baselines.biharmonic(to_uint8(pair.input)[0], found[0, 0].numpy()))[None]


def through(restorers: Mapping[str, Restorer], side: int) -> dict[str, Restorer]:
    """The restorers as the original project used its own: the image reduced to `side` x `side` px, the result enlarged
    to its size again."""
    return {name: partial(_through, restore, side) for name, restore in restorers.items()}


def _through(restore: Restorer, side: int, pair: Pair) -> Tensor | None:
    made = restore(_small(pair, side))
    return None if made is None else resized(to_tensor(_pixels(made))[None], pair.input.shape[-2:])


@lru_cache(maxsize=1)  # one restorer after the other looks at the same pair
def _small(pair: Pair, side: int) -> Pair:
    return Pair(pair.name, *(resized(image, (side, side)) for image in (pair.input, pair.target)))


def resized(image: Tensor, size: Sequence[int]) -> Tensor:
    """Images (N, 3, H, W) at another size, bicubic with antialiasing."""
    return F.interpolate(image, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def validator(pairs: Sequence[Pair], mask: Mask) -> Callable[[object], dict[str, float]]:
    """For `training.fit`: means of PSNR, PSNR inside the damage, and F1 of the mask if any, of the damaged `pairs`.

    Raises:
        ValueError: none of them is damaged.
    """
    damaged = [pair for pair in pairs if mask(pair.input, pair.target).any()]
    if not damaged:
        raise ValueError(f"validation: none of the {len(pairs)} pairs differ by least_damage; are they damaged?")
    return measure.validator(
        damaged, score(mask, ("psnr", "inside", "f1")), lambda method, pair: method.paint(pair.input)
    )


def spectrum(restorers: Mapping[str, Restorer], pairs: Sequence[Pair]) -> pd.DataFrame:
    """Energy over the target's, in dB, by frequency along rows and columns, in cycles per pixel: a grid shows as peaks.

    A column for each restorer; the frequencies are the multiples of 1/(2 GRID_BINS) up to 1/2, whatever the size.
    """
    everyone = {"target": lambda pair: pair.target, **restorers}
    power = {name: sum(_line_power(_pixels(make(pair))) for pair in pairs) for name, make in everyone.items()}
    frequency = pd.Index(np.arange(GRID_BINS + 1) / (2 * GRID_BINS), name="frequency")
    return pd.DataFrame({name: 10 * np.log10(power[name] / power["target"]) for name in restorers}, index=frequency)


def _line_power(image: np.ndarray) -> np.ndarray:
    """Welch's power spectrum of all rows and all columns of the grey image, in windows of 2 GRID_BINS pixels."""
    grey, options = rgb2gray(image), {"nperseg": 2 * GRID_BINS, "detrend": "constant"}
    return welch(grey, **options, axis=1)[1].mean(0) + welch(grey, **options, axis=0)[1].mean(1)
