"""`picker`: a generator that chooses among the observed pixels of a window around each pixel."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from restoration_lib.checks import check
from restoration_lib.networks.fast import FACTOR
from restoration_lib.networks.fcn import Trunk
from restoration_lib.networks.layers import pad, run_padded


class Picker(nn.Module):
    """A kernel-prediction network (Bako et al. 2017, section 4): images (N, 3, H, W) in [0, 1] to the same.

    A softmax over `window` x `window` neighbours, the output their weighted mean, so every colour comes from the image.
    Of the size of `fcn` within 5 % from 48 channels on (6 blocks; 6 % at 32 channels). Softmax and sum run in float32,
    whatever autocast says.

    Args:
        channels: width of the trunk.
        blocks: number of residual blocks.
        window: side of the window in pixels, odd.
        corrected: add a correction to the mean, which `fcn` adds to the input: colours between those of the image.
    """

    def __init__(self, channels: int = 48, blocks: int = 6, window: int = 7, corrected: bool = False):
        super().__init__()
        check("window", window, 1, odd=True)
        self.window, self.corrections = window, 3 if corrected else 0
        self.trunk = Trunk(channels, blocks, outputs=window**2 + self.corrections)

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The weight (N, window², H, W) of each neighbour, raster order, which sum to 1; and corrections (N, 3, H, W),
        or (N, 0, H, W) where there are none."""
        made = run_padded(self.trunk, 2 * images - 1, FACTOR)
        logits, corrections = made.split([self.window**2, self.corrections], 1)
        return logits.to(torch.float32, memory_format=torch.contiguous_format).softmax(1), corrections.float()

    def forward(self, images: Tensor) -> Tensor:
        weights, corrections = self.predict(images)
        mean = WeightedMean.apply(weights, pad(images.float().contiguous(), *[self.window // 2] * 4))
        return mean + corrections if self.corrections else mean


class WeightedMean(torch.autograd.Function):
    """Of the window around each pixel: weights (N, window², H, W) and the padded image (N, C, H + …, W + …).

    One neighbour k at a time, shifted by it, so that there are no window² copies of the image:
    mean = sum_k w_k shift_k(x), so dw_k = sum_C shift_k(x) dmean, and dx is the sum of w_k dmean, shifted back.
    """

    @staticmethod
    def forward(context, weights: Tensor, padded: Tensor) -> Tensor:
        context.save_for_backward(weights, padded)
        mean = padded.new_zeros(*padded.shape[:2], *weights.shape[2:])
        for weight, shifted in zip(weights.split(1, 1), shifts(padded, weights), strict=True):
            mean.addcmul_(weight, shifted)
        return mean

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (weights, padded), gradient = context.saved_tensors, gradient.contiguous()
        of_weights = of_padded = None
        if context.needs_input_grad[0]:
            of_weights = torch.empty_like(weights)
            for of_weight, shifted in zip(of_weights.unbind(1), shifts(padded, weights), strict=True):
                torch.mul(shifted[:, 0], gradient[:, 0], out=of_weight)
                for channel in range(1, shifted.shape[1]):  # one by one: faster than `sum`
                    of_weight.addcmul_(shifted[:, channel], gradient[:, channel])
        if context.needs_input_grad[1]:
            of_padded = torch.zeros_like(padded)
            for weight, shifted in zip(weights.split(1, 1), shifts(of_padded, weights), strict=True):
                shifted.addcmul_(weight, gradient)
        return of_weights, of_padded


def shifts(padded: Tensor, weights: Tensor) -> Iterator[Tensor]:
    """Views of the padded image, one for each weight of a pixel, of its neighbours in raster order."""
    height, width = weights.shape[2:]
    side = padded.shape[-1] - width + 1
    for k in range(weights.shape[1]):
        y, x = divmod(k, side)
        yield padded[..., y : y + height, x : x + width]
