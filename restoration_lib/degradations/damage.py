"""Local damage: scratches, hair, dust, blotches and tears, drawn or laid on from overlay pictures, and its mask.

Everything drawn is a row of round dabs of one brush, of a width that changes along the way. Lengths are parts of the
picture's shorter side, widths are pixels.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

REFERENCE = 512  # px, side of the pictures that the number of pieces is meant for
SHOWN = 0.1  # what is covered less than this does not count as covered
VISIBLE = 8  # grey levels: a smaller change is none, it is neither applied nor part of a mask

Range = tuple[float, float]
Dabs = tuple[np.ndarray, np.ndarray, np.ndarray]  # y, x, radius (N,) in pixels
Cover = tuple[np.ndarray, np.ndarray]  # flat indices of pixels, each once, and how much of each is covered, in [0, 1]
Draw = Callable[[int, int, float, torch.Generator | None], Dabs]


def scratch(
    pictures: Tensor,
    generator: torch.Generator | None = None,
    coverage: Range = (0.04, 0.15),
    width: Range = (3.0, 4.5),
    opacity: Range = (0.8, 1.0),
    tone: Range = (0.8, 1.0),
    number: tuple[int, int] = (1, 400),
    kinds: Sequence[str] = ("strokes", "hair", "dust", "blotches", "tears"),
    overlays: Sequence[Tensor] = (),
    overlay_scale: Range = (0.5, 1.5),
    share: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Damaged pictures and the masks of what was damaged.

    Pieces of damage are drawn one after the other, of a kind, width, opacity and tone each, until they cover as much of
    the picture as was drawn for it. The defaults are those of S2's origin at 270 px: bright, nearly opaque, 3 to 4.5 px
    wide, on 4 to 15 % of the picture.

    Args:
        pictures: (N, 3, H, W) or (3, H, W), float in [0, 1].
        generator: CPU generator of the draws; None takes torch's global one.
        coverage: part of the picture, in [0, 1], that the pieces cover; the last piece may exceed it. Less is damaged
            where it does not show, white on white.
        width: of the strokes in pixels; the other kinds are multiples of it.
        opacity, tone: in [0, 1]; tone 1 is white.
        number: least and largest number of pieces, whatever they cover; the largest grows with the area of pictures
            of more than 512 x 512 px.
        kinds: any of KINDS. None of them leaves the overlays alone.
        overlays: covers (h, w) in [0, 1] or uint8, laid on at a random place and angle, as one more kind.
        overlay_scale: picture pixels per overlay pixel, above 0; fewer where the whole damage of an overlay, inside the
            picture or not, would be more than the upper end of `coverage`.
        share: of the pictures that are damaged at all; the others come back as they are, with an empty mask.

    Returns:
        Damaged pictures, their damage rounded to 8 bits as in any file, and masks (N, 1, H, W) or (1, H, W), bool: True
        exactly where a picture was changed.

    Raises:
        ValueError: names the parameter that is out of its range.
    """
    ranges = {"coverage": coverage, "opacity": opacity, "tone": tone, "share": (share, share)}
    _check(pictures, {**ranges, "width": width, "number": number, "overlay_scale": overlay_scale}, shares=set(ranges))
    if not overlay_scale[0]:
        raise ValueError("overlay_scale: expected a range above 0, got 0")
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"kinds: expected any of {', '.join(KINDS)}, got {', '.join(sorted(unknown))}")
    if not kinds and not len(overlays):
        raise ValueError("kinds: name at least one of " + ", ".join(KINDS) + ", or give overlays")
    if pictures.ndim == 4:
        options = coverage, width, opacity, tone, number, kinds, overlays, overlay_scale, share
        damaged, masks = zip(*(scratch(picture, generator, *options) for picture in pictures), strict=True)
        return torch.stack(damaged), torch.stack(masks)

    if _uniform(0, 1, generator) >= share:
        return pictures.clone(), torch.zeros_like(pictures[:1], dtype=torch.bool)
    damaged = pictures.detach().cpu().flatten(1).numpy().astype(np.float32)  # NumPy: faster on pieces as small as these
    covered = np.zeros(damaged.shape[1], dtype=bool)
    choices = [*kinds, OVERLAY] if len(overlays) else kinds
    wanted, pieces, count = _uniform(*coverage, generator) * covered.size, 0, 0
    most = number[1] * max(1, covered.size / REFERENCE**2)
    while pieces < number[0] or (pieces < most and count < wanted):
        pieces += 1
        kind = choices[_index(len(choices), generator)]
        if kind == OVERLAY:
            overlay = overlays[_index(len(overlays), generator)]
            place, cover = _lay(overlay, pictures.shape[-2:], overlay_scale, coverage[1], generator)
        else:
            dabs = KINDS[kind](*pictures.shape[-2:], _uniform(*width, generator), generator)
            place, cover = _paint(*dabs, *pictures.shape[-2:])
        fresh = place[cover > SHOWN]
        count += np.count_nonzero(~covered[fresh])  # of each piece: a sum over all of a large picture takes long
        covered[fresh] = True
        here = damaged[:, place]
        damaged[:, place] = here + cover * _uniform(*opacity, generator) * (_uniform(*tone, generator) - here)
    result = torch.from_numpy(damaged).mul(255).round().div(255).view(pictures.shape).to(pictures)
    mask = damage_mask(result, pictures)
    return torch.where(mask, result, pictures), mask


