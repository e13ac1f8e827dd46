"""JPEG, PNG and TIFF, written a strip at a time: Pillow wants the whole image, and no 16 bits a channel in colour.

Levels are (H, W, C), uint8 or uint16, C = 1 for grey or 3; alpha is (H, W) of the same type, or None.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import accumulate
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffTags
from PIL import TiffImagePlugin as tiff
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from restoration_lib.restore.large import let_go

STRIP = 2**18  # bytes, about, that are packed at a time
BLOCK, INTERVAL = 8, 65_535  # of JPEG: px, side of a block; blocks that are packed on their own, at most
MOST_OF_TIFF = 2**32 - 1  # bytes

Alpha = np.ndarray | None


def write_jpeg(file: BinaryIO, pixels: np.ndarray, **carried: object) -> None:
    """A JPEG of uint8 levels, of quality 95 and with colours of full size (4:4:4).

    Each strip is packed as an image of its own, and what comes of it is one restart interval of the whole: the blocks
    of such an interval follow from no others.

    Args:
        carried: exif, icc_profile, dpi and xmp, as Pillow's `save` has them.
    """
    height, width, _ = pixels.shape
    across = -(-width // BLOCK)
    rows = BLOCK * max(1, min(INTERVAL // across, -(-height // BLOCK)))
    for k, strip in enumerate(_strips(pixels, None, rows)):
        packed = io.BytesIO()
        image = Image.fromarray(strip.squeeze(2) if strip.shape[2] == 1 else strip)
        image.save(packed, "JPEG", quality=95, subsampling=0, **({} if k else carried))
        header, scan, blocks = _taken_apart(packed.getvalue(), height)
        if k == 0:
            interval = struct.pack(">2sHH", b"\xff\xdd", 4, across * rows // BLOCK)
            file.write(header + (interval if rows < height else b"") + scan)
        else:
            file.write(bytes([0xFF, 0xD0 + (k - 1) % 8]))  # where one interval ends and the next begins
        file.write(blocks)
    file.write(b"\xff\xd9")


def _taken_apart(data: bytes, height: int) -> tuple[bytes, bytes, bytes]:
    """A JPEG as its header, which now says `height`, the header of its scan, and the packed blocks."""
    place, header = 2, bytearray(data[:2])
    while True:
        kind, length = struct.unpack(">HH", data[place : place + 4])
        segment = bytearray(data[place : place + 2 + length])
        place += len(segment)
        if kind == 0xFFDA:
            return bytes(header), bytes(segment), data[place:-2]
        if kind == 0xFFC0:
            segment[5:7] = struct.pack(">H", height)
        header += segment


def write_png(
    file: BinaryIO, pixels: np.ndarray, alpha: Alpha, exif: bytes, icc_profile: bytes, dpi: tuple | None, xmp: bytes
) -> None:
    """A PNG of the levels."""
    height, width, channels = pixels.shape
    channels += alpha is not None
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]  # of the specification
    file.write(b"\x89PNG\r\n\x1a\n")
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour_type, 0, 0, 0))
    if icc_profile:
        _chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile))
    if dpi:
        _chunk(file, b"pHYs", struct.pack(">IIB", *(round(side / 0.0254) for side in dpi), 1))
    if exif:
        _chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    if xmp:
        _chunk(file, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    packer, above = zlib.compressobj(), np.zeros((1, width * channels * pixels.itemsize), np.uint8)
    for strip in _strips(pixels, alpha):
        data = strip.astype(strip.dtype.newbyteorder(">")).view(np.uint8).reshape(len(strip), -1)
        up = np.full((len(strip), 1 + data.shape[1]), 2, np.uint8)  # filter 2 stores the difference to the row above
        up[:, 1:] = data - np.concatenate([above, data[:-1]])
        above = data[-1:]
        _chunk(file, b"IDAT", packer.compress(up.tobytes()))
    _chunk(file, b"IDAT", packer.flush())
    _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def write_tiff(
    file: BinaryIO,
    pixels: np.ndarray,
    alpha: Alpha,
    tags: dict,
    icc_profile: bytes,
    dpi: tuple | None,
    xmp: bytes,
) -> None:
    """A TIFF of the levels, deflated, with `tags` added.

    Raises:
        ValueError: it would have more than 4 GB.
    """
    height, width, channels = pixels.shape
    channels += alpha is not None
    ifd = ImageFileDirectory_v2()
    for tag, value in tags.items():
        ifd[tag] = value
    ifd[tiff.IMAGEWIDTH], ifd[tiff.IMAGELENGTH] = width, height
    ifd[tiff.BITSPERSAMPLE], ifd[tiff.SAMPLESPERPIXEL] = (8 * pixels.itemsize,) * channels, channels
    ifd[tiff.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2
    if alpha is not None:
        ifd[tiff.EXTRASAMPLES] = 2  # alpha that the colours were not multiplied with
    ifd[tiff.COMPRESSION], ifd[tiff.PREDICTOR] = 8, 2  # deflate, of each row's differences
    ifd[tiff.ROWSPERSTRIP] = rows = _rows(pixels)
    if icc_profile:
        ifd[tiff.ICCPROFILE] = icc_profile
    if dpi:
        ifd[tiff.X_RESOLUTION], ifd[tiff.Y_RESOLUTION], ifd[tiff.RESOLUTION_UNIT] = *dpi, 2
    if xmp:
        ifd[tiff.XMP] = xmp
    lengths = [0] * -(-height // rows)
    _write_directory(file, ifd, lengths)  # twice: its own length does not change
    for k, strip in enumerate(_strips(pixels, alpha)):
        levels = strip.astype(strip.dtype.newbyteorder("<"))
        levels[:, 1:] -= levels[:, :-1].copy()
        lengths[k] = file.write(zlib.compress(levels.tobytes()))
        if file.tell() > MOST_OF_TIFF:
            raise ValueError("a TIFF holds no more than 4 GB; PNG does")
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


def _rows(pixels: np.ndarray) -> int:
    """How many make a strip."""
    return max(1, STRIP // pixels[0].nbytes)


def _strips(pixels: np.ndarray, alpha: Alpha, rows: int | None = None) -> Iterator[np.ndarray]:
    """Runs of whole rows, with alpha as the last channel."""
    rows = rows or _rows(pixels)
    for top in range(0, len(pixels), rows):
        strip = pixels[top : top + rows]
        yield strip if alpha is None else np.dstack([strip, alpha[top : top + rows]])
        for array in (pixels, alpha):
            let_go(array)
