"""`fcn`: a fully convolutional residual network, and the trunk that it shares with `picker`."""

from torch import Tensor, nn

from restoration_lib.networks.fast import FACTOR, PixelShuffle, SubPixelConv2d
from restoration_lib.networks.layers import ResidualBlock, run_padded, shrink


class Trunk(nn.Sequential):
    """Fold, residual blocks without norms (EDSR, Lim et al. 2017, section 3.1), unfold, one convolution at full size.

    (N, 3, H, W) in [-1, 1] to (N, outputs, H, W); H and W must be multiples of FACTOR, for it works on blocks of that
    side: a quarter of the positions, at the same receptive field per layer. The outputs start near zero: the input
    comes out unchanged (`fcn`) or as an even mean (`picker`).
    """

    def __init__(self, channels: int, blocks: int, outputs: int):
        last = shrink(nn.Conv2d(channels // 2, outputs, 3, padding=1))
        super().__init__(
            nn.PixelUnshuffle(FACTOR),
            nn.Conv2d(3 * FACTOR**2, channels, 3, padding=1),
            *(ResidualBlock(channels, "none", nn.ReLU(), near_identity=True) for _ in range(blocks)),
            SubPixelConv2d(channels, channels // 2 * FACTOR**2, 1),
            PixelShuffle(),
            nn.ReLU(),
            last,
        )


class ResidualFCN(nn.Module):
    """Predicts the correction to its input: images (N, 3, H, W) in [0, 1] to the same.

    Args:
        channels: width of the trunk.
        blocks: number of residual blocks.
    """

    def __init__(self, channels: int = 48, blocks: int = 6):
        super().__init__()
        self.trunk = Trunk(channels, blocks, outputs=3)

    def forward(self, images: Tensor) -> Tensor:
        correction = run_padded(self.trunk, 2 * images - 1, FACTOR)
        return images + correction.float()
