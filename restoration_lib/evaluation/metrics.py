"""Metrics on 8-bit RGB images (H, W, 3), one at a time, and how tables show them.

By scikit-image, but for LPIPS and the checkerboard.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2gray, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


@dataclass(frozen=True)
class Metric:
    """How tables and figures show a metric, and how it is computed."""

    name: str
    decimals: int
    better: str  # "↑" higher, "↓" lower, "" neither
    function: Callable[[np.ndarray, np.ndarray], float] | None = None  # of target and image; None: see the scores

    @property
    def heading(self) -> str:
        return f"{self.name} {self.better}".rstrip()


def psnr(target: np.ndarray, image: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal images."""
    if np.array_equal(target, image):
        return math.inf
    return float(peak_signal_noise_ratio(target, image, data_range=255))


def ssim(target: np.ndarray, image: np.ndarray) -> float:
    """Structural similarity as in Wang et al. 2004: Gaussian window, sigma 1.5, mean of the channels, if it has any."""
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(target, image, channel_axis=2 if target.ndim == 3 else None, **options))


def ciede2000(target: np.ndarray, image: np.ndarray) -> float:
    """Mean colour difference CIEDE2000 over the pixels; 1 is about what an eye can tell."""
    return float(deltaE_ciede2000(rgb2lab(target), rgb2lab(image)).mean())


def checkerboard(target: np.ndarray, image: np.ndarray) -> float:
    """Energy at the upsampling frequencies, in dB, over the target's: 0 where a network leaves no grid.

    Three upsamplings by 2 leave patterns of period 2, 4 and 8 px (Odena et al. 2016). In the spectrum of the grey
    image these are isolated peaks, so each is compared with the mean energy of the frequencies around it.
    """
    return _grid_energy(image) - _grid_energy(target)


def _grid_energy(image: np.ndarray, period: int = 8) -> float:
    """Mean ratio of the spectrum's lattice of multiples of 1/period to its surroundings, DC left out, in dB."""
    height, width = (side // period * period for side in image.shape[:2])
    if min(height, width) < 8 * period:
        raise ValueError(f"checkerboard: images of {width} x {height} px are too small, take {8 * period} px or more")
    grey = rgb2gray(image[:height, :width])
    window = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])  # or the borders look like edges
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2 + 1e-6
    rows, columns = (np.add.outer(np.arange(0, side, side // period), np.arange(-3, 4)) for side in (height, width))
    patches = power[np.ix_(rows.ravel() % height, columns.ravel() % width)].reshape(*rows.shape, *columns.shape)
    whole, peak = patches.sum((1, 3)), patches[:, 2:5, :, 2:5].sum((1, 3))  # the window spreads a peak over neighbours
    ratios = (peak / 9 / ((whole - peak) / 40)).ravel()[1:]  # without the mean
    return 10 * float(np.log10(np.mean(ratios)))


def lpips(target: np.ndarray, image: np.ndarray) -> float:
    """How different two images look, see `evaluation.lpips`: 0 for equal ones."""
    from restoration_lib.evaluation import lpips as network  # here: tables show metrics without importing torch

    return network.lpips(target, image)


METRICS = {
    "psnr": Metric("PSNR (dB)", 2, "↑", psnr),
    "ssim": Metric("SSIM", 4, "↑", ssim),
    "ciede2000": Metric("CIEDE2000", 2, "↓", ciede2000),
    "checkerboard": Metric("checkerboard (dB)", 1, "↓", checkerboard),
    "lpips": Metric("LPIPS", 3, "↓", lpips),
    # translation
    "round_trip": Metric("round trip (dB)", 2, "↑"),
    "identity": Metric("identity (dB)", 2, "↑"),
    "colour_shift": Metric("colour shift (CIEDE2000)", 2, "↓"),
    "moved": Metric("way to the other domain (%)", 0, "↑"),
    "taken": Metric("taken for the other domain (%)", 0, "↑"),
    # scratches
    "coverage": Metric("damaged part", 3, ""),
    "inside": Metric("PSNR inside the damage (dB)", 2, "↑"),
    "outside": Metric("PSNR outside it (dB)", 2, "↑"),
    "change": Metric("largest change outside it (levels)", 0, "↓"),
    "unmasked_change": Metric("outside the mask found (levels)", 0, "↓"),
    "precision": Metric("precision", 3, "↑"),
    "recall": Metric("recall", 3, "↑"),
    "f1": Metric("F1 of the mask", 3, "↑"),
    # super-resolution
    "psnr_y": Metric("PSNR of Y (dB)", 2, "↑"),
    "ssim_y": Metric("SSIM of Y", 4, "↑"),
}
