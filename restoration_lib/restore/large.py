"""Arrays that may be larger than the memory: from a size on they lie in a temporary file, a part at a time resident."""

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

from restoration_lib.data.files import ImageError

IN_MEMORY = 2**28  # bytes; an array that is not larger is an ordinary one


def large_array(shape: tuple[int, ...], dtype: np.dtype, folder: Path | None = None) -> np.ndarray:
    """As `np.empty`; where it lies in a file, that has no name, and is gone with the array.

    Args:
        folder: for the file, on a disk with room for it; None is the system's folder for temporary files.

    Raises:
        ImageError: the disk is full.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # a disk without room for it is an error now, and a signal later
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        place = folder or tempfile.gettempdir()
        raise ImageError(f"{place}: has no room for {size / 1e9:.1f} GB meanwhile ({error.strerror})") from error


def let_go(array: np.ndarray) -> None:
    """What lies in a file need not stay in memory: it is read again when it is asked for."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)
