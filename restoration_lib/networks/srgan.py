"""SRResNet and the discriminator of SRGAN (Ledig et al. 2017, figure 4). Pictures are in [0, 1], in and out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoration_lib.degradations.bicubic import check_scale


class ResidualBlock(nn.Module):
    """x + norm(conv(prelu(norm(conv(x))))): (N, C, H, W) to the same."""

    def __init__(self, channels: int, norm: bool):
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, norm),
            nn.PReLU(),
            *_convolution(channels, norm),
        )
        if not norm:
            with torch.no_grad():  # start near the identity: deep stacks then train at a high learning rate
                self.layers[-1].weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class SRResNet(nn.Module):
    """k9n64s1, residual blocks k3n64s1, a skip over all of them, a PixelShuffle for each factor of 2, k9n3s1.

    Args:
        scale: 2 or 4.
        features: channels of all layers, 64 in the paper.
        blocks: residual blocks, 16 in the paper.
        norm: BatchNorm in the blocks, as in the paper; without it no picture depends on the others of its batch, and
            colours keep their range (EDSR, Lim et al. 2017, section 3.1).
        residual: add the bicubic enlargement to the output, so that the training starts from that instead of from
            nothing (VDSR, Kim et al. 2016, section 3.1).

    Raises:
        ValueError: another scale.
    """

    def __init__(self, scale: int = 4, features: int = 64, blocks: int = 16, norm: bool = True, residual: bool = False):
        super().__init__()
        check_scale(scale)
        self.scale, self.residual = scale, residual
        self.first = nn.Sequential(nn.Conv2d(3, features, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(
            *(ResidualBlock(features, norm) for _ in range(blocks)), *_convolution(features, norm)
        )
        ups: list[nn.Module] = []
        for _ in range(scale.bit_length() - 1):
            convolution = nn.Conv2d(features, 4 * features, 3, padding=1)
            icnr(convolution, 2)
            ups += [convolution, nn.PixelShuffle(2), nn.PReLU()]
        self.up = nn.Sequential(*ups)
        self.last = nn.Conv2d(features, 3, 9, padding=4)
        if residual:
            with torch.no_grad():
                self.last.weight.mul_(0.1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to (N, 3, scale H, scale W); values may leave [0, 1]."""
        x = 2 * pictures - 1
        maps = self.first(x)
        large = self.last(self.up(maps + self.blocks(maps))).float()
        if self.residual:
            large = large + F.interpolate(x, scale_factor=self.scale, mode="bicubic", antialias=True)
        return (large + 1) / 2


class SRDiscriminator(nn.Module):
    """Eight convolutions of 64 to 512 channels, every second one with stride 2, dense 1024, one logit per picture.

    The last maps are averaged to 6 x 6, what 96 px of the paper leave, so that crops of other sizes serve too.

    Args:
        features: channels of the first layer, 64 in the paper.
    """

    def __init__(self, features: int = 64):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.LeakyReLU(0.2)]
        width = features
        for wider in (features, 2 * features, 2 * features, 4 * features, 4 * features, 8 * features, 8 * features):
            stride = 2 if wider == width else 1
            layers += [nn.Conv2d(width, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.LeakyReLU(0.2)]
            width = wider
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(36 * width, 16 * features), nn.LeakyReLU(0.2), nn.Linear(16 * features, 1)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (N, 1) that the pictures (N, 3, H, W) are real."""
        return self.dense(F.adaptive_avg_pool2d(self.layers(2 * pictures - 1), 6))


def icnr(convolution: nn.Conv2d, factor: int) -> None:
    """Start a convolution before a PixelShuffle such that it repeats pixels: no checkerboard (Aitken et al. 2017)."""
    with torch.no_grad():
        for parameter in (convolution.weight, convolution.bias):
            parameter.copy_(parameter[:: factor**2].repeat_interleave(factor**2, 0))


def _convolution(channels: int, norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
    return [convolution, nn.BatchNorm2d(channels)] if norm else [convolution]