def scratched(pictures: Tensor, generator: torch.Generator | None = None, **options) -> Tensor:
    """The damaged pictures of `scratch` alone, for data sets; `damage_mask` finds the mask again."""
    return scratch(pictures, generator, **options)[0]


def damage_mask(damaged: Tensor, clean: Tensor, least: int = VISIBLE) -> Tensor:
    """Where two 8-bit pictures (…, 3, H, W) differ by `least` grey levels or more in any channel: (…, 1, H, W) bool.

    With the default it finds again what `scratch` changed. Pictures that were compressed apart differ by more.
    """
    return (damaged - clean).abs().amax(-3, keepdim=True) * 255 > least - 0.5


def _strokes(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A long stroke that bends, and swells and shrinks like a string of beads."""
    y, x = _walk(height, width, _uniform(0.2, 0.8, generator), 0.02, generator)
    beads = np.sin(np.arange(len(y)) * _uniform(0.15, 0.6, generator) + _uniform(0, 6.3, generator))
    return y, x, thickness / 2 * (0.8 + 0.2 * beads)


def _hair(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A thin, curly line."""
    y, x = _walk(height, width, _uniform(0.1, 0.4, generator), 0.08, generator)
    return y, x, np.full_like(y, thickness * _uniform(0.12, 0.25, generator))


def _dust(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A few specks anywhere."""
    y, x, size = torch.rand(3, 3 + _index(10, generator), generator=generator).numpy()
    return y * height, x * width, thickness * (0.15 + 0.5 * size)


def _blotches(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A drop: a large dab with smaller ones around its rim."""
    radius, middle = thickness * _uniform(0.8, 2, generator), (_uniform(0, n, generator) for n in (height, width))
    turn, away, size = torch.rand(3, 12, generator=generator).numpy()
    ring = radius * (0.7 + 0.6 * away)
    sides = ring * np.sin(2 * math.pi * turn), ring * np.cos(2 * math.pi * turn)
    y, x = (start + np.append(side, 0) for start, side in zip(middle, sides, strict=True))
    return y, x, radius * np.append(0.15 + 0.35 * size, 1)


def _tears(height: int, width: int, thickness: float, generator: torch.Generator | None) -> Dabs:
    """A jagged line that begins wide at a border of the picture and ends thin."""
    steps = max(2, round(_uniform(0.1, 0.4, generator) * min(height, width)))
    jags = np.repeat(torch.randn(steps // 4 + 1, generator=generator).numpy(), 4)[:steps]
    heading = _uniform(0.25, 0.75, generator) * math.pi + 0.7 * jags  # into the picture, from its upper border
    y, x = np.sin(heading).cumsum(), _uniform(0, width, generator) + np.cos(heading).cumsum()
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
    y, x, heading = (_uniform(0, top, generator) for top in (height, width, 2 * math.pi))
    headings = heading + bend * (3 * turns.cumsum() + _uniform(-0.3, 0.3, generator) * np.arange(steps))
    return y + np.sin(headings).cumsum(), x + np.cos(headings).cumsum()


def _paint(y: np.ndarray, x: np.ndarray, radius: np.ndarray, height: int, width: int) -> Cover:
    """What round dabs cover; those thinner than a pixel are paler."""
    reach = math.ceil(radius.max() + 0.5) + 1
    steps = np.arange(-reach, reach + 1)
    y, x, radius = (values[:, None, None] for values in (y, x, radius))
    rows, columns = np.floor(y).astype(int) + steps[:, None], np.floor(x).astype(int) + steps
    cover = (np.maximum(radius, 0.5) + 0.5 - np.hypot(rows - y, columns - x)).clip(0, 1) * (2 * radius).clip(max=1)
    inside = (cover > 0) & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    layer = np.zeros(height * width, dtype=np.float32)
    np.maximum.at(layer, (rows * width + columns)[inside], cover[inside].astype(np.float32))
    place = np.flatnonzero(layer > 0)  # of booleans: many times faster than of floats
    return place, layer[place]


def _lay(overlay: Tensor, shape: Sequence[int], scale: Range, most: float, generator: torch.Generator | None) -> Cover:
    """What an overlay (h, w) covers, turned and scaled, a random spot of its damage on a random one of the picture."""
    cover = overlay.float() / (1 if overlay.is_floating_point() else 255)
    spots = (cover > 0.5 * cover.max()).nonzero()
    if not len(spots):
        return np.zeros(0, dtype=int), np.zeros(0, dtype=np.float32)
    spot = spots[_index(len(spots), generator)]
    turn, size = _uniform(0, 2 * math.pi, generator), _uniform(*scale, generator)
    if most:
        size = min(size, math.sqrt(most * math.prod(shape) / max(1, int((cover > SHOWN).sum()))))
    if (fold := min(int(1 / size), *cover.shape)) > 1:  # the sampling below would miss what is thin
        cover, spot, size = F.avg_pool2d(cover[None], fold)[0], spot // fold, size * fold
    down, across = ((torch.arange(side) - _uniform(0, side, generator)) / size for side in shape)
    rows = spot[0] + down[:, None] * math.cos(turn) - across * math.sin(turn)
    columns = spot[1] + down[:, None] * math.sin(turn) + across * math.cos(turn)
    height, width = cover.shape
    places = torch.stack([2 * columns / max(1, width - 1) - 1, 2 * rows / max(1, height - 1) - 1], -1)
    laid = F.grid_sample(cover[None, None], places[None], align_corners=True).flatten().numpy()
    place = np.flatnonzero(laid > 0)
    return place, laid[place]


def _check(pictures: Tensor, ranges: dict[str, tuple], shares: set[str]) -> None:
    if pictures.ndim not in (3, 4) or pictures.shape[-3] != 3 or not pictures.is_floating_point():
        found = f"{pictures.dtype} {tuple(pictures.shape)}"
        raise ValueError(f"pictures: expected a float tensor (N, 3, H, W) or (3, H, W), got {found}")
    for name, (low, high) in ranges.items():
        if not 0 <= low <= high or (name in shares and high > 1):
            bound = "1" if name in shares else "any size"
            raise ValueError(
                f"{name}: expected a range from 0 or more up to {bound}, low before high, got {low}, {high}"
            )


def _uniform(low: float, high: float, generator: torch.Generator | None) -> float:
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def _index(count: int, generator: torch.Generator | None) -> int:
    return int(torch.randint(count, (), generator=generator))
