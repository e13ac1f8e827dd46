"""`picker`: a generator that chooses among the observed pixels of a window around each pixel."""

import torch
from torch import Tensor, nn

from restoration_lib.checks import check
from restoration_lib.networks.fcn import FOLD, Trunk
from restoration_lib.networks.layers import pad, pad_to_multiple


class Picker(nn.Module):
    """A kernel-prediction network (Bako et al. 2017, section 4): images (N, 3, H, W) in [0, 1] to the same.

    A softmax over `window` x `window` neighbours, the output their weighted mean, so every colour comes from the image.
    Of the size of `fcn` within 5 % from 48 channels on (6 blocks; 6 % at 32 channels). Softmax and sum run in float32,
    whatever autocast says.

    Args:
        channels: width of the trunk.
        blocks: number of residual blocks.
        window: side of the window in pixels, odd.
    """

    def __init__(self, channels: int = 48, blocks: int = 6, window: int = 7):
        super().__init__()
        check("window", window, 1, odd=True)
        self.window = window
        self.trunk = Trunk(channels, blocks, outputs=window**2)

    def weights(self, images: Tensor) -> Tensor:
        """Weight (N, window², H, W) of each neighbour, raster order; they sum to 1."""
        height, width = images.shape[-2:]
        return self.trunk(pad_to_multiple(2 * images - 1, FOLD))[..., :height, :width].float().softmax(1)

    def forward(self, images: Tensor) -> Tensor:
        weights = self.weights(images)
        padded = pad(images.float(), *[self.window // 2] * 4)
        height, width = images.shape[-2:]
        total = torch.zeros_like(images, dtype=torch.float32)
        # one neighbour at a time: no window² copies of the image; unbind, for its gradient is one stack
        for k, weight in enumerate(weights.unbind(1)):
            y, x = divmod(k, self.window)
            total = torch.addcmul(total, weight[:, None], padded[..., y : y + height, x : x + width])
        return total
