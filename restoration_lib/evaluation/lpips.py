"""LPIPS, version 0.1 with VGG-16: how different two images look (Zhang et al. 2018, section 3)."""

from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from restoration_lib.data.files import to_tensor
from restoration_lib.networks.vgg import VGG
from restoration_lib.networks.vgg_weights import vgg16


def lpips(target: np.ndarray, image: np.ndarray) -> float:
    """Distance of two 8-bit RGB images (H, W, 3), 16 px or more a side: 0 for equal ones, larger for less alike.

    The weights are fetched at the first use, or by `network`, see `networks.vgg_weights`; errors are those of its
    `vgg16` and of `networks.vgg.VGG`.
    """
    one, other = _maps(target.tobytes(), target.shape), _maps.__wrapped__(image.tobytes(), image.shape)
    return float(distance(one, other, network()[1]))


@lru_cache(maxsize=1)  # several restorations of an image are compared with it one after the other
@torch.no_grad()
def _maps(pixels: bytes, shape: tuple[int, int, int]) -> list[Tensor]:
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    return network()[0](to_tensor(image)[None].contiguous(memory_format=torch.channels_last))


def distance(maps: list[Tensor], others: list[Tensor], heads: list[Tensor]) -> Tensor:
    """Distances (N,) from the maps (N, C, h, w) of both images, one of each layer.

    Each pixel's features are scaled to length 1; their squared differences are weighted by the layer's head (C,),
    averaged over the pixels, and summed over the layers.
    """
    total = 0
    for one, other, head in zip(maps, others, heads, strict=True):
        difference = (_unit(one) - _unit(other)).square()
        total = total + torch.einsum("nchw,c->nhw", difference, head).mean((1, 2))
    return total


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


@cache
def network() -> tuple[VGG, list[Tensor]]:
    """VGG-16 and the heads; fetched at the first call, as `lpips` says."""
    tensors = vgg16()
    return VGG(tensors).to(memory_format=torch.channels_last), [tensors[f"head{k}"] for k in range(5)]
