"""Degradations: pure functions of a picture tensor and a generator.

Every function takes pictures (N, C, H, W) or (C, H, W) and returns a new tensor of the same shape, dtype and
device. Randomness comes from `generator` alone, so the same generator state gives the same damage.
"""

import numpy as np
import torch
from torch import Tensor


def pixel_shuffle(pictures: Tensor, rate: float, window: int = 5, generator: torch.Generator | None = None) -> Tensor:
    """Let pixels switch places with their neighbours, in one raster scan over the picture.

    At each pixel, in raster order and with probability `rate`, swap it with a pixel drawn uniformly from the
    `window` x `window` square around it, clipped to the picture. The result is a permutation of the input's pixels:
    no colour is lost. Because swaps chain, a pixel can end further away than the window reaches. Every picture of a
    batch gets its own draws. (Not to be confused with `torch.nn.PixelShuffle`, the up-sampling layer.)

    Args:
        pictures: (N, C, H, W) or (C, H, W), any dtype, any device.
        rate: probability of a swap at each pixel, in [0, 1]; S1's high distortion is 1.0, its low one 0.5.
        window: side of the square in pixels, odd, at least 1.
        generator: CPU generator of the draws; None takes torch's global one.

    Raises:
        ValueError: `rate` outside [0, 1], an even `window`, or a tensor that is not a picture.
    """
    if pictures.ndim not in (3, 4):
        raise ValueError(f"pictures: expected (N, C, H, W) or (C, H, W), got shape {tuple(pictures.shape)}")
    check_shuffle(rate, window)
    height, width = pictures.shape[-2:]
    count = pictures.shape[0] if pictures.ndim == 4 else 1
    orders = [shuffle_order(height * width, *draw_swaps(height, width, rate, window, generator)) for _ in range(count)]
    index = torch.stack(orders).to(pictures.device)
    pixels = pictures.reshape(count, -1, height * width)
    return pixels.gather(2, index[:, None].expand_as(pixels)).view_as(pictures)


def check_shuffle(rate: float, window: int) -> None:
    """Raise ValueError if `rate` or `window` is not one that `pixel_shuffle` takes."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: expected a probability between 0 and 1, got {rate}")
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number of pixels such as 3, 5 or 7, got {window}")


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
