"""Which pictures of a data set are for training, validation and test."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from restoration_lib import samples
from restoration_lib.images import ImageError, list_images

SPLITS = ("train", "validation", "test")
SUBFOLDERS = {"train": "train", "validation": "val", "test": "test"}
COCO = ("train2017", "val2017")  # of the latter, every second picture is for the test
SAMPLES = {"samples": "all", "samples/photographs": "photographs", "samples/paintings": "paintings"}
TEST_SHARE, VALIDATION_SHARE = 0.1, 0.1  # of a folder without subfolders of its own


def split_paths(dataset: str | Path) -> dict[str, list[Path]]:
    """Picture files of each split.

    Args:
        dataset: "samples", "samples/photographs", "samples/paintings", or a folder. A folder with the subfolders
            train, val and test is taken as it is, one with COCO's train2017 and val2017 too; any other is split by a
            stable hash of each file's name, so that a picture stays in its split when others are added (a few may move
            while the folder is small).

    Raises:
        ImageError: no such folder, no pictures in it, or too few to split.
    """
    if str(dataset) in SAMPLES:
        return samples.split(SAMPLES[str(dataset)])
    return split_folder(Path(dataset).expanduser())


def split_folder(folder: Path, accept: Callable[[Path], bool] = lambda path: True) -> dict[str, list[Path]]:
    """As `split_paths`, of the pictures in a folder that `accept` lets pass."""
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
        raise ImageError(
            f"{folder}: {len(paths)} picture(s) are too few for train, validation and test; give 3 or more"
        )
    return hash_split(paths)


def name(dataset: str | Path) -> str:
    """What tables call a data set: its sample name, or the folder's own name."""
    return str(dataset) if str(dataset) in SAMPLES else Path(dataset).expanduser().resolve().name


def hash_split(paths: list[Path]) -> dict[str, list[Path]]:
    """A tenth for the test, a tenth for the validation, by a hash of the file name; at least one picture each."""
    shares = {path: int(hashlib.sha256(path.name.encode()).hexdigest()[:8], 16) / 2**32 for path in paths}
    ranked = sorted(paths, key=lambda path: (shares[path], path))
    below = [sum(share < bound for share in shares.values()) for bound in (TEST_SHARE, TEST_SHARE + VALIDATION_SHARE)]
    tests = min(max(1, below[0]), len(paths) - 2)
    validations = min(max(1, below[1] - tests), len(paths) - tests - 1)
    parts = {
        "train": ranked[tests + validations :],
        "validation": ranked[tests : tests + validations],
        "test": ranked[:tests],
    }
    return {split: sorted(part) for split, part in parts.items()}
