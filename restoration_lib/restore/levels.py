"""Photographs in memory: arrays (H, W, C) of integer levels, uint8 or uint16, C = 1 for grey or 3. As floats, parts."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from restoration_lib.degradations.monochrome import luma
from restoration_lib.restore.large import let_go

BAND = 2**22  # px that are looked at together
NEUTRAL = 2 / 255  # of the range: two channels that differ by no more are the same grey, but for what JPEG did


def images_of(pixels: np.ndarray) -> Tensor:
    """A part (h, w, C) as images (1, 3, h, w), float32 in [0, 1]; grey thrice."""
    images = torch.from_numpy(pixels.astype(np.float32)).movedim(2, 0)[None] / np.iinfo(pixels.dtype).max
    return images.expand(-1, 3, -1, -1).contiguous()


def pixels_of(images: Tensor, dtype: np.dtype, channels: int, grey: bool = False) -> np.ndarray:
    """Images (1, 3, h, w) as a part (h, w, channels): clamped, rounded, on the CPU.

    Args:
        grey: give all channels the luma. With one channel that is so anyway.
    """
    images = images.float()
    if grey or channels == 1:
        images = luma(images).expand(-1, channels, -1, -1)
    levels = images.clamp(0, 1).mul(np.iinfo(dtype).max).round()[0].movedim(0, 2)
    return levels.cpu().numpy().astype(dtype)


def bands(pixels: np.ndarray, multiple: int = 1) -> Iterator[slice]:
    """Slices of rows, one after the other, of about BAND pixels; all but the last of a multiple of so many rows."""
    rows = max(1, BAND // pixels.shape[1] // multiple) * multiple
    return (slice(top, min(top + rows, len(pixels))) for top in range(0, len(pixels), rows))


def is_neutral(pixels: np.ndarray) -> bool:
    """Whether a photograph is grey in all its pixels, stored in one channel or in three."""
    if pixels.shape[2] == 1:
        return True
    most = NEUTRAL * np.iinfo(pixels.dtype).max
    return all(np.ptp(pixels[rows], axis=2).max() <= most for rows in bands(pixels))


def reduced(pixels: np.ndarray, factor: int) -> Tensor:
    """A reduced copy as images (1, 3, h, w) in [0, 1]: each of its pixels is the mean of factor x factor.

    What is left at the right and at the bottom belongs to none.
    """
    height, width, channels = pixels.shape
    rows, columns = height // factor, width // factor
    made = np.empty((rows, columns, channels), np.float32)
    step = max(1, BAND // (width * factor))
    for top in range(0, rows, step):
        part = pixels[top * factor : min(top + step, rows) * factor, : columns * factor]
        made[top : top + step] = part.reshape(-1, factor, columns, factor, channels).mean((1, 3), dtype=np.float32)
        let_go(pixels)
    images = torch.from_numpy(made / np.iinfo(pixels.dtype).max).movedim(2, 0)[None]
    return images.expand(-1, 3, -1, -1).contiguous()


def factor_to(pixels: np.ndarray, side: int) -> int:
    """The factor that leaves the shorter side `side` px or up to twice as many; 1 for a photograph that is smaller."""
    return max(1, min(pixels.shape[:2]) // side)
