"""A photograph's file, read and written: all of its bits, and what it carries beside them."""

import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION

from restoration_lib.data.files import ImageError, opened
from restoration_lib.filesystem import write_durably
from restoration_lib.restore.deep import deep_levels, is_deep
from restoration_lib.restore.encoders import write_jpeg, write_png, write_tiff

FORMATS = {"JPEG": 65_500, "MPO": 65_500, "PNG": 2**31 - 1, "TIFF": 2**31 - 1, "WEBP": 16_383, "BMP": 2**31 - 1}
"""Those that are read and written, and the longest side that each can hold, in pixels."""
IN_STRIPS = ("JPEG", "PNG", "TIFF")  # are written a strip at a time, so that the image need not lie in memory

ORIENTATION = Base.Orientation
DESCRIPTIVE = {  # tags of a TIFF that say nothing of how its pixels are stored
    Base.ImageDescription, Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist, Base.HostComputer,
    Base.Copyright, Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords, Base.XPSubject, ORIENTATION,
}  # fmt: skip

WIDTHS, HEIGHTS = ("tiff:ImageWidth", "exif:PixelXDimension"), ("tiff:ImageLength", "exif:PixelYDimension")  # of XMP


@dataclass
class Photograph:
    """What a file holds.

    Attributes:
        pixels: (H, W, C), uint8 or uint16, C = 1 for grey or 3, the way up that the EXIF data says.
        format: one of FORMATS but "MPO".
        alpha: (H, W) of the same type, or None.
        exif, xmp: with the orientation 1 where there was one; empty where there is none.
        icc_profile, dpi: b"" and None where there is none.
        lossless: whether a WebP file was.
        notes: what reading it has changed, in words.
    """

    pixels: np.ndarray
    format: str
    alpha: np.ndarray | None = None
    exif: Image.Exif = field(default_factory=Image.Exif)
    xmp: bytes = b""
    icc_profile: bytes = b""
    dpi: tuple[float, float] | None = None
    lossless: bool = False
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> Photograph:
    """A photograph from its file.

    - 8 and 16 bits a channel, grey and colour, with and without alpha stay what they are.
    - Palettes, black and white, CMYK and other colour spaces are converted, which `notes` says.
    - Of several images in a file the first is taken, which `notes` says.

    Raises:
        ImageError: missing, damaged, too large, or of a kind that cannot be written again.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of is either an error or of no matter here
        with opened(path) as image:
            if image.format not in FORMATS:
                raise ValueError(f"{image.format} cannot be written; save it as JPEG, PNG, TIFF or WebP")
            photograph = Photograph(np.empty(0), image.format.replace("MPO", "JPEG"), lossless=_is_lossless_webp(path))
            if getattr(image, "n_frames", 1) > 1:
                photograph.notes.append(f"the first of {image.n_frames} images")
            deep = is_deep(image)
            turned = ORIENTATION in image.getexif()
            photograph.xmp = _xmp(image)
            _read_levels(image, path if deep else None, photograph)
            _read_extras(image, photograph, turned)
            return photograph


def _read_levels(image: Image.Image, deep_path: Path | None, photograph: Photograph) -> None:
    if deep_path:
        levels = deep_levels(deep_path)
    else:
        ImageOps.exif_transpose(image, in_place=True)
        levels = np.asarray(_plain(image, photograph.notes))
        levels = levels if levels.ndim == 3 else levels[..., None]
    key = image.info.get("transparency")
    if levels.dtype == np.uint16 and key is not None:  # the colour that is transparent; Pillow applies it to 8 bits
        alpha = (levels != key).any(2, keepdims=True) * np.uint16(65535)
        levels = np.concatenate([levels, alpha], 2)
    colours = 1 if levels.shape[2] < 3 else 3
    photograph.pixels = levels[..., :colours]
    photograph.alpha = levels[..., colours] if levels.shape[2] > colours else None


def _plain(image: Image.Image, notes: list[str]) -> Image.Image | np.ndarray:
    """The image in one of the modes L, LA, RGB and RGBA, or 16-bit levels of grey."""
    if image.mode.startswith("I"):
        return _grey_16(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode == "1":
        notes.append("black and white, made grey")
        return image.convert("L")
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        is_keyed = image.has_transparency_data and not image.mode.endswith("A")
        return image.convert(image.mode.replace("RGB", "RGBA").replace("L", "LA")) if is_keyed else image
    notes.append(f"{'a palette' if image.mode.startswith('P') else image.mode}, converted to RGB")
    if image.mode == "CMYK":
        return _from_cmyk(image)
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _grey_16(image: Image.Image) -> np.ndarray:
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 65535:
        raise ValueError("32-bit levels beyond 65535; save it with 8 or 16 bits")
    levels = levels.astype(np.uint16)
    is_negative = getattr(image, "tag_v2", {}).get(PHOTOMETRIC_INTERPRETATION) == 0  # a TIFF whose 0 is white
    return 65535 - levels if is_negative else levels


def _from_cmyk(image: Image.Image) -> Image.Image:
    """By its profile, to sRGB, where it has one that can be read."""
    if profile := image.info.pop("icc_profile", b""):  # of the inks: it must not stay with the colours
        with suppress(ImageCms.PyCMSError, OSError):
            inks = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(image, inks, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return image.convert("RGB")


def _read_extras(image: Image.Image, photograph: Photograph, turned: bool) -> None:
    exif = image.getexif()
    if turned:
        exif[ORIENTATION] = 1
    try:
        exif.tobytes()
    except Exception:  # damaged tags make Pillow raise nearly anything
        exif = Image.Exif()
        photograph.notes.append("damaged EXIF data left out")
    photograph.exif, photograph.icc_profile = exif, image.info.get("icc_profile") or b""
    dpi = tuple(map(float, image.info.get("dpi", ())))
    if len(dpi) == 2 and all(0 < side < 1e6 for side in dpi):
        photograph.dpi = dpi


def _xmp(image: Image.Image) -> bytes:
    """Of an image that is open, and not turned, for Pillow then takes the orientation away."""
    data = image.info.get("xmp")
    return _stating(data, {"tiff:Orientation": 1}) if isinstance(data, bytes) else b""


def _is_lossless_webp(path: Path) -> bool:
    """Told by the first chunk of pixels."""
    with open(path, "rb") as file:
        if file.read(12)[8:] != b"WEBP":
            return False
        while len(header := file.read(8)) == 8:
            if header[:4] in (b"VP8 ", b"VP8L", b"ANMF"):
                return header[:4] == b"VP8L"
            size = int.from_bytes(header[4:], "little")
            file.seek(size + size % 2, os.SEEK_CUR)
    return False


def check_size(kind: str, width: int, height: int, path: Path) -> None:
    """ImageError unless a format can hold an image of that size."""
    if max(width, height) > FORMATS[kind]:
        raise ImageError(f"{path}: {kind} holds no {width} x {height} px, {FORMATS[kind]} a side are the most")


def write(photograph: Photograph, path: Path) -> None:
    """Write a photograph in its format; the file appears whole or not at all, and its folder is made.

    JPEG has the quality 95 and colours of full size (4:4:4), WebP the quality 95 if it was not lossless.

    Raises:
        ImageError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, lambda temporary: _write(photograph, temporary))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """All that is raised inside becomes an ImageError."""
    try:
        yield
    except Exception as error:  # a full disk, and what Pillow's encoders refuse in their own ways
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"{path}: cannot be written ({' '.join(reason.split())})") from error


