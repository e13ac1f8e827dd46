"""What Pillow cannot write: PNG of 16 bits a channel in colour, and TIFF of it, here with all other TIFF."""

import struct
import zlib
from collections.abc import Iterator
from itertools import accumulate
from typing import BinaryIO

import numpy as np
from PIL import TiffImagePlugin as tiff
from PIL import TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

STRIP = 2**18  # bytes, about, that are packed at a time


def write_png(file: BinaryIO, pixels: np.ndarray, exif: bytes, icc_profile: bytes, dpi: tuple | None) -> None:
    """A PNG of levels (H, W, C), uint16, C = 1 grey, 2 with alpha, 3 colour, 4 with alpha."""
    height, width, channels = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]  # of the specification
    file.write(b"\x89PNG\r\n\x1a\n")
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    if icc_profile:
        _chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile))
    if dpi:
        _chunk(file, b"pHYs", struct.pack(">IIB", *(round(side / 0.0254) for side in dpi), 1))
    if exif:
        _chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    packer, above = zlib.compressobj(), np.zeros((1, 2 * width * channels), np.uint8)
    for rows in _strips(pixels):
        data = rows.astype(">u2").view(np.uint8).reshape(len(rows), -1)
        up = np.full((len(rows), 1 + data.shape[1]), 2, np.uint8)  # filter 2 stores the difference to the row above
        up[:, 1:] = data - np.concatenate([above, data[:-1]])
        above = data[-1:]
        _chunk(file, b"IDAT", packer.compress(up.tobytes()))
    _chunk(file, b"IDAT", packer.flush())
    _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def write_tiff(file: BinaryIO, pixels: np.ndarray, tags: dict, icc_profile: bytes, dpi: tuple | None) -> None:
    """A TIFF of levels (H, W, C), uint8 or uint16, channels as in `write_png`, deflated, with `tags` added."""
    height, width, channels = pixels.shape
    ifd = ImageFileDirectory_v2()
    for tag, value in tags.items():
        ifd[tag] = value
    ifd[tiff.IMAGEWIDTH], ifd[tiff.IMAGELENGTH] = width, height
    ifd[tiff.BITSPERSAMPLE], ifd[tiff.SAMPLESPERPIXEL] = (8 * pixels.itemsize,) * channels, channels
    ifd[tiff.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2
    if channels in (2, 4):
        ifd[tiff.EXTRASAMPLES] = 2  # alpha that the colours were not multiplied with
    ifd[tiff.COMPRESSION], ifd[tiff.PREDICTOR] = 8, 2  # deflate, of each row's differences
    ifd[tiff.ROWSPERSTRIP] = len(next(_strips(pixels)))
    if icc_profile:
        ifd[tiff.ICCPROFILE] = icc_profile
    if dpi:
        ifd[tiff.X_RESOLUTION], ifd[tiff.Y_RESOLUTION], ifd[tiff.RESOLUTION_UNIT] = *dpi, 2
    lengths = [0 for _ in _strips(pixels)]
    _write_directory(file, ifd, lengths)  # twice: its own length does not change
    for k, rows in enumerate(_strips(pixels)):
        rows = rows.astype(rows.dtype.newbyteorder("<"))
        rows[:, 1:] -= rows[:, :-1].copy()
        data = zlib.compress(rows.tobytes())
        lengths[k] = file.write(data)
    _write_directory(file, ifd, lengths)


def _write_directory(file: BinaryIO, ifd: ImageFileDirectory_v2, lengths: list[int]) -> None:
    """The header and the directory; the strips, of these lengths in bytes, begin where it ends."""
    for tag, values in (
        (tiff.STRIPOFFSETS, list(accumulate(lengths[:-1], initial=0))),
        (tiff.STRIPBYTECOUNTS, lengths),
    ):
        ifd.tagtype[tag] = TiffTags.LONG
        ifd[tag] = tuple(values)
    file.seek(0)
    ifd.save(file)


def _strips(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Runs of whole rows, of about STRIP bytes."""
    rows = max(1, STRIP // pixels[0].nbytes)
    return (pixels[top : top + rows] for top in range(0, len(pixels), rows))
