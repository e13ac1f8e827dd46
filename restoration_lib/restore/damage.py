"""Damage found and painted over, nothing else touched: the two halves of `RefinedGenerator`, in tiles."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from restoration_lib.networks.refined import ROUNDS, RefinedGenerator, fill, pull, push, redrawn
from restoration_lib.restore.levels import bands, images_of, pixels_of
from restoration_lib.restore.tiles import Watch, reach, run, side_that_fits, tiles, unwatched

AT_ONCE = 2**22  # px: what is not larger is filled as a whole
SURE, PART = 2.5, -1.0  # logits beyond the threshold: of damage somewhere, and of all that belongs to it
WIDEST = 10  # px: twice the widest stroke that the finder has learned


class Mender:
    """A `RefinedGenerator` ready for photographs."""

    def __init__(self, network: RefinedGenerator):
        self.network = network
        self.of_finder = reach(network.finder)
        self.of_painter = reach(network.painter, 7)

    def find(self, pixels: np.ndarray, watch: Watch = unwatched) -> np.ndarray:
        """Logits (H, W), float16, of where a photograph (H, W, C) is damaged."""
        logits = np.empty(pixels.shape[:2], np.float16)
        finder = self.network.finder
        for tile in tiles(*logits.shape, side_that_fits(finder, self.of_finder), self.of_finder.margin):
            found = run(finder, self.of_finder, 2 * images_of(pixels[tile.seen]) - 1)[0, 0, *tile.inner]
            logits[tile.core] = found.float().clamp(-3e4, 3e4).cpu().numpy()
            watch(logits[tile.core].size / logits.size)
        return logits

    def mend(
        self,
        pixels: np.ndarray,
        mask: np.ndarray,
        logits: np.ndarray | None = None,
        *,
        grey: bool = False,
        watch: Watch = unwatched,
    ) -> np.ndarray:
        """A photograph (H, W, C) with the pixels of the mask (H, W), bool, painted, and all others as they were.

        Args:
            logits: of the damage, for the painter; None where the mask comes from a person, who is sure of it.
            grey: paint grey in all channels.
        """
        filling, mended = Filling(pixels, mask), pixels.copy()
        side = side_that_fits(self.network.painter, self.of_painter)
        for tile in tiles(*mask.shape, side, self.of_painter.margin):
            inside = mask[tile.core]
            if inside.any():
                certainty = torch.from_numpy(mask[tile.seen] if logits is None else logits[tile.seen]).float()
                certainty = certainty if logits is None else certainty.sigmoid()
                images = self._painted(filling.part(*tile.seen), images_of(pixels[tile.seen]), certainty)
                painted = pixels_of(images[..., *tile.inner], pixels.dtype, pixels.shape[2], grey)
                mended[tile.core][inside] = painted[inside]
            watch(inside.size / mask.size)
        return mended

    @torch.inference_mode()
    def _painted(self, filled: Tensor, images: Tensor, certainty: Tensor) -> Tensor:
        painter = partial(run, self.network.painter, self.of_painter)
        return redrawn(lambda seen: painter(seen).cpu(), images, filled, certainty[None, None])


def mended(mender: Mender, image: Tensor) -> tuple[Tensor, Tensor]:
    """An image (1, 3, H, W) in [0, 1], on 8 bits, with the damage painted that is found; and the mask of this damage,
    (1, 1, H, W), bool. Both are on the CPU."""
    pixels = pixels_of(image, np.uint8, 3)
    logits = mender.find(pixels)
    mask = found(logits)
    return images_of(mender.mend(pixels, mask, logits)), torch.from_numpy(mask)[None, None]


class Filling:
    """`refined.fill` of a photograph, a part at a time: the same values, and never the whole of it as floats.

    The sizes that are larger than AT_ONCE are halved band by band, the smaller ones filled as a whole; a part is then
    filled from them, with as much around it as the averaging carries.

    Args:
        pixels: (H, W, C), see `levels`.
        mask: (H, W), bool, True where to fill.
    """

    def __init__(self, pixels: np.ndarray, mask: np.ndarray):
        self.pixels, self.mask = pixels, mask
        self.halvings, size = 0, np.array(mask.shape)
        while size.prod() > AT_ONCE and size.min() > 1:
            self.halvings, size = self.halvings + 1, -(-size // 2)
        self.fold, self.margin = 2**self.halvings, 0
        for _ in range(self.halvings):  # a pixel by the interpolation and the rounds, then what the coarser one reached
            self.margin = 2 * self.margin + 1 + ROUNDS
        everything = slice(0, mask.shape[1])
        halved = [self._halved(rows, everything)[-1] for rows in bands(pixels, self.fold)]
        self.coarse = fill(*(torch.cat(parts, 2) for parts in zip(*halved, strict=True)))

    def part(self, rows: slice, columns: slice) -> Tensor:
        """The filled images (1, 3, h, w) of a part."""
        wide = [
            slice(
                max(0, side.start - self.margin) // self.fold * self.fold,
                min(end, -(-(side.stop + self.margin) // self.fold) * self.fold),
            )
            for side, end in zip((rows, columns), self.mask.shape, strict=True)
        ]
        filled = self.coarse[..., *(slice(w.start // self.fold, -(-w.stop // self.fold)) for w in wide)]
        for images, mask in reversed(self._halved(*wide)[:-1]):
            filled = push(filled, images, mask)
        return filled[
            ..., rows.start - wide[0].start : rows.stop - wide[0].start,
            columns.start - wide[1].start : columns.stop - wide[1].start
        ]  # fmt: skip

    def _halved(self, rows: slice, columns: slice) -> list[tuple[Tensor, Tensor]]:
        """Images and masks of a part, at full size, halved once, twice …"""
        mask = torch.from_numpy(self.mask[rows, columns]).float()[None, None]
        sizes = [(images_of(self.pixels[rows, columns]), mask)]
        for _ in range(self.halvings):
            sizes.append(pull(*sizes[-1]))
        return sizes


def found(logits: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """Where logits (H, W) say damage, bool: areas above `threshold` + PART that somewhere exceed `threshold` + SURE.

    A crack is sure in places and faint in others, what only looks like one is sure nowhere: hysteresis (Canny 1986,
    section VIII) finds more of the former and less of the latter than one bound for all pixels.
    """
    from scipy import ndimage  # here, for most restorations need none of it

    labels, count = ndimage.label(logits > threshold + PART)
    is_sure = np.zeros(count + 1, bool)
    is_sure[labels[logits > threshold + SURE]] = True
    return is_sure[labels]


def strokes(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W), bool, without the connected areas that are mostly wider than WIDEST: a flower, a white collar."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3)))
    wide = ndimage.grey_opening(mask.view(np.uint8), WIDEST) > 0
    sizes, wide_sizes = (np.bincount(labels[part], minlength=count + 1) for part in (mask, wide))
    return mask & (2 * wide_sizes <= sizes)[labels]
