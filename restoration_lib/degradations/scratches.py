"""Local damage: scratches, hair, dust, blotches and tears, drawn or laid on from overlay images, and its mask.

Everything drawn is a row of round dabs of one brush, of a width that changes along the way. Lengths are parts of the
image's shorter side, widths are pixels.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restoration_lib.checks import check, check_names, check_range
from restoration_lib.degradations.common import check_images, uniform

REFERENCE = 512  # px, side of the images that the number of pieces is meant for
SHOWN = 0.1  # what is covered less than this does not count as covered
VISIBLE = 8  # grey levels: a smaller change is none, it is neither applied nor part of a mask

Range = tuple[float, float]
Dabs = tuple[np.ndarray, np.ndarray, np.ndarray]  # y, x, radius (N,) in pixels
Cover = tuple[np.ndarray, np.ndarray]  # flat indices of pixels, each once, and how much of each is covered, in [0, 1]
Draw = Callable[[int, int, float, torch.Generator | None], Dabs]


def scratch(
    images: Tensor,
    generator: torch.Generator | None = None,
    coverage: Range = (0.04, 0.15),
    width: Range = (3.0, 4.5),
    opacity: Range = (0.8, 1.0),
    tone: Range = (0.8, 1.0),
    number: tuple[int, int] = (1, 400),
    kinds: Sequence[str] = ("strokes", "hair", "dust", "blotches", "tears"),
    overlay_masks: Sequence[Tensor] = (),
    overlay_scale: Range = (0.5, 1.5),
    share: float = 1.0,
    any_tone: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Damaged images and the masks of what was damaged.

    Pieces of damage are drawn one after the other, of a kind, width, opacity and tone each, until they cover as much of
    the image as was drawn for it. The defaults are the original project's at 270 px: bright, nearly opaque, 3 to 4.5 px
    wide, on 4 to 15 % of the image.

    Args:
        images: (N, 3, H, W) or (3, H, W), float in [0, 1].
        generator: CPU generator of the draws; None takes torch's global one.
        coverage: part of the image, in [0, 1], that the pieces cover; the last piece may exceed it. Less is damaged
            where it does not show, white on white.
        width: of the strokes in pixels; the other kinds are multiples of it.
        opacity, tone: in [0, 1]; tone 1 is white.
        number: least and largest number of pieces, whatever they cover; the largest grows with the area of images
            of more than 512 x 512 px.
        kinds: any of KINDS. None of them leaves the overlays alone.
        overlay_masks: how much overlays cover, (h, w), in [0, 1] or uint8; laid on at a random place and angle, as one
            more kind.
        overlay_scale: image pixels per overlay pixel, above 0; fewer where the whole damage of an overlay, inside the
            image or not, would be more than the upper end of `coverage`.
        share: of the images that are damaged at all; the others come back as they are, with an empty mask.
        any_tone: share of the pieces, in [0, 1], whose tone is drawn from black to white, whatever `tone` says.

    Returns:
        Damaged images, their damage rounded to 8 bits as in any file, and masks (N, 1, H, W) or (1, H, W), bool: True
        exactly where an image was changed.

    Raises:
        ValueError: names the parameter that is out of its range.
    """
    check_images(images)
    for name, pair in {"coverage": coverage, "opacity": opacity, "tone": tone}.items():
        check_range(name, pair, 0, 1)
    for name, pair in {"width": width, "number": number, "overlay_scale": overlay_scale}.items():
        check_range(name, pair, 0)
    check("overlay_scale", overlay_scale[0], above=0)
    check("share", share, 0, 1)
    check("any_tone", any_tone, 0, 1)
    check_names("kinds", kinds, KINDS)
    if not kinds and not len(overlay_masks):
        raise ValueError("kinds: name at least one of " + ", ".join(KINDS) + ", or give overlay_masks")
    if images.ndim == 4:
        options = coverage, width, opacity, tone, number, kinds, overlay_masks, overlay_scale, share, any_tone
        damaged, masks = zip(*(scratch(image, generator, *options) for image in images), strict=True)
        return torch.stack(damaged), torch.stack(masks)

    if uniform(0, 1, generator) >= share:
        return images.clone(), torch.zeros_like(images[:1], dtype=torch.bool)
    damaged = images.detach().cpu().flatten(1).numpy().astype(np.float32)  # NumPy: faster on pieces as small as these
    covered = np.zeros(damaged.shape[1], dtype=bool)
    choices = [*kinds, OVERLAY] if len(overlay_masks) else kinds
    wanted, pieces, count = uniform(*coverage, generator) * covered.size, 0, 0
    most = number[1] * max(1, covered.size / REFERENCE**2)
    while pieces < number[0] or (pieces < most and count < wanted):
        pieces += 1
        kind = choices[_index(len(choices), generator)]
        if kind == OVERLAY:
            overlay = overlay_masks[_index(len(overlay_masks), generator)]
            place, cover = _lay(overlay, images.shape[-2:], overlay_scale, coverage[1], generator)
        else:
            dabs = KINDS[kind](*images.shape[-2:], uniform(*width, generator), generator)
            place, cover = _paint(*dabs, *images.shape[-2:])
        fresh = place[cover > SHOWN]
        count += np.count_nonzero(~covered[fresh])  # of each piece: a sum over all of a large image takes long
        covered[fresh] = True
        here = damaged[:, place]
        shown = cover * uniform(*opacity, generator)
        tones = (0, 1) if any_tone and uniform(0, 1, generator) < any_tone else tone  # without it, no draw is spent
        damaged[:, place] = here + shown * (uniform(*tones, generator) - here)
    result = torch.from_numpy(damaged).mul(255).round().div(255).view(images.shape).to(images)
    mask = damage_mask(result, images)
    return torch.where(mask, result, images), mask