def _write(photograph: Photograph, path: Path) -> None:
    pixels, alpha, kind = photograph.pixels, photograph.alpha, photograph.format
    height, width, _ = pixels.shape
    exif = _of_size(photograph.exif, height, width)
    carried = {"icc_profile": photograph.icc_profile, "dpi": photograph.dpi}
    carried["xmp"] = _stating(photograph.xmp, {name: width if name in WIDTHS else height for name in WIDTHS + HEIGHTS})
    data = exif.tobytes() if len(exif) else b""
    options = {name: value for name, value in {"exif": data, **carried}.items() if value}
    with open(path, "wb") as file:
        if kind == "TIFF":
            write_tiff(file, pixels, alpha, _descriptive(exif), **carried)
        elif kind == "PNG":
            write_png(file, pixels, alpha, data, **carried)
        elif kind == "JPEG":
            write_jpeg(file, pixels, **options)
        else:
            if kind == "WEBP":
                options |= {"quality": 95, "lossless": photograph.lossless, "exact": True}
            levels = pixels if alpha is None else np.dstack([pixels, alpha])
            Image.fromarray(levels.squeeze(2) if levels.shape[2] == 1 else levels).save(file, kind, **options)


def _of_size(exif: Image.Exif, height: int, width: int) -> Image.Exif:
    """The same data, with the sizes that it states brought up to date."""
    inner = exif.get_ifd(IFD.Exif) if IFD.Exif in exif else {}
    for tags in (exif, inner):
        for tag, side in (
            (Base.ImageWidth, width), (Base.ImageLength, height),
            (Base.ExifImageWidth, width), (Base.ExifImageHeight, height),
        ):  # fmt: skip
            if tag in tags:
                tags[tag] = side
    return exif


def _stating(xmp: bytes, properties: dict[str, int]) -> bytes:
    """The same XMP data, with these properties, where it has them, as attributes or as elements."""
    for name, value in properties.items():
        xmp = re.sub(rb"(\b%b\s*(?:=\s*[\"']|>\s*))\d+" % name.encode(), rb"\g<1>%d" % value, xmp)
    return xmp


def _descriptive(exif: Image.Exif) -> dict:
    inner = {tag: dict(exif.get_ifd(tag)) for tag in (IFD.Exif, IFD.GPSInfo) if tag in exif}
    for tags in inner.values():
        tags.pop(IFD.Interop, None)  # a place in the old file
    return {tag: value for tag, value in exif.items() if tag in DESCRIPTIVE} | inner
