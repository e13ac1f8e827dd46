"""What trains the networks that ship, and what validates them."""

from pathlib import Path

import torch

from restoration_lib.data import samples
from restoration_lib.data.files import list_images

PAINTINGS = "paintings"  # subfolder of what pack_for_gpu.py made
WORKERS = 3 if torch.cuda.is_available() else 0  # processes that prepare batches while a GPU learns
VALIDATION_IMAGES = 20


def training_files(free_photos: str | Path) -> tuple[list[Path], list[Path]]:
    """Photographs, those of FREE_PHOTOS/train and of the samples, and the samples' paintings.

    A folder that pack_for_gpu.py made holds the samples too.
    """
    photographs = list_images(Path(free_photos, "train"))
    if (packed := Path(free_photos, PAINTINGS)).exists():
        return photographs, list_images(packed)
    return photographs + samples.split("photographs")["train"], samples.split("paintings")["train"]


def validation_files(free_photos: str | Path) -> list[Path]:
    return list_images(Path(free_photos, "test"))[:VALIDATION_IMAGES]
