"""Which files are for training, validation and test: of a data set, of paired folders, of two unpaired domains."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from restoration_lib.data import samples
from restoration_lib.data.files import ImageError, list_images
from restoration_lib.filesystem import expanded, shown

Split = dict[str, list[Path]]
PairFiles = list[tuple[Path | None, Path]]  # damaged, or None where the damage is to be drawn, and clean

SPLITS = ("train", "validation", "test")
SUBFOLDERS = {"train": "train", "validation": "val", "test": "test"}
COCO = ("train2017", "val2017")  # of the latter, every second image is for the test
HUMAN_FACES = ("gray", "color")  # damaged and clean folder of Kaggle's HumanFace8000
SAMPLES = {"samples": "all", "samples/photographs": "photographs", "samples/paintings": "paintings"}
TEST_SHARE, VALIDATION_SHARE = 0.1, 0.1  # of a folder without subfolders of its own


def dataset_name(dataset: str | Path) -> str:
    """What tables call a data set: its sample name, or the folder's own name."""
    return str(dataset) if str(dataset) in SAMPLES else shown(expanded(dataset).resolve().name)


def split_dataset(dataset: str | Path) -> Split:
    """Image files of each of SPLITS.

    Args:
        dataset: "samples", "samples/photographs", "samples/paintings", or a folder. A folder with the subfolders
            train, val and test is taken as it is, one with COCO's train2017 and val2017 too; any other is split by a
            stable hash of each file's name, so that an image stays in its split when others are added (a few may move
            while the folder is small).

    Raises:
        ImageError: no such folder, no images in it, or too few to split.
    """
    if str(dataset) in SAMPLES:
        return samples.split(SAMPLES[str(dataset)])
    return split_folder(expanded(dataset))


def split_folder(folder: Path, accept: Callable[[Path], bool] = lambda path: True) -> Split:
    """As `split_dataset`, of the images in a folder that `accept` lets pass."""
    if all((folder / name).is_dir() for name in COCO):
        train, held_out = (list(filter(accept, list_images(folder / name))) for name in COCO)
        return {"train": train, "validation": held_out[0::2], "test": held_out[1::2]}
    there = [name for name in SUBFOLDERS.values() if (folder / name).is_dir()]
    if len(there) == len(SUBFOLDERS):
        return {split: list(filter(accept, list_images(folder / name))) for split, name in SUBFOLDERS.items()}
    if there:  # to split across them would mix what was meant to be kept apart
        raise ImageError(f"{folder}: has {' and '.join(there)}, but train, val and test are needed, or none of them")
    paths = list(filter(accept, list_images(folder)))
    if len(paths) < 3:
        raise ImageError(f"{folder}: {len(paths)} image(s) are too few for train, validation and test; give 3 or more")
    return hash_split(paths)


def hash_split(paths: list[Path]) -> Split:
    """A tenth for the test, a tenth for the validation, by a hash of the file name; at least one image each."""
    shares = {path: int(hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8], 16) / 2**32 for path in paths}
    ranked = sorted(paths, key=lambda path: (shares[path], path))
    below = [sum(share < bound for share in shares.values()) for bound in (TEST_SHARE, TEST_SHARE + VALIDATION_SHARE)]
    tests = min(max(1, below[0]), len(paths) - 2)
    held_out = min(max(tests + 1, below[1]), len(paths) - 1)
    parts = {"train": ranked[held_out:], "validation": ranked[tests:held_out], "test": ranked[:tests]}
    return {split: sorted(part) for split, part in parts.items()}


def split_domains(a: str | Path, b: str | Path) -> tuple[Split, Split]:
    """Image files of two domains without pairs.

    Args:
        a, b: data sets as for `split_dataset`. Folders are searched to any depth, so those of torchvision's ImageFolder
            layout serve as well as plain ones. Where both are the same, its training images are divided between the
            domains, every second one by name (neighbours are often of one kind, so that both domains get some of
            each): training sees none of them in both. Validation and test, of which nothing is learned, stay.

    Raises:
        ImageError: as `split_dataset`; one domain lies inside the other; too few images to divide.
    """
    one, other = (Path(d) if str(d) in SAMPLES else expanded(d).resolve() for d in (a, b))
    _check_apart(one, other, "the domains would share images; give two side by side")
    split_a, split_b = split_dataset(a), split_dataset(b)
    if one != other:
        return split_a, split_b
    train = split_a["train"]
    if len(train) < 2:
        raise ImageError(f"{a}: {len(train)} training image(s) cannot be divided between two domains")
    return split_a | {"train": train[0::2]}, split_b | {"train": train[1::2]}


