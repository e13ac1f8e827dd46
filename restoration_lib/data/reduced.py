"""Images read from their files at a smaller size; those of the samples are kept so, beside the samples.

Every run of a sweep reads the same two hundred sample images, and to decode them takes longer than all else that is
done with them before the training. The folder `reduced` in the cache may be removed at any time.
"""

import hashlib
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from restoration_lib.data import files, samples
from restoration_lib.filesystem import digest_of_code, replacing

CODE = ("data/files.py", "data/reduced.py")  # that reads and reduces
KEPT = "reduced"  # folder in the samples' cache
Size = tuple[int, int]  # width and height, px


def open_reduced(path: Path, size: int) -> tuple[Size, np.ndarray]:
    """Size of the image in a file, and its pixels (H, W, 3) as `open_rgb` reads them, but `reduced`.

    Args:
        size: largest shorter side in pixels; 0 keeps the image as it is.

    Raises:
        ImageError: as `open_rgb`.
    """
    if not size or path.parent not in samples.checked:  # other data sets may be too large to be kept a second time
        return _decoded(path, size)
    try:
        key = hashlib.sha256(f"{size}\n{digest_of_code(CODE, ('pillow',))}\n".encode() + path.read_bytes()).hexdigest()
    except OSError:
        return _decoded(path, size)  # raises, as it does for any file
    place = path.parent.parent / KEPT / f"{key[:32]}.npz"
    if not (found := _read(place)):
        found = _decoded(path, size)
        with suppress(OSError):  # a cache that cannot be written costs time and no more
            _write(place, *found)
    return found


def _decoded(path: Path, size: int) -> tuple[Size, np.ndarray]:
    image = files.open_rgb(path)
    return image.size, np.asarray(reduced(image, size))


def reduced(image: Image.Image, size: int) -> Image.Image:
    """The image with a shorter side of at most `size` px (bicubic); 0 keeps it."""
    shorter = min(image.size)
    if not size or shorter <= size:
        return image
    return image.resize([round(side * size / shorter) for side in image.size], Image.Resampling.BICUBIC)


def _read(place: Path) -> tuple[Size, np.ndarray] | None:
    """What `_write` wrote; None where there is nothing, or a power cut has damaged it, which its checksums tell."""
    with suppress(OSError, ValueError, EOFError, zipfile.BadZipFile), np.load(place) as kept:
        return tuple(kept["size"].tolist()), kept["pixels"]
    return None


def _write(place: Path, size: Size, pixels: np.ndarray) -> None:
    place.parent.mkdir(exist_ok=True)
    with replacing(place) as unfinished, unfinished.open("wb") as file:
        np.savez(file, size=size, pixels=pixels)
