"""Colour and contrast, measured once on a reduced copy of a photograph, and applied to every pixel."""

import numpy as np
import torch
from torch import Tensor, nn

from restoration_lib.restore.levels import factor_to, images_of, pixels_of, reduced
from restoration_lib.restore.tiles import Watch, area, device_of, tiles, unwatched

TILE = 1024  # px


def adjust(
    network: nn.Module,
    pixels: np.ndarray,
    side: int,
    *,
    strength: float = 1.0,
    grey: bool = False,
    watch: Watch = unwatched,
) -> np.ndarray:
    """A photograph (H, W, C) in the colours that a network wants it to have.

    Args:
        network: `measure` takes images (1, 3, h, w) in [0, 1] and makes maps (1, K, h', w'), from 1 x 1, of the image
            as a whole, to the images' size; `adjust` takes images and maps of their size, or the single one, and makes
            images.
        side: px, shorter side of the reduced copy, at least, if the photograph is not smaller.
        strength: share of the change, in [0, 1].
        grey: give all channels the luma.
    """
    height, width, channels = pixels.shape
    maps, factor = measured(network, pixels, side)
    made = np.empty_like(pixels)
    for tile in tiles(height, width, TILE, 0):
        images = images_of(pixels[tile.core])
        better = adjusted(network, images, part(maps, tile.core, factor))
        made[tile.core] = pixels_of(torch.lerp(images, better, strength), pixels.dtype, channels, grey)
        watch(area(tile.core) / (height * width))
    return made


@torch.inference_mode()
def measured(network: nn.Module, pixels: np.ndarray, side: int) -> tuple[Tensor, tuple[float, float]]:
    """The maps of a photograph, and how many of its rows and columns are one of theirs."""
    factor = factor_to(pixels, side)
    images = reduced(pixels, factor)
    maps = network.measure(images.to(device_of(network), memory_format=torch.channels_last)).cpu()
    return maps, tuple(factor * whole / own for whole, own in zip(images.shape[2:], maps.shape[2:], strict=True))


@torch.inference_mode()
def adjusted(network: nn.Module, images: Tensor, maps: Tensor) -> Tensor:
    device = device_of(network)
    return network.adjust(images.to(device), maps.to(device)).float().cpu()


def part(maps: Tensor, place: tuple[slice, slice], factor: tuple[float, float]) -> Tensor:
    """The maps at each pixel of a part of the photograph: (1, K, h, w), bilinear between their pixels' centres; where
    there is a single one, that, (1, K, 1, 1)."""
    if maps.shape[2:] == (1, 1):
        return maps  # one for the whole photograph
    for dimension, side in enumerate(place, 2):
        centres = (torch.arange(side.start, side.stop) + 0.5) / factor[dimension - 2] - 0.5
        centres = centres.clamp(0, maps.shape[dimension] - 1)
        before = centres.floor().long()
        after = (before + 1).clamp(max=maps.shape[dimension] - 1)
        share = (centres - before).view([-1 if k == dimension else 1 for k in range(4)]).to(maps)
        maps = torch.lerp(maps.index_select(dimension, before), maps.index_select(dimension, after), share)
    return maps
