"""The U-Net of Pix2Pix."""

import torch
from torch import Tensor, nn

from restoration_lib.checks import check
from restoration_lib.networks.layers import run_padded

DROPOUT = 0.5  # in the first three levels of the decoder, in training


class UNet(nn.Module):
    """Pix2Pix (Isola et al. 2017, section 6.1.1): strided convolutions down, as many up, each with a skip connection.

    Convolutions 4x4 with stride 2, BatchNorm except in the first and the innermost layer, LeakyReLU(0.2) on the way
    down, ReLU on the way up, dropout in the first three levels of the decoder, tanh. Images (N, 3, H, W) in [0, 1] to
    `(restored, None)`: a U-Net does not say where the damage is. Sides that 2^depth does not divide are padded and cut
    again.

    Args:
        features: channels of the first layer; doubled by each level up to eight times as many.
        depth: how often the size is halved; 8 takes 256 px to a single one.
    """

    def __init__(self, features: int = 64, depth: int = 8):
        super().__init__()
        check("depth", depth, 2)
        widths = [min(2**level, 8) * features for level in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            normed = 0 < level < depth - 1
            layers = [nn.LeakyReLU(0.2)] if level else []
            layers.append(nn.Conv2d(widths[level - 1] if level else 3, width, 4, 2, 1, bias=not normed))
            self.down.append(nn.Sequential(*layers, *([nn.BatchNorm2d(width)] if normed else [])))
        for level in reversed(range(depth)):
            inputs = widths[level] * (1 if level == depth - 1 else 2)
            outputs = widths[level - 1] if level else 3
            layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=not level)]
            layers.append(nn.BatchNorm2d(outputs) if level else nn.Tanh())
            dropped = level and depth - 1 - level < 3
            self.up.append(nn.Sequential(*layers, *([nn.Dropout(DROPOUT)] if dropped else [])))

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return (run_padded(self._draw, 2 * images - 1, 2 ** len(self.down)).float() + 1) / 2, None

    def _draw(self, x: Tensor) -> Tensor:
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = skips.pop()
        for layer in self.up:
            x = layer(x)
            if skips:
                x = torch.cat([x, skips.pop()], 1)
        return x
