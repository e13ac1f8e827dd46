"""Images in memory, and the pairs that validation and test are measured on."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from restoration_lib.checks import check
from restoration_lib.data.files import ImageError, list_images, read_overlay_mask, to_tensor
from restoration_lib.data.reduced import open_reduced
from restoration_lib.data.splits import SPLITS, PairFiles, split_folder
from restoration_lib.degradations import Degrade
from restoration_lib.filesystem import expanded, shown


@dataclass
class Images:
    """Images of one split, decoded once and kept in memory as 8-bit RGB (H, W, 3): 150 KB each at 224 x 224."""

    names: list[str] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # one line for each file that was left out

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Tensor:
        """Image (3, H, W), float in [0, 1]."""
        return to_tensor(self.arrays[index])

    def add(self, name: str, image: ArrayLike) -> None:
        """Its name, as `shown`, gets " #2", … where another image has it, for tables tell images by their names."""
        name = unique = shown(name)
        count = 1
        while unique in self.names:
            count += 1
            unique = f"{name} #{count}"
        self.names.append(unique)
        self.arrays.append(np.asarray(image))

    def skip(self, paths: Sequence[Path], error: ImageError) -> None:
        """Warn that a file, one of `paths`, cannot be read, and keep the line for the record."""
        line = str(error)
        for path in paths:  # records and notebooks are shared: no one's paths in them
            line = line.replace(shown(path), shown(path.name))
        warnings.warn(f"skipped: {line}", stacklevel=4)
        self.skipped.append(line)

    def first(self, count: int) -> "Images":
        """The first `count` images; 0 is all."""
        return Images(self.names[: count or None], self.arrays[: count or None])


def too_small(name: str, size: tuple[int, int], min_side: int) -> str:
    width, height = size
    return f"{shown(name)}: {width} x {height} px is smaller than the {min_side} px needed"


def load(paths: list[Path], size: int = 0, limit: int = 0, min_side: int = 0) -> Images:
    """Read images; one that cannot be read is named in a warning, skipped, and listed in `skipped`.

    Args:
        size: largest shorter side in pixels, larger images are reduced (bicubic); 0 keeps them.
        limit: at most so many images, the first ones; 0 takes all.
        min_side: images with a shorter side than this, in pixels, are skipped too, and listed.

    Raises:
        ImageError: no paths, or not one image could be read, or is large enough.
        ValueError: a negative size or limit.
    """
    return _load([(path,) for path in paths], 1, size, limit, min_side)[0]


def _load(files: Sequence[Sequence[Path]], count: int, size: int, limit: int, min_side: int) -> list[Images]:
    """`count` sets of images, one of each place in the tuples of `files`; the last set's names and lines serve all."""
    check("size", size, 0)
    check("limit", limit, 0)
    sides = [Images() for _ in range(count)]
    last = sides[-1]
    for paths in files:
        if limit and len(last) == limit:
            break
        try:
            opened = [open_reduced(path, size) for path in paths]
        except ImageError as error:
            last.skip(paths, error)
            continue
        if len({in_file for in_file, _ in opened}) > 1:
            sizes = (f"{p} ({' x '.join(map(str, s))} px)" for p, (s, _) in zip(paths, opened, strict=True))
            raise ImageError(f"{' and '.join(sizes)}: the two of a pair must have the same size")
        height, width = opened[0][1].shape[:2]
        if min(height, width) < min_side:
            last.skipped.append(too_small(paths[-1].name, (width, height), min_side))
            continue
        for side, (_, pixels) in zip(sides, opened, strict=True):
            side.add(paths[-1].name, pixels)
    if not len(last):
        where = files[0][-1].parent if files else "datasets.load"
        reason = f"; the last: {last.skipped[-1]}" if last.skipped else ""
        noun = "images" if count == 1 else "pairs"
        raise ImageError(f"{where}: none of the {len(last.skipped)} {noun} can be used{reason}")
    return sides


@dataclass(frozen=True)
class PairedImages:
    """Clean images of one split, and their damaged partners in the same order; None where damage is to be drawn."""

    clean: Images
    damaged: Images | None

    def __len__(self) -> int:
        return len(self.clean)

    def first(self, count: int) -> "PairedImages":
        """The first `count` pairs; 0 is all."""
        return PairedImages(self.clean.first(count), self.damaged and self.damaged.first(count))


