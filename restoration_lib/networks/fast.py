"""PyTorch's layers in less time: the same weights under the same names, the same results but for rounding.

Processors compute 16 or more channels at a time, and what lies together in memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACTOR = 2  # of all that works on blocks of FACTOR x FACTOR pixels


class InstanceNorm2d(nn.InstanceNorm2d):
    """Of a single image by BatchNorm, which is the same then, keeps the memory format, and takes half of the time.

    PyTorch's own is wrong there: if the gradient that comes back is channels_last, what it passes on has its pixels and
    channels mixed up (CPU, seen in 2.15).
    """

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1 or self.track_running_stats:
            return super().forward(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


class PReLU(nn.PReLU):
    """By two ReLUs, whose backward passes are faster than PReLU's own; without gradients its own is, ten times."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return F.prelu(x, self.weight.to(x.dtype))
        return F.relu(x) - self.weight.to(x.dtype) * F.relu(-x)


class SubPixelConv2d(nn.Conv2d):
    """The convolution before a `PixelShuffle`: makes (place in the block, channel), not PyTorch's (channel, place)."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (
            values.unflatten(0, (-1, FACTOR**2)).transpose(0, 1).flatten(0, 1) for values in (self.weight, self.bias)
        )
        return self._conv_forward(x, weight.contiguous(memory_format=torch.channels_last), bias)


class PixelShuffle(nn.PixelShuffle):
    """After a `SubPixelConv2d`: moves whole runs of channels instead of single values."""

    def __init__(self):
        super().__init__(FACTOR)

    def forward(self, x: Tensor) -> Tensor:
        blocks = x.movedim(1, -1).unflatten(-1, (FACTOR, FACTOR, -1))  # (N, H, W, row in the block, column, C)
        return blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2).movedim(-1, 1)


class FewOutputsConv2d(nn.Conv2d):
    """To a few channels with a large kernel, 7 px or more: at every second pixel, but for blocks of 2 x 2 at once.

    The kernel is copied for each of the four pixels, to its place in one that is a pixel larger; a `PixelShuffle` puts
    the four in their places. For a stride of 1 and a padding that keeps the size.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] % FACTOR or x.shape[-1] % FACTOR:
            return super().forward(x)
        offsets = [(k, FACTOR - 1 - k) for k in range(FACTOR)]  # zeros before and after
        weight = torch.cat([F.pad(self.weight, (*across, *down)) for down in offsets for across in offsets])
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        padded = F.pad(x, self._reversed_padding_repeated_twice, mode)
        weight = weight.contiguous(memory_format=torch.channels_last)
        return PixelShuffle()(F.conv2d(padded, weight, self.bias.repeat(FACTOR**2), FACTOR))