def scratched(images: Tensor, generator: torch.Generator | None = None, **options) -> Tensor:
    """The damaged images of `scratch` alone, for data sets; `damage_mask` finds the mask again."""
    return scratch(images, generator, **options)[0]


scratched.__wrapped__ = scratch  # for `inspect.signature`: the same arguments


def damage_mask(damaged: Tensor, clean: Tensor, least_damage: int = VISIBLE) -> Tensor:
    """Where two 8-bit images (…, 3, H, W) differ by `least_damage` grey levels in any channel: (…, 1, H, W) bool.

    With the default it finds again what `scratch` changed. Images that were compressed apart differ by more.
    """
    return (damaged - clean).abs().amax(-3, keepdim=True) * 255 > least_damage - 0.5


def _strokes(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A long stroke that bends, and swells and shrinks like a string of beads."""
    y, x = _walk(height, width, uniform(0.2, 0.8, generator), 0.02, generator)
    beads = np.sin(np.arange(len(y)) * uniform(0.15, 0.6, generator) + uniform(0, 6.3, generator))
    return y, x, thickness / 2 * (0.8 + 0.2 * beads)


def _hair(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A thin, curly line."""
    y, x = _walk(height, width, uniform(0.1, 0.4, generator), 0.08, generator)
    return y, x, np.full_like(y, thickness * uniform(0.12, 0.25, generator))


def _dust(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A few specks anywhere."""
    y, x, size = torch.rand(3, 3 + _index(10, generator), generator=generator).numpy()
    return y * height, x * width, thickness * (0.15 + 0.5 * size)


def _blotches(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A drop: a large dab with smaller ones around its rim."""
    radius, middle = thickness * uniform(0.8, 2, generator), (uniform(0, n, generator) for n in (height, width))
    turn, away, size = torch.rand(3, 12, generator=generator).numpy()
    ring = radius * (0.7 + 0.6 * away)
    sides = ring * np.sin(2 * math.pi * turn), ring * np.cos(2 * math.pi * turn)
    y, x = (start + np.append(side, 0) for start, side in zip(middle, sides, strict=True))
    return y, x, radius * np.append(0.15 + 0.35 * size, 1)


def _tears(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A jagged line that begins wide at a border of the image and ends thin."""
    steps = max(2, round(uniform(0.1, 0.4, generator) * min(height, width)))
    jags = np.repeat(torch.randn(steps // 4 + 1, generator=generator).numpy(), 4)[:steps]
    heading = uniform(0.25, 0.75, generator) * math.pi + 0.7 * jags  # into the image, from its upper border
    y, x = np.sin(heading).cumsum(), uniform(0, width, generator) + np.cos(heading).cumsum()
    if _index(2, generator):  # from the left one
        y, x = x * height / width, y
    if _index(2, generator):  # from the opposite one
        y, x = height - 1 - y, width - 1 - x
    return y, x, thickness * np.linspace(0.7, 0.1, steps)


KINDS: dict[str, Draw] = {
    "strokes": _strokes, "hair": _hair, "dust": _dust, "blotches": _blotches, "tears": _tears
}  # fmt: skip
OVERLAY = "overlay"


def _walk(
    height: int, width: int, length: float, bend: float, generator: torch.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random walk in steps of one pixel: y and x (N,); `length` in shorter sides, `bend` in radians a step."""
    steps = max(2, round(length * min(height, width)))
    turns = np.convolve(torch.randn(steps + 8, generator=generator).numpy(), np.full(9, 1 / 9), mode="valid")
    y, x, heading = (uniform(0, top, generator) for top in (height, width, 2 * math.pi))
    headings = heading + bend * (3 * turns.cumsum() + uniform(-0.3, 0.3, generator) * np.arange(steps))
    return y + np.sin(headings).cumsum(), x + np.cos(headings).cumsum()


def _paint(y: np.ndarray, x: np.ndarray, radius: np.ndarray, height: int, width: int) -> Cover:
    """What round dabs cover; those thinner than a pixel are paler."""
    reach = math.ceil(max(radius.max(), 0.5) + 0.5)
    steps = np.arange(1 - reach, reach + 1)
    y, x, radius = (values[:, None, None] for values in (y, x, radius))
    rows, columns = np.floor(y).astype(int) + steps[:, None], np.floor(x).astype(int) + steps
    cover = (np.maximum(radius, 0.5) + 0.5 - np.hypot(rows - y, columns - x)).clip(0, 1) * (2 * radius).clip(max=1)
    inside = (cover > 0) & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixels = (rows * width + columns)[inside]
    first = pixels.min(initial=height * width)
    layer = np.zeros(pixels.max(initial=first) + 1 - first, dtype=np.float32)  # of the rows it touches alone
    np.maximum.at(layer, pixels - first, cover[inside].astype(np.float32))
    place = np.flatnonzero(layer > 0)  # of booleans: many times faster than of floats
    return first + place, layer[place]


def _lay(overlay: Tensor, shape: Sequence[int], scale: Range, most: float, generator: torch.Generator | None) -> Cover:
    """What an overlay (h, w) covers, turned and scaled, a random spot of its damage on a random one of the image."""
    cover = overlay.float() / (1 if overlay.is_floating_point() else 255)
    spots = (cover > 0.5 * cover.max()).nonzero()
    if not len(spots):
        return np.zeros(0, dtype=int), np.zeros(0, dtype=np.float32)
    spot = spots[_index(len(spots), generator)]
    turn, size = uniform(0, 2 * math.pi, generator), uniform(*scale, generator)
    if most:
        size = min(size, math.sqrt(most * math.prod(shape) / max(1, int((cover > SHOWN).sum()))))
    if (fold := min(int(1 / size), *cover.shape)) > 1:  # the sampling below would miss what is thin
        cover, spot, size = F.avg_pool2d(cover[None], fold)[0], spot // fold, size * fold
    down, across = ((torch.arange(side) - uniform(0, side, generator)) / size for side in shape)
    rows = spot[0] + down[:, None] * math.cos(turn) - across * math.sin(turn)
    columns = spot[1] + down[:, None] * math.sin(turn) + across * math.cos(turn)
    height, width = cover.shape
    places = torch.stack([2 * columns / max(1, width - 1) - 1, 2 * rows / max(1, height - 1) - 1], -1)
    laid = F.grid_sample(cover[None, None], places[None], align_corners=True).flatten().numpy()
    place = np.flatnonzero(laid > 0)
    return place, laid[place]


def _index(count: int, generator: torch.Generator | None) -> int:
    return int(torch.randint(count, (), generator=generator))
