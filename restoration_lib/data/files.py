"""Image files in and out. Inside the library an image is a float tensor (3, H, W) in [0, 1], RGB."""

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
    """An image that cannot be read or written. The message is one line: which file, and what is wrong."""


def list_images(folder: str | Path) -> list[Path]:
    """The images in a folder and below it, sorted by their relative POSIX path.

    Files are told by suffix (SUFFIXES); hidden files and folders are skipped. Raises ImageError where the
    folder is missing, is a file, or holds no image.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        fault = "is not a folder" if folder.exists() else "does not exist"
        raise ImageError(f"{folder}: {fault}; a folder with images ({', '.join(SUFFIXES)}) is needed")
    relative = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    shown = (path for path in relative if not any(part.startswith(".") for part in path.parts))
    found = [folder / path for path in sorted(shown, key=Path.as_posix) if (folder / path).is_file()]
    if not found:
        raise ImageError(f"{folder}: no images in it or below it (looked for {', '.join(SUFFIXES)})")
    return found


def open_rgb(path: str | Path) -> Image.Image:
    """An image file as an 8-bit RGB Pillow image, fully loaded and the way up its EXIF data says.

    Grey, palette and CMYK become RGB; transparency is laid on white; 16 bits are reduced to 8. Colour
    profiles are not applied. Raises ImageError where the file is missing, damaged or not an image.
    """
    try:
        with Image.open(path) as image:
            return _rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # damaged files make Pillow's decoders raise far more than OSError
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"{path}: cannot be read as an image ({' '.join(reason.split())})") from error


def read_overlay_mask(path: str | Path) -> torch.Tensor:
    """How much an overlay image covers of what is below, (H, W), uint8, 255 where nothing shows through.

    The alpha channel where the image has one that says something, else the luminance, turned round for an image
    that is bright almost everywhere (dark scratches on white). Errors as in `open_rgb`.
    """
    flat = open_rgb(path)
    with Image.open(path) as image:
        if image.has_transparency_data:
            alpha = np.array(ImageOps.exif_transpose(image).convert("RGBA"))[..., 3]
            if alpha.min() < 255:
                return torch.from_numpy(alpha)
    grey = np.array(flat.convert("L"))
    return torch.from_numpy(255 - grey if np.median(grey) > 127 else grey)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow's own conversion cuts 16 bits off at 255 instead of scaling
        grey = np.asarray(image).clip(0, 65535) / 257
        image = Image.fromarray(grey.round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def read_image(path: str | Path) -> torch.Tensor:
    """An image file as a tensor (3, H, W), float32 in [0, 1]. Conversions and errors as in `open_rgb`."""
    return to_tensor(open_rgb(path))


def to_tensor(image: Image.Image | np.ndarray) -> torch.Tensor:
    """A Pillow image, or a uint8 array (H, W, 3), as a tensor (3, H, W), float32 in [0, 1]."""
    pixels = np.array(image.convert("RGB") if isinstance(image, Image.Image) else image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected a uint8 array (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float() / 255


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """A float tensor (3, H, W) or (N, 3, H, W) as a uint8 array (H, W, 3) or (N, H, W, 3).

    Values are clamped to [0, 1] and rounded to the nearest of 256 levels; any float type, any device.
    """
    if not images.is_floating_point() or images.ndim not in (3, 4) or images.shape[-3] != 3:
        shape = tuple(images.shape)
        raise ValueError(f"expected a float tensor (3, H, W) or (N, 3, H, W), got {images.dtype} {shape}")
    levels = images.detach().cpu().float().clamp(0, 1).mul(255).round()
    return levels.to(torch.uint8).movedim(-3, -1).contiguous().numpy()


def write_image(image: torch.Tensor, path: str | Path) -> None:
    """Write a float tensor (3, H, W) in [0, 1] in the format of the file's suffix; folders are made.

    The file appears whole or not at all. Raises ImageError, before anything is written, for a suffix that
    is not in SUFFIXES.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ImageError(f"{path}: cannot write the suffix {path.suffix!r}; use {', '.join(SUFFIXES)}")
    kind, options = _FORMATS[path.suffix.lower()]
    image = Image.fromarray(to_uint8(image))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # hidden: no listing shows it
    try:
        image.save(unfinished, kind, **options)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
