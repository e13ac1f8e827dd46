"""Generators that remove local damage: the U-Net of Pix2Pix, and one that finds the damage and paints there alone.

Both take pictures (N, 3, H, W) in [0, 1] of any size and give back `(restored, damage)`: the pictures at their size,
and the logits (N, 1, H, W) of where they are damaged, or None from a generator that does not say.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UPSAMPLINGS = ("transposed", "resize")


class UNet(nn.Module):
    """Pix2Pix (Isola et al. 2017, section 6.1.1): strided convolutions down, as many up, each with a skip connection.

    Convolutions 4x4 with stride 2, BatchNorm except in the first and the innermost layer, LeakyReLU(0.2) on the way
    down, ReLU on the way up, dropout in the first three levels of the decoder, tanh. Sides that 2^depth does not divide
    are padded and cut again.

    Args:
        features: channels of the first layer; doubled by each level up to eight times as many.
        depth: how often the size is halved; 8 takes 256 px to a single one.
        dropout: probability in the first three levels of the decoder, in training.
        upsampling: "transposed", as there, or "resize": resize and convolution, without checkerboard.
    """

    def __init__(self, features: int = 64, depth: int = 8, dropout: float = 0.5, upsampling: str = "transposed"):
        super().__init__()
        if depth < 2:
            raise ValueError(f"depth: expected 2 or more, got {depth}")
        if upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling: expected one of {', '.join(UPSAMPLINGS)}, got {upsampling!r}")
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
            if upsampling == "transposed":
                layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=not level)]
            else:
                layers = [nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, 1, 1, bias=not level)]
            dropped = level and depth - 1 - level < 3 and dropout
            layers += [nn.BatchNorm2d(outputs)] if level else [nn.Tanh()]
            self.up.append(nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropped else [])))

    def forward(self, pictures: Tensor) -> tuple[Tensor, None]:
        height, width = pictures.shape[-2:]
        x, skips = _pad_to(2 * pictures - 1, 2 ** len(self.down)), []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = skips.pop()
        for layer in self.up:
            x = layer(x)
            if skips:
                x = torch.cat([x, skips.pop()], 1)
        return (x[..., :height, :width].float() + 1) / 2, None


class RefinedGenerator(nn.Module):
    """Ours: one network finds the damage, the second paints there, and all other pixels are the input's.

    The damage found is first filled from its surroundings (`fill`), so the painter starts from a smooth guess and
    learns what is missing in it. It sees the input too, and how much of that to keep is its choice: what was taken for
    damage and is none can come back, and so can what shows through.

    restored = m painted + (1 - m) input, where the mask m is 0 or 1, while training too: what is not found damaged
    stays bit for bit as it was, and the picture has no say in what the finder learns.

    Args:
        features: channels of both networks at full size; doubled by each level up to eight times as many.
        depth: how often both halve the size.
    """

    def __init__(self, features: int = 16, depth: int = 4):
        super().__init__()
        self.finder = Pyramid(3, 1, features, depth)
        self.painter = Pyramid(7, 4, features, depth)
        with torch.no_grad():  # to begin with, little is damaged, and of what is, nothing is kept
            self.finder.last.bias.fill_(-2.0)
            self.painter.last.bias[3] = -2.0

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        damage = self.finder(2 * pictures - 1).float()
        found = damage > 0
        filled = fill(pictures, found.float())
        seen = torch.cat([2 * filled - 1, 2 * pictures - 1, damage.detach().sigmoid()], 1)
        correction, keep = self.painter(seen).float().split([3, 1], 1)
        painted = torch.lerp(filled, pictures, keep.sigmoid()) + correction
        return torch.where(found, painted, pictures), damage


class Pyramid(nn.Module):
    """An encoder and decoder without norms, whose skip connections add: (N, inputs, H, W) to (N, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int, features: int, depth: int):
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth: expected 1 or more, got {depth}")
        widths = [min(2**level, 8) * features for level in range(depth + 1)]
        pairs = list(pairwise(widths))
        self.first = nn.Conv2d(inputs, features, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairs)
        self.middle = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in reversed(pairs))
        self.mix = nn.ModuleList(nn.Conv2d(a, a, 3, padding=1) for a, _ in reversed(pairs))
        self.last = nn.Conv2d(features, outputs, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # PyTorch's own start fades with the depth, where no norm holds it up
                nn.init.kaiming_normal_(layer.weight, 0.2)
        with torch.no_grad():
            self.last.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.leaky_relu(self.first(_pad_to(x, 2 ** len(self.down))), 0.2)
        skips = []
        for layer in self.down:
            skips.append(x)
            x = F.leaky_relu(layer(x), 0.2)
        x = x + F.leaky_relu(self.middle(x), 0.2)
        for up, mix in zip(self.up, self.mix, strict=True):
            # convolved before it is enlarged: a quarter of the work, and what `mix` follows leaves no grid
            x = F.interpolate(up(x), scale_factor=2, mode="nearest") + skips.pop()
            x = F.leaky_relu(mix(F.leaky_relu(x, 0.2)), 0.2)
        return self.last(x)[..., :height, :width]


def fill(pictures: Tensor, mask: Tensor, rounds: int = 4) -> Tensor:
    """Fill the masked pixels smoothly from those around them: push-pull (Gortler et al. 1996, section 4.3), and at each
    size a few rounds of averaging, toward the harmonic interpolation.

    Args:
        pictures: (N, 3, H, W).
        mask: (N, 1, H, W), 1 where to fill, 0 where to keep; a picture masked whole comes back as 0.
        rounds: of averaging at each size.
    """
    known = 1 - mask.to(pictures.dtype)
    if not mask.any():
        return pictures
    if min(pictures.shape[-2:]) == 1:
        mean = (pictures * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1e-6)
        return torch.where(known > 0, pictures, mean)
    options = {"kernel_size": 2, "ceil_mode": True}
    share = F.avg_pool2d(known, **options)
    coarse = F.avg_pool2d(pictures * known, **options) / share.clamp(min=1e-6)
    coarse = fill(coarse, (share == 0).to(known), rounds)
    guess = F.interpolate(coarse, size=pictures.shape[-2:], mode="bilinear")
    filled = torch.where(known > 0, pictures, guess)
    for _ in range(rounds):
        padded = F.pad(filled, (1, 1, 1, 1), mode="replicate")
        around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
        filled = torch.where(known > 0, pictures, around / 4)
    return filled


def _pad_to(pictures: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until `multiple` divides both sides."""
    height, width = pictures.shape[-2:]
    return F.pad(pictures, (0, -width % multiple, 0, -height % multiple), mode="replicate")
