"""Generators that restore a picture at its own size. Input and output (N, 3, H, W) in [0, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FOLD = 2  # the trunk works on 2x2 blocks of pixels: a quarter of the positions, at the same receptive field per layer


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), no normalisation (EDSR, Lim et al. 2017, section 3.1): (N, C, H, W) to the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():  # start near the identity: deep stacks then train at a high learning rate
            self.second.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class Trunk(nn.Sequential):
    """Fold, residual blocks, unfold, and one convolution at full size: (N, 3, H, W) in [-1, 1] to (N, outputs, H, W).

    H and W must be multiples of FOLD.
    """

    def __init__(self, channels: int, blocks: int, outputs: int):
        last = nn.Conv2d(channels // 2, outputs, 3, padding=1)
        with torch.no_grad():  # start near zero: the input comes out unchanged (fcn) or as an even mean (picker)
            last.weight.mul_(0.1)
        super().__init__(
            nn.PixelUnshuffle(FOLD),
            nn.Conv2d(3 * FOLD**2, channels, 3, padding=1),
            *(ResidualBlock(channels) for _ in range(blocks)),
            nn.Conv2d(channels, channels // 2 * FOLD**2, 1),
            nn.PixelShuffle(FOLD),
            nn.ReLU(),
            last,
        )


class ResidualFCN(nn.Module):
    """`fcn`: a fully convolutional residual network that predicts the correction to its input.

    Args:
        channels: width of the trunk.
        blocks: number of residual blocks.
    """

    def __init__(self, channels: int = 48, blocks: int = 6):
        super().__init__()
        self.trunk = Trunk(channels, blocks, outputs=3)

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        correction = self.trunk(pad_to_fold(2 * pictures - 1))[..., :height, :width]
        return pictures + correction.float()


class Picker(nn.Module):
    """`picker`: chooses among the observed pixels of a window around each pixel.

    A kernel-prediction network (Bako et al. 2017, section 4): a softmax over `window` x `window` neighbours, the
    output their weighted mean, so every colour comes from the picture. Of the size of `fcn` within 5 % from 48 channels
    on (6 blocks; 6 % at 32 channels). Softmax and sum run in float32, whatever autocast says.

    Args:
        channels: width of the trunk.
        blocks: number of residual blocks.
        window: side of the window in pixels, odd.
    """

    def __init__(self, channels: int = 48, blocks: int = 6, window: int = 7):
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window: expected an odd number of pixels such as 5 or 7, got {window}")
        self.window = window
        self.trunk = Trunk(channels, blocks, outputs=window**2)

    def weights(self, pictures: Tensor) -> Tensor:
        """Weight (N, window², H, W) of each neighbour, raster order; they sum to 1."""
        height, width = pictures.shape[-2:]
        return self.trunk(pad_to_fold(2 * pictures - 1))[..., :height, :width].float().softmax(1)

    def forward(self, pictures: Tensor) -> Tensor:
        weights = self.weights(pictures)
        padded = _pad(pictures.float(), *[self.window // 2] * 4)
        height, width = pictures.shape[-2:]
        total = torch.zeros_like(pictures, dtype=torch.float32)
        # one neighbour at a time: no window² copies of the picture; unbind, for its gradient is one stack
        for k, weight in enumerate(weights.unbind(1)):
            y, x = divmod(k, self.window)
            total = torch.addcmul(total, weight[:, None], padded[..., y : y + height, x : x + width])
        return total


def pad_to_fold(pictures: Tensor) -> Tensor:
    """Repeat the last row and column until FOLD divides both sides."""
    height, width = pictures.shape[-2:]
    return _pad(pictures, 0, -width % FOLD, 0, -height % FOLD)


def _pad(pictures: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    return F.pad(pictures, (left, right, top, bottom), mode="replicate")


GENERATORS = {"fcn": ResidualFCN, "picker": Picker}


def build_generator(name: str, channels: int, blocks: int) -> nn.Module:
    """Generator by name.

    Raises:
        ValueError: a name that GENERATORS does not have.
    """
    if name not in GENERATORS:
        raise ValueError(f"generator: expected one of {', '.join(GENERATORS)}, got {name!r}")
    return GENERATORS[name](channels, blocks)
