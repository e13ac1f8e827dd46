"""Smaller images by bicubic interpolation with antialiasing: the degradation of super-resolution papers."""

import torch
from torch import Tensor

from restoration_lib.checks import check_choice

SCALES = (2, 4)


def downscale(images: Tensor, scale: int, generator: torch.Generator | None = None) -> Tensor:
    """Images of 1/`scale` the size, as MATLAB's `imresize` makes them, rounded to 8 bits as in any file.

    Args:
        images: (N, 3, H, W) or (3, H, W), float in [0, 1]; `scale` divides both sides.
        scale: one of SCALES.
        generator: not used; every degradation takes one.

    Raises:
        ValueError: another scale, or sides that it does not divide.
    """
    check_choice("scale", scale, SCALES)
    height, width = images.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"images: {width} x {height} px are no multiple of the scale {scale}; crop them first")
    return _resize(images, height // scale, width // scale).clamp(0, 1).mul(255).round().div(255)


def upscale(images: Tensor, scale: int) -> Tensor:
    """Images of `scale` times the size by the same interpolation, in [0, 1]: what a network must beat."""
    check_choice("scale", scale, SCALES)
    height, width = images.shape[-2:]
    return _resize(images, height * scale, width * scale).clamp(0, 1)


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    rows, columns = _weights(images.shape[-2], height), _weights(images.shape[-1], width)
    wide = images.double()
    return (rows.to(wide) @ wide @ columns.to(wide).T).to(images.dtype)


def _weights(before: int, after: int) -> Tensor:
    """Matrix (after, before) of one direction: Keys' cubic (1981, a = -1/2), stretched where pixels become fewer.

    The image is mirrored at its borders.
    """
    ratio = after / before
    stretch = min(ratio, 1.0)
    centres = (torch.arange(after, dtype=torch.float64) + 0.5) / ratio - 0.5
    reach = int(2 / stretch) + 2
    places = centres.floor().long()[:, None] + torch.arange(-reach, reach + 1)
    weights = _cubic((centres[:, None] - places) * stretch)
    weights = weights / weights.sum(1, keepdim=True)
    mirrored = places % (2 * before)
    mirrored = torch.where(mirrored < before, mirrored, 2 * before - 1 - mirrored)
    return torch.zeros(after, before, dtype=torch.float64).scatter_add_(1, mirrored, weights)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, torch.zeros_like(x)))
