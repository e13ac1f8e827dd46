"""Layers that several networks are made of."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoration_lib.checks import check_choice
from restoration_lib.networks.fast import InstanceNorm2d

NORMS = {"batch": nn.BatchNorm2d, "instance": InstanceNorm2d, "none": None}
UPSAMPLINGS = ("transposed", "resize")


def shrink(layer: nn.Module) -> nn.Module:
    """The layer with a tenth of its weights: what it adds to an image starts small."""
    with torch.no_grad():
        layer.weight.mul_(0.1)
    return layer


def pad(images: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Repeat the border pixels."""
    return F.pad(images, (left, right, top, bottom), mode="replicate")


def run_padded(network: Callable[[Tensor], Tensor], images: Tensor, multiple: int) -> Tensor:
    """What a network that needs sides that `multiple` divides makes of images of any size: their last row and column
    are repeated until it does, and the answer is cut to their size."""
    height, width = images.shape[-2:]
    padded = pad(images, 0, -width % multiple, 0, -height % multiple)
    return network(padded)[..., :height, :width]


def norm_layers(norm: str, channels: int) -> list[nn.Module]:
    """The named one of NORMS, in a list; no layer for "none"."""
    check_choice("norm", norm, NORMS)
    return [NORMS[norm](channels, affine=True)] if NORMS[norm] else []


def convolution(
    inputs: int, outputs: int, side: int, norm: str, *, padding_mode: str = "reflect", **options
) -> list[nn.Module]:
    """A convolution, its borders reflected unless told otherwise, and its norm, which makes a bias needless."""
    layer = nn.Conv2d(inputs, outputs, side, bias=norm == "none", padding_mode=padding_mode, **options)
    return [layer, *norm_layers(norm, outputs)]


class ResidualBlock(nn.Module):
    """x + norm(conv(activation(norm(conv(x))))): (N, channels, H, W) to the same (Johnson et al. 2016).

    Args:
        near_identity: start with a last layer of a tenth of the weight: deep stacks without norms then train at a high
            learning rate.
    """

    def __init__(
        self, channels: int, norm: str, activation: nn.Module, padding_mode: str = "zeros", near_identity: bool = False
    ):
        super().__init__()
        options = {"padding_mode": padding_mode, "padding": 1}
        first, second = (convolution(channels, channels, 3, norm, **options) for _ in range(2))
        self.layers = nn.Sequential(*first, activation, *second)
        if near_identity:
            shrink(self.layers[-1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def upsample(inputs: int, outputs: int, side: int, upsampling: str, norm: str = "none") -> list[nn.Module]:
    """Twice the size, and the norm.

    Args:
        side: of the transposed kernel, 3 or 4.
        upsampling: "transposed", which leaves a checkerboard (Odena et al. 2016), or "resize": nearest pixel and
            convolution, which leaves none.
    """
    check_choice("upsampling", upsampling, UPSAMPLINGS)
    if upsampling == "resize":
        return [nn.Upsample(scale_factor=2, mode="nearest"), *convolution(inputs, outputs, 3, norm, padding=1)]
    options = {"stride": 2, "padding": 1, "output_padding": side % 2}
    layer = nn.ConvTranspose2d(inputs, outputs, side, bias=norm == "none", **options)
    return [layer, *norm_layers(norm, outputs)]
