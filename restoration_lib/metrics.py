"""Figures of merit on 8-bit RGB pictures (H, W, 3), one at a time, by scikit-image but for the last, LPIPS."""

import math

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2gray, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restoration_lib.lpips import lpips


def psnr(truth: np.ndarray, picture: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    if np.array_equal(truth, picture):
        return math.inf
    return float(peak_signal_noise_ratio(truth, picture, data_range=255))


def ssim(truth: np.ndarray, picture: np.ndarray) -> float:
    """Structural similarity as in Wang et al. 2004: Gaussian window, sigma 1.5, mean of the channels, if it has any."""
    return float(
        structural_similarity(
            truth,
            picture,
            data_range=255,
            channel_axis=2 if truth.ndim == 3 else None,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def ciede2000(truth: np.ndarray, picture: np.ndarray) -> float:
    """Mean colour difference CIEDE2000 over the pixels; 1 is about what an eye can tell."""
    return float(deltaE_ciede2000(rgb2lab(truth), rgb2lab(picture)).mean())


def checkerboard(truth: np.ndarray, picture: np.ndarray) -> float:
    """Energy at the upsampling frequencies, in dB, over the truth's: 0 where a network leaves no grid.

    Three upsamplings by 2 leave patterns of period 2, 4 and 8 px (Odena et al. 2016). In the spectrum of the grey
    picture these are isolated peaks, so each is compared with the mean energy of the frequencies around it.
    """
    return _grid_energy(picture) - _grid_energy(truth)


def _grid_energy(picture: np.ndarray, period: int = 8) -> float:
    """Mean ratio of the spectrum's lattice of multiples of 1/period to its surroundings, DC left out, in dB."""
    height, width = (side // period * period for side in picture.shape[:2])
    if min(height, width) < 8 * period:
        raise ValueError(f"checkerboard: pictures of {width} x {height} px are too small, take {8 * period} px or more")
    grey = rgb2gray(picture[:height, :width])
    window = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])  # or the borders look like edges
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2 + 1e-6
    rows, columns = np.meshgrid(
        np.arange(period) * height // period, np.arange(period) * width // period, indexing="ij"
    )
    ratios = []
    for row, column in zip(rows.ravel()[1:], columns.ravel()[1:], strict=True):
        patch = power[np.ix_(np.arange(row - 3, row + 4) % height, np.arange(column - 3, column + 4) % width)]
        peak = patch[2:5, 2:5].sum()  # the window spreads a peak over its neighbours
        ratios.append(peak / 9 / ((patch.sum() - peak) / 40))
    return 10 * float(np.log10(np.mean(ratios)))


METRICS = {"psnr": psnr, "ssim": ssim, "ciede2000": ciede2000, "checkerboard": checkerboard, "lpips": lpips}
