"""Picture files in and out. Inside the library a picture is a float tensor (3, H, W) in [0, 1], RGB."""

import os
import secrets
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

_JPEG = ("JPEG", {"quality": 95, "subsampling": 0})  # Pillow's own 75 would add damage of its own
_TIFF = ("TIFF", {})
_FORMATS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": ("BMP", {}),
}
SUFFIXES = tuple(_FORMATS)
"""The file name suffixes read and written here, in lower case; files may carry them in either case."""


class ImageError(ValueError):
    """A picture that cannot be read or written. The message is one line: which file, and what is wrong."""


def list_images(folder: str | Path) -> list[Path]:
    """The pictures in a folder and below it, sorted by their relative POSIX path.

    Files are told by suffix (SUFFIXES); hidden files and folders are skipped. Raises ImageError where the
    folder is missing, is a file, or holds no picture.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        fault = "is not a folder" if folder.exists() else "does not exist"
        raise ImageError(f"{folder}: {fault}; a folder with pictures ({', '.join(SUFFIXES)}) is needed")
    relative = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    shown = (path for path in relative if not any(part.startswith(".") for part in path.parts))
    found = [folder / path for path in sorted(shown, key=Path.as_posix) if (folder / path).is_file()]
    if not found:
        raise ImageError(f"{folder}: no pictures in it or below it (looked for {', '.join(SUFFIXES)})")
    return found


def open_rgb(path: str | Path) -> Image.Image:
    """A picture file as an 8-bit RGB Pillow image, fully loaded and the way up its EXIF data says.

    Grey, palette and CMYK become RGB; transparency is laid on white; 16 bits are reduced to 8. Colour
    profiles are not applied. Raises ImageError where the file is missing, damaged or not a picture.
    """
    try:
        with Image.open(path) as picture:
            return _rgb(ImageOps.exif_transpose(picture))
    except Exception as error:  # damaged files make Pillow's decoders raise far more than OSError
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"{path}: cannot be read as a picture ({' '.join(reason.split())})") from error


def read_cover(path: str | Path) -> torch.Tensor:
    """How much of what is below an overlay picture covers, (H, W), uint8, 255 where nothing shows through.

    The alpha channel where the picture has one that says something, else the luminance, turned round for a picture
    that is bright almost everywhere (dark scratches on white). Errors as in `open_rgb`.
    """
    flat = open_rgb(path)
    with Image.open(path) as picture:
        if picture.has_transparency_data:
            alpha = np.array(ImageOps.exif_transpose(picture).convert("RGBA"))[..., 3]
            if alpha.min() < 255:
                return torch.from_numpy(alpha)
    grey = np.array(flat.convert("L"))
    return torch.from_numpy(255 - grey if np.median(grey) > 127 else grey)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # Pillow's own conversion cuts 16 bits off at 255 instead of scaling
        grey = np.asarray(picture).clip(0, 65535) / 257
        picture = Image.fromarray(grey.round().astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def read_image(path: str | Path) -> torch.Tensor:
    """A picture file as a tensor (3, H, W), float32 in [0, 1]. Conversions and errors as in `open_rgb`."""
    return to_tensor(open_rgb(path))


def to_tensor(picture: Image.Image | np.ndarray) -> torch.Tensor:
    """A Pillow image, or a uint8 array (H, W, 3), as a tensor (3, H, W), float32 in [0, 1]."""
    pixels = np.array(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected a uint8 array (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float() / 255


def to_uint8(pictures: torch.Tensor) -> np.ndarray:
    """A float tensor (3, H, W) or (N, 3, H, W) as a uint8 array (H, W, 3) or (N, H, W, 3).

    Values are clamped to [0, 1] and rounded to the nearest of 256 levels; any float type, any device.
    """
    if not pictures.is_floating_point() or pictures.ndim not in (3, 4) or pictures.shape[-3] != 3:
        shape = tuple(pictures.shape)
        raise ValueError(f"expected a float tensor (3, H, W) or (N, 3, H, W), got {pictures.dtype} {shape}")
    levels = pictures.detach().cpu().float().clamp(0, 1).mul(255).round()
    return levels.to(torch.uint8).movedim(-3, -1).contiguous().numpy()


def write_image(picture: torch.Tensor, path: str | Path) -> None:
    """Write a float tensor (3, H, W) in [0, 1] in the format of the file's suffix; folders are made.

    The file appears whole or not at all. Raises ImageError, before anything is written, for a suffix that
    is not in SUFFIXES.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ImageError(f"{path}: cannot write the suffix {path.suffix!r}; use {', '.join(SUFFIXES)}")
    kind, options = _FORMATS[path.suffix.lower()]
    image = Image.fromarray(to_uint8(picture))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # hidden: no listing shows it
    try:
        image.save(unfinished, kind, **options)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
