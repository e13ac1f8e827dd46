"""Ageing: what time does to a photographic print. Every effect is seeded and has a strength.

Each effect takes images (N, 3, H, W) or (3, H, W), float in [0, 1], and returns new ones in [0, 1]; `strength` runs
from 0 (unchanged) to 1 (the worst that `age` is meant for). Lengths scale with the shorter side, so that an image ages
alike at every size. Every image of a batch gets its own draws.
"""

import math
from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor

from restoration_lib.checks import check
from restoration_lib.degradations.common import check_images, uniform
from restoration_lib.degradations.monochrome import luma

PAPER = (0.93, 0.87, 0.74)  # yellowed paper, the tone that bright areas turn to
DYE_STAIN = (0.45, 0.26, 0.13)  # what is left in the shadows when the cyan dye has gone
REFERENCE = 512  # px, shorter side at which a length of 1 below is one pixel

Effect = Callable[..., Tensor]


def _effect(function: Callable[[Tensor, float, torch.Generator | None], Tensor]) -> Effect:
    """Check the arguments, then apply the effect to each image by itself."""

    @wraps(function)
    def apply(images: Tensor, strength: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
        check("strength", strength, 0, 1)
        check_images(images)
        if strength == 0:
            return images.clone()
        batch = images if images.ndim == 4 else images[None]
        aged = torch.stack([function(image, strength, generator) for image in batch]).clamp(0, 1)
        return aged.view_as(images)

    return apply


@_effect
def fade(image: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Low contrast: blacks rise (by up to 0.3), whites sink (by up to 0.2), mid-tones move either way."""
    black = 0.3 * strength * uniform(0.5, 1, generator)
    white = 1 - 0.2 * strength * uniform(0.3, 1, generator)
    gamma = math.exp(0.35 * strength * uniform(-1, 1, generator))
    return black + (white - black) * image.clamp(0, 1) ** gamma


@_effect
def cast(image: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Faded dyes and yellowed paper: colours weaken, whites turn to the paper's tone, shadows to the last dye's."""
    grey = luma(image)
    weak = image + strength * uniform(0.5, 1, generator) * (grey - image)
    wobble = 1 + 0.1 * (2 * torch.rand(3, 1, 1, generator=generator) - 1).to(image)  # no two prints turn alike
    paper, stain = (image.new_tensor(tone).view(3, 1, 1) for tone in (PAPER, DYE_STAIN))
    toned = 0.6 * stain * (1 - grey) * wobble + weak * (paper / max(PAPER)) ** wobble
    return weak + strength * uniform(0.4, 1, generator) * (toned - weak)


@_effect
def blur(image: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Soft lens and soft print: Gaussian, sigma up to 1.8 px at 512 px."""
    return gaussian_blur(image, 1.8 * strength * uniform(0.4, 1, generator) * _scale(image))


@_effect
def grain(image: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Film grain: grey noise of up to 0.04 RMS, clumped over about a pixel, strongest in the mid-tones."""
    noise = torch.randn(1, *image.shape[-2:], generator=generator).to(image)
    noise = gaussian_blur(noise, 0.8 * uniform(0.5, 1.2, generator) * max(1.0, _scale(image)))
    noise = noise / noise.std(correction=0).clamp(min=1e-6)
    midtones = 0.4 + 2.4 * luma(image) * (1 - luma(image))
    return image + 0.04 * strength * uniform(0.4, 1, generator) * midtones * noise


@_effect
def dust(image: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Up to 100 specks on 512 x 512 px, 1 to 4 px wide, round or long; two thirds bright, the others dark."""
    height, width = image.shape[-2:]
    count = round(100 * strength * uniform(0.3, 1, generator) * max(height, width) / min(height, width))
    draws = torch.rand(7, count, 1, 1, generator=generator).to(image)
    y, x = draws[0] * height, draws[1] * width
    size = (0.6 + 1.4 * draws[2]) * _scale(image)
    radius = size.clamp(min=0.6)  # what is smaller than a pixel shows as a paler one
    stretch, turn, opacity = 1 + 1.5 * draws[3], math.pi * draws[4], (0.4 + 0.6 * draws[5]) * (size / radius) ** 2
    reach = math.ceil(2.5 * (max(0.6, 2 * _scale(image)) + 0.5)) + 1
    steps = torch.arange(-reach, reach + 1, device=image.device)
    rows, columns = y.long() + steps[:, None], x.long() + steps  # a small window around each speck
    down, across = rows - y, columns - x
    along = (down * turn.sin() + across * turn.cos()) / stretch
    beside = down * turn.cos() - across * turn.sin()
    cover = (radius + 0.5 - (along**2 + beside**2).sqrt()).clamp(0, 1) * opacity
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    bright = (draws[6] < 2 / 3).expand_as(cover)
    for tone, chosen in ((0.95, inside & bright), (0.08, inside & ~bright)):
        layer = image.new_zeros(height * width)
        layer.scatter_reduce_(0, (rows * width + columns)[chosen], cover[chosen], "amax")
        image = image + layer.view(1, height, width) * (tone - image)
    return image


@_effect
def scratches(image: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Up to 8 thin bright scratches, slightly bent, 0.6 to 1.6 px wide at 512 px, that come and go along the way."""
    for _ in range(round(8 * strength * uniform(0.2, 1, generator))):
        distance, along = bent_line(image, generator)
        cover = line_cover(distance, uniform(0.6, 1.6, generator) * _scale(image))
        gaps = (torch.sin(along * uniform(10, 40, generator) + uniform(0, 6.3, generator)) + 1.3).clamp(0, 1)
        ends = (along > uniform(-0.6, 0, generator)) & (along < uniform(0.1, 0.8, generator))
        image = image + cover * gaps * ends * uniform(0.4, 0.9, generator) * (0.96 - image)
    return image


@_effect
def stains(image: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Up to 3 brown patches with ragged edges and a darker rim, as dried liquid leaves them."""
    size = image.shape[-2:]
    for _ in range(round(3 * strength * uniform(0.2, 1, generator))):
        down, across = _offsets(image, generator)
        radius = uniform(0.06, 0.22, generator) * min(size)
        ragged = torch.randn(1, 1, 6, 6, generator=generator).to(image)
        ragged = F.interpolate(ragged, size, mode="bicubic", align_corners=False)[0]
        inside = 1 - (down**2 + across**2).sqrt() / radius + 0.25 * ragged  # 0 at the edge
        cover = 0.6 * (inside / 0.03).clamp(0, 1) + 0.4 * torch.exp(-(((inside - 0.06) / 0.05) ** 2))
        tone = image.new_tensor((0.8, 0.66, 0.44)).view(3, 1, 1)
        image = image * (1 + strength * uniform(0.4, 0.9, generator) * cover * (tone - 1))
    return image


@_effect
def creases(image: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Up to 3 folds across the print: a broken white line, 1 to 3 px at 512 px, between a shadow and a light."""
    for _ in range(round(3 * strength * uniform(0.2, 1, generator))):
        distance, along = bent_line(image, generator, bend=0.02)
        width = uniform(1, 3, generator) * _scale(image)
        slope = torch.exp(-distance.abs() / (5 * width)) * distance.sign()
        crack = (torch.sin(along * uniform(15, 60, generator)) + uniform(0.2, 1.4, generator)).clamp(0, 1)
        cover = line_cover(distance, width) * crack * uniform(0.5, 0.95, generator)
        image = image + 0.12 * slope
        image = image + cover * (0.95 - image)
    return image


EFFECTS: dict[str, tuple[Effect, float, float]] = {
    "blur": (blur, 0.2, 1.0),
    "cast": (cast, 0.3, 1.0),
    "fade": (fade, 0.0, 1.0),
    "grain": (grain, 0.1, 1.0),
    "stains": (stains, 0.0, 1.0),
    "scratches": (scratches, 0.0, 1.0),
    "creases": (creases, 0.0, 0.7),
    "dust": (dust, 0.1, 1.0),
}
"""Effects in the order that `age` applies them, from the negative to the album; the range of each one's strength."""


def age(images: Tensor, strength: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """All EFFECTS in turn; each image draws the strength of each, uniformly from its range, times `strength`.

    Args:
        images: (N, 3, H, W) or (3, H, W), float in [0, 1].
        strength: in [0, 1]; 0 returns the images unchanged.
        generator: CPU generator of the draws; None takes torch's global one.

    Raises:
        ValueError: a strength outside [0, 1], or a tensor that is not a colour image.
    """
    check("strength", strength, 0, 1)
    if images.ndim == 4:
        return torch.stack([age(image, strength, generator) for image in images])
    for effect, low, high in EFFECTS.values():
        images = effect(images, strength * uniform(low, high, generator), generator)
    return images


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """An image (C, H, W) blurred by a Gaussian of `sigma` px, cut off at 3 sigma and mirrored at the borders.

    It comes back as it is where sigma is below 0.1, or where the kernel would reach across the whole of a side.
    """
    radius = math.ceil(3 * sigma)
    if sigma < 0.1 or radius >= min(image.shape[-2:]):
        return image
    x = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    padded = F.pad(image[:, None], [radius] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel), kernel.transpose(2, 3))[:, 0]


def bent_line(image: Tensor, generator: torch.Generator | None, bend: float = 0.06) -> tuple[Tensor, Tensor]:
    """A random, slightly bent line across an image (C, H, W): signed distance to it in pixels, and place along it,
    (H, W) each.

    The place runs from about -1 to 1 over the longer side, 0 at the line's middle. `bend` is how far the line swings
    to either side, in halves of the longer side.
    """
    down, across = _offsets(image, generator)
    turn = uniform(0, math.pi, generator)
    length = max(image.shape[-2:]) / 2
    along = (down * math.sin(turn) + across * math.cos(turn)) / length
    waves = uniform(2, 6, generator), uniform(0, 2 * math.pi, generator)
    distance = down * math.cos(turn) - across * math.sin(turn) - bend * length * torch.sin(along * waves[0] + waves[1])
    return distance, along


def line_cover(distance: Tensor, width: float) -> Tensor:
    """How much of each pixel, in [0, 1], a line covers, distance and width in pixels; below one pixel it is paler."""
    return (max(width, 1) / 2 + 0.5 - distance.abs()).clamp(0, 1) * min(width, 1)


def _scale(image: Tensor) -> float:
    return min(image.shape[-2:]) / REFERENCE


def _offsets(image: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Distance of each pixel down (H, 1) and across (1, W) from a random place, in pixels."""
    down, across = (torch.arange(side).to(image) - uniform(0, side, generator) for side in image.shape[-2:])
    return down[:, None], across