def split_pairs(clean: str | Path, damaged: str | Path = "") -> tuple[dict[str, PairFiles], list[str]]:
    """The pairs of two folders, by split, and the unmatched files, which only one of them has.

    A pair are two files of the same name, whatever their suffixes, in the order of the names: of the same path below
    both folders, or, where no path is in both, of the same file name. The clean folder decides the splits, as in
    `split_dataset`.

    Args:
        clean: a sample set, without its vintage photographs, which are damaged; or a folder; or, without `damaged`, one
            in the layout of HumanFace8000, gray/ and color/.
        damaged: a folder; without it the clean images have no partners.

    Raises:
        ImageError: as `split_dataset`; two files of one folder have the same name, too few names are in both
            folders, or none of a split.
    """
    faces = [expanded(clean) / name for name in HUMAN_FACES]
    if not damaged and all(folder.is_dir() for folder in faces):
        damaged, clean = faces
    if not damaged:
        worn = samples.vintage() if str(clean) in SAMPLES else []
        split = split_dataset(clean)
        return {part: [(None, path) for path in paths if path not in worn] for part, paths in split.items()}, []
    folders = _side_by_side(damaged, clean)
    for deep in (True, False):
        sides = [_by_name(folder, deep) for folder in folders]
        if common := sides[0].keys() & sides[1].keys():
            break
    if len(common) < 3:
        found = f"{folders[0]} and {folders[1]}: {len(common)} file names are in both"
        raise ImageError(f"{found}, train, validation and test need 3 or more; the two of a pair have one name")
    names = {path: name for name, path in sides[1].items() if name in common}
    pairs = {}
    for part, paths in split_folder(folders[1], names.__contains__).items():
        if not paths:
            raise ImageError(f"{folders[1]}: no {part} image has a partner in {folders[0]}")
        pairs[part] = [(sides[0][names[path]], path) for path in sorted(paths, key=names.get)]
    unmatched = [
        shown(side[name].relative_to(folder.parent).as_posix())
        for folder, side in zip(folders, sides, strict=True)
        for name in sorted(side.keys() - common)
    ]
    return pairs, unmatched


def _side_by_side(damaged: str | Path, clean: str | Path) -> list[Path]:
    """Both folders, if neither is the other or lies inside it."""
    if str(clean) in SAMPLES:
        raise ImageError(f"clean: {clean} are samples, which have no damaged partners; give the folder of clean images")
    folders = [expanded(folder) for folder in (damaged, clean)]
    places = [folder.resolve() for folder in folders]
    if places[0] == places[1]:
        raise ImageError(f"{folders[0]}: is both the damaged and the clean folder")
    _check_apart(*places, "give a damaged and a clean folder side by side")
    return folders


def _check_apart(one: Path, other: Path, advice: str) -> None:
    """Raise ImageError if one of two folders lies inside the other."""
    for inner, outer in ((one, other), (other, one)):
        if outer in inner.parents:
            raise ImageError(f"{inner} lies inside {outer}: {advice}")


def _by_name(folder: Path, deep: bool) -> dict[str, Path]:
    """The images in a folder and below it by their names without suffix, or, `deep`, by their paths below it."""
    paths: dict[str, Path] = {}
    for path in list_images(folder):
        name = path.relative_to(folder).with_suffix("").as_posix() if deep else path.stem
        if name in paths:
            first, second = (found.relative_to(folder) for found in (paths[name], path))
            raise ImageError(f"{folder}: {first} and {second} have the same name; which one is the pair's?")
        paths[name] = path
    return paths
