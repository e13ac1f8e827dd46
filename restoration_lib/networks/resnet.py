"""The generators of the two CycleGANs. Images (N, 3, H, W) in [0, 1], in and out."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restoration_lib.checks import check_choice
from restoration_lib.networks.fast import FewOutputsConv2d
from restoration_lib.networks.layers import ResidualBlock, convolution, run_padded, shrink, upsample

OUTPUTS = {"tanh": 3, "residual": 3, "colour": 12}  # channels of the last convolution
LARGE = 512 * 512  # pixels from which on memory is dearer than time


class TranslationGenerator(nn.Module):
    """Encoder, residual blocks, decoder. An image of any size comes back at its size.

    With `output` "tanh" the layers draw the image anew, as both originals do. The two others start from the image
    instead of from grey, and their values may leave [0, 1]. With "residual" the layers draw what is added to it, of
    which they are free to make texture. With "colour" they give each pixel a 3 x 3 matrix M and an offset b, and its
    colour x in [-1, 1] becomes x + M x + b: what the print has kept stays as sharp as it was.

    Args:
        features: channels of the first convolution; doubled by each of the other two.
        blocks: number of residual blocks.
        upsampling: "transposed" or "resize", see `layers.upsample`.
        norm: "instance", "batch" or "none". A norm takes the image's contrast out before anything has measured it:
            with the output "colour", "none" belongs.
        output: "tanh", "residual" or "colour".
    """

    fold: int  # product of the encoder's strides; sides that it does not divide are padded and cut again
    side: int  # of the kernels that change the size, but for the first and the last layer
    activation: Callable[[], nn.Module]  # of the encoder

    def __init__(self, features: int, blocks: int, upsampling: str, norm: str, output: str):
        super().__init__()
        check_choice("output", output, OUTPUTS)
        self.output = output
        f, side = features, self.side
        self.layers = nn.Sequential(
            *self.first(f, norm),
            self.activation(),
            *convolution(f, 2 * f, side, norm, stride=2, padding=1),
            self.activation(),
            *convolution(2 * f, 4 * f, side, norm, stride=2, padding=1),
            self.activation(),
            *(ResidualBlock(4 * f, norm, nn.ReLU(True), padding_mode="reflect") for _ in range(blocks)),
            *upsample(4 * f, 2 * f, side, upsampling, norm),
            nn.ReLU(True),
            *upsample(2 * f, f, side, upsampling, norm),
            nn.ReLU(True),
            *self.last(f, OUTPUTS[output], upsampling),
        )
        if output != "tanh":
            shrink(self.layers[-1])  # start near the image itself

    def forward(self, images: Tensor) -> Tensor:
        maps = run_padded(self._draw, 2 * images - 1, self.fold).float()
        if self.output == "tanh":
            return (maps.tanh() + 1) / 2
        if self.output == "residual":
            return images + maps / 2
        maps, x = maps.contiguous(), (2 * images - 1).contiguous()  # products of channels are slow in channels_last
        matrix, offset = maps[:, :9].unflatten(1, (3, 3)), maps[:, 9:]
        return (x + (matrix * x[:, None]).sum(2) + offset + 1) / 2

    def _draw(self, x: Tensor) -> Tensor:
        """The layers. Training on large images, the blocks keep nothing for the backward pass, but run again in it;
        the running statistics of a BatchNorm then see each image twice.
        """
        large = torch.is_grad_enabled() and x.shape[-2] * x.shape[-1] >= LARGE
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if large and isinstance(layer, ResidualBlock) else layer(x)
        return x


class OldPhotoGenerator(TranslationGenerator):
    """The old-photo project's: three convolutions, six residual blocks, three transposed convolutions."""

    fold, side = 8, 4
    activation = staticmethod(partial(nn.LeakyReLU, 0.2, True))

    def first(self, features: int, norm: str) -> list[nn.Module]:
        return convolution(3, features, 4, "none", stride=2, padding=1)

    def last(self, features: int, outputs: int, upsampling: str) -> list[nn.Module]:
        return upsample(features, outputs, 4, upsampling)


class ResnetGenerator(TranslationGenerator):
    """CycleGAN (Zhu et al. 2017, appendix 7.2): c7s1-64, d128, d256, nine blocks, u128, u64, c7s1-3."""

    fold, side = 4, 3
    activation = staticmethod(partial(nn.ReLU, True))

    def first(self, features: int, norm: str) -> list[nn.Module]:
        return convolution(3, features, 7, norm, padding=3)

    def last(self, features: int, outputs: int, upsampling: str) -> list[nn.Module]:
        return [FewOutputsConv2d(features, outputs, 7, padding=3, padding_mode="reflect")]
