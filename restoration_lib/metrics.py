"""Figures of merit, by scikit-image on 8-bit RGB pictures (H, W, 3), one picture at a time."""

import math

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def psnr(truth: np.ndarray, picture: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    if np.array_equal(truth, picture):
        return math.inf
    return float(peak_signal_noise_ratio(truth, picture, data_range=255))


def ssim(truth: np.ndarray, picture: np.ndarray) -> float:
    """Structural similarity as in Wang et al. 2004: Gaussian window, sigma 1.5, mean of the three channels."""
    return float(
        structural_similarity(
            truth,
            picture,
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
