"""A generator that finds the damage first, and paints there alone."""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoration_lib.checks import check
from restoration_lib.networks.layers import pad, run_padded, shrink

ROUNDS = 4  # of averaging at each size, when damage is filled


class RefinedGenerator(nn.Module):
    """One network finds the damage, the second paints there, and all other pixels are the input's.

    Images (N, 3, H, W) in [0, 1] of any size to `(restored, damage)`: the images, and the logits (N, 1, H, W) of where
    they are damaged.

    The damage found is first filled from its surroundings (`fill`), so the painter starts from a smooth guess and
    learns what is missing in it. It sees the input too, and how much of that to keep is its choice: what was taken for
    damage and is none can come back, and so can what shows through.

    restored = m painted + (1 - m) input, where the mask m is 0 or 1, while training too: what is not found damaged
    stays bit for bit as it was, and the image has no say in what the finder learns.

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

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        damage = self.finder(2 * images - 1).float()
        return paint(self.painter, images, damage.detach()), damage


def paint(painter: nn.Module, images: Tensor, damage: Tensor, threshold: float = 0.0) -> Tensor:
    """Images (N, 3, H, W) with new pixels where the logits `damage` (N, 1, H, W) exceed the threshold."""
    found = damage > threshold
    return torch.where(found, redrawn(painter, images, fill(images, found.float()), damage.sigmoid()), images)


def redrawn(painter: Callable[[Tensor], Tensor], images: Tensor, filled: Tensor, certainty: Tensor) -> Tensor:
    """All pixels of images (N, 3, H, W) as the painter would have them, of the `filled` images and of how certain the
    damage is, (N, 1, H, W) in [0, 1]."""
    seen = torch.cat([2 * filled - 1, 2 * images - 1, certainty], 1)
    correction, keep = painter(seen).float().split([3, 1], 1)
    return torch.lerp(filled, images, keep.sigmoid()) + correction


class Pyramid(nn.Module):
    """An encoder and decoder without norms, whose skip connections add: (N, inputs, H, W) to (N, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int, features: int, depth: int):
        super().__init__()
        check("depth", depth, 1)
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
        shrink(self.last)

    def forward(self, x: Tensor) -> Tensor:
        return run_padded(self._draw, x, 2 ** len(self.down))

    def _draw(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(x), 0.2)
        skips = []
        for layer in self.down:
            skips.append(x)
            x = F.leaky_relu(layer(x), 0.2)
        x = x + F.leaky_relu(self.middle(x), 0.2)
        for up, mix in zip(self.up, self.mix, strict=True):
            # convolved before it is enlarged: a quarter of the work, and what `mix` follows leaves no grid
            x = F.interpolate(up(x), scale_factor=2, mode="nearest") + skips.pop()
            x = F.leaky_relu(mix(F.leaky_relu(x, 0.2)), 0.2)
        return self.last(x)


def fill(images: Tensor, mask: Tensor) -> Tensor:
    """Fill the masked pixels smoothly from those around them: push-pull (Gortler et al. 1996, section 4.3), and at each
    size a few rounds of averaging, toward the harmonic interpolation.

    Args:
        images: (N, 3, H, W).
        mask: (N, 1, H, W), 1 where to fill, 0 where to keep; an image masked whole comes back as 0.
    """
    mask = mask.to(images.dtype)
    if not mask.any():
        return images
    if min(images.shape[-2:]) == 1:
        known = 1 - mask
        mean = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1e-6)
        return torch.where(known > 0, images, mean)
    return push(fill(*pull(images, mask)), images, mask)


def pull(images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Images of half the size, each pixel the mean of the known ones of four, and their mask: where none is known."""
    known, options = 1 - mask, {"kernel_size": 2, "ceil_mode": True}
    share = F.avg_pool2d(known, **options)
    return F.avg_pool2d(images * known, **options) / share.clamp(min=1e-6), (share == 0).to(known)


def push(coarse: Tensor, images: Tensor, mask: Tensor) -> Tensor:
    """Fill the masked pixels from filled images of half the size, then average."""
    height, width = images.shape[-2:]
    guess = F.interpolate(coarse, scale_factor=2, mode="bilinear")[..., :height, :width]
    filled = torch.where(mask < 1, images, guess)
    for _ in range(ROUNDS):
        padded = pad(filled, 1, 1, 1, 1)
        around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
        filled = torch.where(mask < 1, images, around / 4)
    return filled
