"""Classical restoration, by scikit-image: what a network must beat. 8-bit RGB (H, W, 3). And what tables call it."""

from functools import partial

import numpy as np
from skimage.exposure import rescale_intensity
from skimage.filters import median
from skimage.restoration import denoise_nl_means, inpaint_biharmonic


def median_filter(image: np.ndarray, side: int) -> np.ndarray:
    """Median of the `side` x `side` window, each channel by itself."""
    footprint = np.ones((side, side, 1), dtype=bool)
    return median(image, footprint, mode="nearest")


def non_local_means(image: np.ndarray) -> np.ndarray:
    """Non-local means (Buades et al. 2005) with 5x5 patches, search radius 6 and h = 0.1 of the value range."""
    restored = denoise_nl_means(image / 255.0, patch_size=5, patch_distance=6, h=0.1, fast_mode=True, channel_axis=2)
    return (restored.clip(0, 1) * 255).round().astype(np.uint8)


def stretch(image: np.ndarray) -> np.ndarray:
    """Histogram stretch: each channel by itself, its 0.1 and 99.9 percentiles to black and white."""
    channels = [rescale_intensity(c, in_range=tuple(np.percentile(c, (0.1, 99.9)))) for c in np.moveaxis(image, 2, 0)]
    return np.stack(channels, 2)


def stretch_and_median(image: np.ndarray) -> np.ndarray:
    """`stretch`, then the median of 3 x 3 pixels, against grain."""
    return median_filter(stretch(image), 3)


def biharmonic(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Biharmonic inpainting of the pixels (H, W) that are True in the mask (Damelin and Hoang 2018)."""
    if not mask.any() or mask.all():
        return image
    painted = inpaint_biharmonic(image, mask, split_into_regions=True, channel_axis=2)
    return (painted.clip(0, 1) * 255).round().astype(np.uint8)


INPUT, RESTORED = "input", "restored"  # the degraded image, and what a network made of it
MEDIAN = "median 5x5"

SHUFFLE_BASELINES = {
    "median 3x3": partial(median_filter, side=3),
    MEDIAN: partial(median_filter, side=5),
    "non-local means": non_local_means,
}
"""For shuffled pixels."""

AGEING_BASELINES = {
    "stretch": stretch,
    "stretch + median 3x3": stretch_and_median,
}
"""For aged photographs."""

TRUE_MASK, FOUND_MASK = "biharmonic, true mask", "biharmonic, found mask"
"""For scratches, beside the median 5x5: inpainting by an oracle that knows the damage, and of what a network found."""

BICUBIC = "bicubic"
"""For small images: `degradations.upscale`."""

FIXED = (INPUT, *SHUFFLE_BASELINES, *AGEING_BASELINES, TRUE_MASK, FOUND_MASK, BICUBIC)
"""Rows that stand first in every table, in this order: the degraded input and the classical baselines."""
