"""Colour and contrast, measured once on a reduced copy of a photograph, and applied to every pixel."""

import numpy as np
import torch
from torch import Tensor, nn

from restoration_lib.degradations.monochrome import luma
from restoration_lib.restore.levels import factor_to, images_of, pixels_of, reduced
from restoration_lib.restore.tiles import Watch, device_of, tiles, unwatched

TILE = 1024  # px


@torch.inference_mode()
def adjust(
    network: nn.Module,
    pixels: np.ndarray,
    side: int,
    *,
    strength: float = 1.0,
    grey: bool = False,
    keep_tone: bool = False,
    watch: Watch = unwatched,
) -> np.ndarray:
    """A photograph (H, W, C) in the colours that a network wants it to have.

    Args:
        network: `measure` takes images (1, 3, h, w) in [0, 1] and says what to do with their colours, (1, K, 1, 1);
            `adjust` takes images, or parts of them, and that, and makes images.
        side: px, shorter side of the reduced copy, at least, if the photograph is not smaller.
        strength: share of the change, in [0, 1].
        grey: give all channels the luma.
        keep_tone: change the luma alone: by how much each pixel differs from grey stays.
    """
    height, width, channels = pixels.shape
    tones = measured(network, pixels, side)
    made = np.empty_like(pixels)
    for tile in tiles(height, width, TILE, 0):
        images = images_of(pixels[tile.core])
        better = network.adjust(images.to(tones.device), tones).float().cpu()
        if keep_tone:
            better = images + luma(better) - luma(images)
        made[tile.core] = pixels_of(torch.lerp(images, better, strength), pixels.dtype, channels, grey)
        watch(made[tile.core].size / made.size)
    return made


@torch.inference_mode()
def measured(network: nn.Module, pixels: np.ndarray, side: int) -> Tensor:
    """What a network wants to do with the colours of a photograph, by its reduced copy."""
    images = reduced(pixels, factor_to(pixels, side))
    return network.measure(images.to(device_of(network), memory_format=torch.channels_last))
