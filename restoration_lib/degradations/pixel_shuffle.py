"""Pixel shuffle: pixels switch places with their neighbours in one raster scan; no colour is lost."""

import numpy as np
import torch
from torch import Tensor

from restoration_lib.checks import check


def pixel_shuffle(
    images: Tensor, rate: float = 1.0, window: int = 5, generator: torch.Generator | None = None
) -> Tensor:
    """Let pixels switch places with their neighbours, in one raster scan over the image.

    At each pixel, in raster order and with probability `rate`, swap it with a pixel drawn uniformly from the
    `window` x `window` square around it, clipped to the image. The result is a permutation of the input's pixels:
    no colour is lost. Because swaps chain, a pixel can end further away than the window reaches. Every image of a
    batch gets its own draws. (Not to be confused with `torch.nn.PixelShuffle`, the up-sampling layer.)

    Args:
        images: (N, C, H, W) or (C, H, W), any dtype, any device.
        rate: probability of a swap at each pixel, in [0, 1]; 1.0 is the high distortion, 0.5 the low one.
        window: side of the square in pixels, odd, at least 1.
        generator: CPU generator of the draws; None takes torch's global one.

    Raises:
        ValueError: `rate` outside [0, 1], an even `window`, or a tensor that is not an image.
    """
    if images.ndim not in (3, 4):
        raise ValueError(f"images: expected (N, C, H, W) or (C, H, W), got shape {tuple(images.shape)}")
    check("rate", rate, 0, 1)
    check("window", window, 1, odd=True)
    height, width = images.shape[-2:]
    count = images.shape[0] if images.ndim == 4 else 1
    orders = [shuffle_order(height * width, *draw_swaps(height, width, rate, window, generator)) for _ in range(count)]
    index = torch.stack(orders).to(images.device)
    pixels = images.reshape(count, -1, height * width)
    return pixels.gather(2, index[:, None].expand_as(pixels)).view_as(images)


def draw_swaps(
    height: int, width: int, rate: float, window: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one raster scan: flat indices (S,) of the pixels that swap, in raster order, and of their partners."""
    # float64: in float32, rounding could lift a draw just below 1 onto the next pixel
    down, across = torch.rand(2, height, width, generator=generator, dtype=torch.float64).numpy()
    swapped = torch.rand(height * width, generator=generator).numpy() < rate
    # NumPy: faster than torch on arrays as small as these
    partner = _within(down.T, height, window // 2).T * width + _within(across, width, window // 2)
    pixel = np.flatnonzero(swapped)
    return torch.from_numpy(pixel), torch.from_numpy(partner.reshape(-1)[pixel])


def _within(uniform: np.ndarray, size: int, radius: int) -> np.ndarray:
    """Coordinates along the last axis within `radius` of each position, the window clipped to [0, size)."""
    position = np.arange(size)
    low = np.maximum(position - radius, 0)
    high = np.minimum(position + radius, size - 1)
    return low + (uniform * (high - low + 1)).astype(np.int64)


def shuffle_order(count: int, pixel: Tensor, partner: Tensor) -> Tensor:
    """Carry out the swaps one after the other on the indices 0 … count - 1; (count,) source index per position."""
    order = list(range(count))  # a plain list: faster than a tensor for one element at a time
    for i, j in zip(pixel.tolist(), partner.tolist(), strict=True):
        order[i], order[j] = order[j], order[i]
    return torch.from_numpy(np.array(order))  # five times faster than torch.tensor on a list