def load_pairs(files: PairFiles, size: int = 0, min_side: int = 0) -> PairedImages:
    """Read pairs; one of which a file cannot be read is named in a warning, skipped, and listed in `clean.skipped`.

    `size` and `min_side` are those of `load`.

    Raises:
        ImageError: the two of a pair differ in size, not one pair could be read, or all are too small.
        ValueError: a negative size.
    """
    if all(damaged is None for damaged, _ in files):
        return PairedImages(load([clean for _, clean in files], size, min_side=min_side), None)
    damaged, clean = _load(files, 2, size, 0, min_side)
    return PairedImages(clean, damaged)


def load_overlay_masks(folder: str | Path) -> tuple[dict[str, list[Tensor]], list[str]]:
    """Masks (h, w), uint8, of overlay images, see `files.read_overlay_mask`, by split; a line for each unreadable one.

    "" is no folder and no overlays.

    Raises:
        ImageError: no such folder, or too few readable images in it to split.
    """
    if not folder:
        return {part: [] for part in SPLITS}, []
    place, unread, masks = expanded(folder), Images(), {}
    for path in list_images(place):
        try:
            masks[path] = read_overlay_mask(path)
        except ImageError as error:
            unread.skip([path], error)
    split = split_folder(place, masks.__contains__)
    return {part: [masks[path] for path in paths] for part, paths in split.items()}, unread.skipped


@dataclass(frozen=True)
class Pair:
    """A degraded image and its target, (1, 3, H, W), float in [0, 1]; the former is smaller in super-resolution."""

    name: str
    input: Tensor
    target: Tensor


def generator_for(*key: int | str) -> torch.Generator:
    """CPU generator whose seed depends on the whole key, and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def degraded_pairs(
    images: Images, degrade: Degrade, crop: int = 0, seed: int = 0, draws: int = 1, multiple: int = 1
) -> list[Pair]:
    """Pairs for validation and test: the damage depends on `seed` and the file name alone, so all runs share it.

    Args:
        crop: of each image, take the central `crop` x `crop` px, or what there is of them; 0 takes all.
        draws: how many times each image is degraded, each time anew; from the second on, names end in " (2)", …
        multiple: leave out the last rows and columns that exceed a multiple of this, such as a scale.
    """
    pairs = []
    for name, array in zip(images.names, images.arrays, strict=True):
        target = central(array, crop)
        height, width = (side // multiple * multiple for side in target.shape[-2:])
        target = target[..., :height, :width]
        for draw in range(1, draws + 1):
            named = name if draw == 1 else f"{name} ({draw})"
            pairs.append(Pair(named, degrade(target, generator=generator_for("pair", seed, named)), target))
    return pairs


def fixed_pairs(pairs: PairedImages, degrade: Degrade, crop: int = 0) -> list[Pair]:
    """Pairs for validation and test, those without a partner damaged by `degrade`: the central `crop` x `crop` px of
    each; 0 takes all."""
    if pairs.damaged is None:
        return degraded_pairs(pairs.clean, degrade, crop)
    arrays = zip(pairs.clean.names, pairs.damaged.arrays, pairs.clean.arrays, strict=True)
    return [Pair(name, central(damaged, crop), central(clean, crop)) for name, damaged, clean in arrays]


def load_sets(folder: str, min_side: int, taken: str = "", size: int = 0) -> tuple[dict[str, Images], list[str]]:
    """Images by the name of the subfolder that holds them, and a line for each file left out.

    "" is no folder and no sets; hidden subfolders are none.

    Args:
        min_side: images with a shorter side than this, in pixels, are left out.
        taken: a name that stands for another set.
        size: larger images are reduced to this shorter side, in pixels; 0 keeps them.

    Raises:
        ImageError: no such folder, no subfolders in it, one with the name that is taken, or none of a subfolder's
            images can be used.
    """
    if not folder:
        return {}, []
    place = expanded(folder)
    found = sorted(path for path in place.glob("[!.]*") if path.is_dir())
    if not found:
        raise ImageError(f"{place}: no test sets; give a folder with a subfolder for each")
    if place / taken in found:
        raise ImageError(f"{place / taken}: the data set's own test images have this name; rename the folder")
    sets = {shown(path.name): load(list_images(path), size, min_side=min_side) for path in found}
    return sets, [f"{name}/{line}" for name, images in sets.items() for line in images.skipped]


def central(array: np.ndarray, crop: int) -> Tensor:
    """The central `crop` x `crop` px of an 8-bit image, or what there is of them, (1, 3, h, w); 0 takes all."""
    check("crop", crop, 0)
    top, left = (max(0, side - crop) // 2 for side in array.shape[:2])
    return to_tensor(array[top : top + crop, left : left + crop] if crop else array)[None]
