"""Pairs from two folders, damaged and clean pictures of the same names, and overlay pictures of damage."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from restoration_lib.data import (
    CropBatches,
    Degrade,
    Pair,
    Pictures,
    central,
    degraded_pairs,
    load,
    reduced,
)
from restoration_lib.images import ImageError, list_images, open_rgb, read_cover, to_tensor
from restoration_lib.prints import PrintBatches
from restoration_lib.splits import SAMPLES, SPLITS, split_folder, split_paths
from restoration_lib.unpaired import keep

HUMAN_FACES = ("gray", "color")  # damaged and clean folder of Kaggle's HumanFace8000

Files = list[tuple[Path | None, Path]]  # damaged, or None where the damage is to be drawn, and clean


def split_pairs(clean: str | Path, damaged: str | Path = "") -> tuple[dict[str, Files], list[str]]:
    """The pairs of two folders, by split, and the files that only one of them has.

    A pair are two files of the same name, whatever their suffixes, in the order of the names: of the same path below
    both folders, or, where no path is in both, of the same file name. The clean folder decides the splits, as in
    `splits.split_paths`.

    Args:
        clean: a sample set or a folder; or, without `damaged`, one in the layout of HumanFace8000, gray/ and color/.
        damaged: a folder; without it the clean pictures have no partners.

    Raises:
        ImageError: as `splits.split_paths`; two files of one folder have the same name, too few names are in both
            folders, or none of a split.
    """
    faces = [Path(clean).expanduser() / name for name in HUMAN_FACES]
    if not damaged and all(folder.is_dir() for folder in faces):
        damaged, clean = faces
    if not damaged:
        return {part: [(None, path) for path in paths] for part, paths in split_paths(clean).items()}, []
    if str(clean) in SAMPLES:
        raise ImageError(
            f"clean: {clean} are samples, which have no damaged partners; give the folder of clean pictures"
        )
    folders = [Path(folder).expanduser() for folder in (damaged, clean)]
    places = [folder.resolve() for folder in folders]
    if places[0] == places[1]:
        raise ImageError(f"{folders[0]}: is both the damaged and the clean folder")
    for inner, outer in (places, reversed(places)):
        if outer in inner.parents:
            raise ImageError(f"{inner} lies inside {outer}: give a damaged and a clean folder side by side")
    key = _path_below
    sides = [_by_name(folder, key) for folder in folders]
    if not sides[0].keys() & sides[1].keys():
        key = _file_name
        sides = [_by_name(folder, key) for folder in folders]
    common = sides[0].keys() & sides[1].keys()
    if len(common) < 3:
        found = f"{folders[0]} and {folders[1]}: {len(common)} file names are in both"
        raise ImageError(f"{found}, train, validation and test need 3 or more; the two of a pair have one name")
    split = split_folder(folders[1], lambda path: key(path, folders[1]) in common)
    pairs = {}
    for part, paths in split.items():
        if not paths:
            raise ImageError(f"{folders[1]}: no {part} picture has a partner in {folders[0]}")
        named = sorted((key(path, folders[1]), path) for path in paths)
        pairs[part] = [(sides[0][name], path) for name, path in named]
    alone = [
        side[name].relative_to(folder.parent).as_posix()
        for folder, side in zip(folders, sides, strict=True)
        for name in sorted(side.keys() - common)
    ]
    return pairs, alone


def _path_below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _file_name(path: Path, folder: Path) -> str:
    return path.stem


def _by_name(folder: Path, key: Callable[[Path, Path], str]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in list_images(folder):
        name = key(path, folder)
        if name in paths:
            first, second = (found.relative_to(folder) for found in (paths[name], path))
            raise ImageError(f"{folder}: {first} and {second} have the same name; which one is the pair's?")
        paths[name] = path
    return paths


@dataclass(frozen=True)
class PairedPictures:
    """Clean pictures of one split, and their damaged partners in the same order; None where damage is to be drawn."""

    clean: Pictures
    damaged: Pictures | None

    def first(self, count: int) -> "PairedPictures":
        """The first `count` pairs; 0 is all."""
        sides = (
            side and Pictures(side.names[: count or None], side.arrays[: count or None])
            for side in (self.clean, self.damaged)
        )
        return PairedPictures(*sides)


def load_pairs(files: Files, size: int = 0, least: int = 0) -> PairedPictures:
    """Read pairs; one of which a file cannot be read is named in a warning, skipped, and listed in `clean.skipped`.

    Args:
        size: longest length of the shorter side in pixels, larger pictures are reduced (bicubic); 0 keeps them.
        least: pairs with a shorter side than this, in pixels, are skipped too, and listed.

    Raises:
        ImageError: the two of a pair differ in size, not one pair could be read, or all are too small.
        ValueError: a negative size.
    """
    if size < 0:
        raise ValueError(f"size: expected 0 or more, got {size}")
    if all(damaged is None for damaged, _ in files):
        pairs = PairedPictures(load([clean for _, clean in files], size), None)
    else:
        pairs = _load_both(files, size)
        pairs.damaged.drop_small(least)
    pairs.clean.drop_small(least)
    if not len(pairs.clean):
        raise ImageError(f"{pairs.clean.skipped[-1]}, and no other one is larger; lower crop or raise size")
    return pairs


def _load_both(files: Files, size: int) -> PairedPictures:
    pairs = PairedPictures(Pictures(), Pictures())
    for pair in files:
        pictures = []
        try:
            for path in pair:
                pictures.append(open_rgb(path))
        except ImageError as error:
            pairs.clean.skip(path, error)
            continue
        if pictures[0].size != pictures[1].size:
            sizes = (f"{path} ({' x '.join(map(str, p.size))} px)" for path, p in zip(pair, pictures, strict=True))
            raise ImageError(f"{' and '.join(sizes)}: the two of a pair must have the same size")
        for side, picture in zip((pairs.damaged, pairs.clean), pictures, strict=True):
            side.add(pair[1].name, reduced(picture, size))
    if not len(pairs.clean):
        raise ImageError(f"{files[0][1].parent}: none of the {len(files)} pairs can be read")
    return pairs


class PairedBatches(CropBatches):
    """Item `step`: a training batch {"input", "target"}, cut and mirrored alike, a pure function of (seed, step)."""

    def __init__(self, pairs: PairedPictures, crop: int, batch_size: int, steps: int, seed: int | str):
        super().__init__(pairs.clean, keep, crop, batch_size, steps, seed)
        self.damaged = pairs.damaged

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        both = super().__getitem__(step)["target"]
        return {"input": both[:, :3], "target": both[:, 3:]}

    def _cut(self, index: int, rows: slice, columns: slice) -> Tensor:
        return torch.cat([to_tensor(side.arrays[index][rows, columns]) for side in (self.damaged, self.pictures)])


def batches(
    pairs: PairedPictures, degrade: Degrade, crop: int, batch_size: int, steps: int, seed: int, monochrome: float = 0.0
) -> Dataset:
    """Training batches of pairs, or of clean pictures that `degrade` damages, a share of them monochrome."""
    if pairs.damaged is None:
        drawn = CropBatches(pairs.clean, degrade, crop, batch_size, steps, seed)
    else:
        drawn = PairedBatches(pairs, crop, batch_size, steps, seed)
    return PrintBatches(drawn, monochrome, pairs.damaged is None) if monochrome else drawn


def fixed_pairs(pairs: PairedPictures, degrade: Degrade, crop: int = 0) -> list[Pair]:
    """Pairs for validation and test, those without a partner damaged by `degrade`: the central `crop` x `crop` px of
    each; 0 takes all."""
    if pairs.damaged is None:
        return degraded_pairs(pairs.clean, degrade, crop)
    arrays = zip(pairs.clean.names, pairs.damaged.arrays, pairs.clean.arrays, strict=True)
    return [Pair(name, central(damaged, crop), central(clean, crop)) for name, damaged, clean in arrays]


def split_overlays(folder: str | Path) -> tuple[dict[str, list[Tensor]], list[str]]:
    """Covers (h, w), uint8, of overlay pictures, see `images.read_cover`, by split, and a line for each unreadable one.

    "" is no folder and no overlays.

    Raises:
        ImageError: no such folder, or too few readable pictures in it to split.
    """
    if not folder:
        return {part: [] for part in SPLITS}, []
    place, unread, covers = Path(folder).expanduser(), Pictures(), {}
    for path in list_images(place):
        try:
            covers[path] = read_cover(path)
        except ImageError as error:
            unread.skip(path, error)
    split = split_folder(place, covers.__contains__)
    return {part: [covers[path] for path in paths] for part, paths in split.items()}, unread.skipped
