"""The score of super-resolution papers: luma without a border, beside RGB and LPIPS."""

from functools import partial

import numpy as np
from skimage.color import rgb2ycbcr
from torch import Tensor

from restoration_lib.data.datasets import Pair
from restoration_lib.data.files import to_uint8
from restoration_lib.degradations import upscale
from restoration_lib.evaluation.measure import Restorer, Score
from restoration_lib.evaluation.metrics import METRICS, psnr, ssim

SMALLEST = 32  # px, side of an image that can be measured: what VGG and the window of SSIM leave of it
NAMES = ("psnr_y", "ssim_y", "psnr", "ssim", "lpips")


def score(scale: int, *names: str) -> Score:
    """The named ones of NAMES, all where none is named, of an enlarged image:

    - `psnr_y`, `ssim_y`: of the luma, `scale` pixels of each border left out, as in the papers,
    - `psnr`, `ssim`, `lpips`: of the whole image in RGB.
    """
    return partial(_score, scale, names or NAMES)


def _score(scale: int, names: tuple[str, ...], pair: Pair, image: Tensor) -> dict[str, float]:
    on_luma = {"psnr_y": psnr, "ssim_y": ssim}
    target, made = to_uint8(pair.target)[0], to_uint8(image)[0]
    lumas = y_channel(target, scale), y_channel(made, scale)
    return {name: on_luma[name](*lumas) if name in on_luma else METRICS[name].function(target, made) for name in names}


def bicubic(scale: int) -> Restorer:
    """Bicubic enlargement of a pair's input, which needs no network."""
    return partial(_bicubic, scale)


def _bicubic(scale: int, pair: Pair) -> Tensor:
    return upscale(pair.input, scale)


def y_channel(image: np.ndarray, border: int) -> np.ndarray:
    """BT.601 studio-range luma (H, W) of 8-bit RGB, rounded to 8 bits as in the papers' code, without the border.

    A grey image is taken as RGB, and so as luma of a smaller range: its PSNR is 1.3 dB above that of its grey.
    """
    return rgb2ycbcr(image)[border:-border, border:-border, 0].round().astype(np.uint8)
