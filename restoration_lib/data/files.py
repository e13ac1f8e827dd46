"""Image files in and out. Inside the library an image is a float tensor (3, H, W) in [0, 1], RGB."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION

from restoration_lib.filesystem import expanded, replacing, shown

if TYPE_CHECKING:  # to list files and to look at them takes no torch, whose import takes seconds
    from torch import Tensor

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
"""The file name suffixes read and written here, in lower case; files may carry them in either case."""

# By format, to write it: Pillow's own qualities would add damage of their own.
_OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}

LARGE, PIXELS_A_BYTE = 2**24, 1000  # a larger image with more pixels a byte is no photograph, and may take gigabytes


class ImageError(ValueError):
    """An image that cannot be read or written. The message is one line: which file, and what is wrong."""

    def __init__(self, message: str):
        super().__init__(shown(message))


def list_images(folder: str | Path) -> list[Path]:
    """The images in a folder and below it, sorted by their relative POSIX path.

    Files are told by suffix (SUFFIXES); hidden files and folders are skipped. Linked folders are searched too, each
    real folder once. A link that leads nowhere is listed, whatever its name: opening it says so. Raises ImageError
    where the folder is missing, is a file, or holds no image.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        fault = "is not a folder" if folder.exists() else "does not exist"
        raise ImageError(f"{folder}: {fault}; a folder with images ({', '.join(SUFFIXES)}) is needed")
    found = [path for path in _files(folder) if _is_image(path)]
    if not found:
        raise ImageError(f"{folder}: no images in it or below it (looked for {', '.join(SUFFIXES)})")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _files(folder: Path) -> Iterator[Path]:
    """All that is not hidden in a folder and below it, but folders; what links lead to comes last."""
    waiting, searched = deque([folder]), set()
    while waiting:
        for place, folders, names in os.walk(waiting.popleft()):
            here, real = Path(place), os.path.realpath(place)
            if real in searched:
                folders.clear()
                continue
            searched.add(real)
            folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
            waiting += [here / name for name in folders if (here / name).is_symlink()]
            yield from (here / name for name in names if not name.startswith("."))


def _is_image(path: Path) -> bool:
    leads_nowhere = path.is_symlink() and not path.exists()
    return leads_nowhere or (path.suffix.lower() in SUFFIXES and path.is_file())


def open_rgb(path: str | Path) -> Image.Image:
    """An image file as an 8-bit RGB Pillow image, fully loaded and the way up its EXIF data says.

    Grey, palette and CMYK become RGB; transparency is laid on white; 16 bits are reduced to 8. Colour
    profiles are not applied. Raises ImageError where the file is missing, damaged or not an image.
    """
    with upright(path) as image:
        return _on_white(_eight_bit(image))


def read_overlay_mask(path: str | Path) -> "Tensor":
    """How much an overlay image covers of what is below, (H, W), uint8, 255 where nothing shows through.

    The alpha channel where the image has one that says something, else the luminance, turned round for an image
    that is bright almost everywhere (dark scratches on white). Errors as in `open_rgb`.
    """
    import torch

    with upright(path) as image:
        overlay = _eight_bit(image)
        if overlay.mode == "RGBA":
            alpha = np.array(overlay.getchannel("A"))
            if alpha.min() < 255:
                return torch.from_numpy(alpha)
        grey = np.array(_on_white(overlay).convert("L"))
    return torch.from_numpy(255 - grey if np.median(grey) > 127 else grey)


@contextmanager
def upright(path: str | Path) -> Iterator[Image.Image]:
    """The image in a file, the way up its EXIF data says; all that is raised inside becomes an ImageError."""
    with opened(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        yield image


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """The image in a file, not yet decoded; all that is raised inside becomes an ImageError."""
    try:
        with Image.open(path) as image:
            pixels, size = image.width * image.height, os.path.getsize(path)
            if pixels > LARGE and pixels > PIXELS_A_BYTE * size:
                raise ValueError(f"{image.width} x {image.height} px cannot be in {size} bytes")
            yield image
    except Exception as error:  # damaged files make Pillow's decoders raise far more than OSError
        unknown = isinstance(error, UnidentifiedImageError)  # whose own text repeats the path
        reason = "unknown format" if unknown else getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"{path}: cannot be read as an image ({' '.join(reason.split())})") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image as RGB, or as RGBA where the file says what is transparent."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey, scaled, where Pillow's own conversion cuts off at 255; with the alpha of one grey."""
    levels = np.asarray(image)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC_INTERPRETATION) == 0:  # a TIFF whose 0 is white
        levels = 65535 - levels
    grey = Image.fromarray((levels.clip(0, 65535) / 257).round().astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray((levels != image.info["transparency"]).astype(np.uint8) * 255))
    return grey


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def to_tensor(image: Image.Image | np.ndarray) -> "Tensor":
    """A Pillow image, or a uint8 array (H, W, 3), as a tensor (3, H, W), float32 in [0, 1]."""
    import torch

    pixels = np.array(image.convert("RGB") if isinstance(image, Image.Image) else image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected a uint8 array (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float() / 255


def to_uint8(images: "Tensor") -> np.ndarray:
    """A float tensor (3, H, W) or (N, 3, H, W) as a uint8 array (H, W, 3) or (N, H, W, 3).

    Values are clamped to [0, 1] and rounded to the nearest of 256 levels; any float type, any device.
    """
    import torch

    if not images.is_floating_point() or images.ndim not in (3, 4) or images.shape[-3] != 3:
        shape = tuple(images.shape)
        raise ValueError(f"expected a float tensor (3, H, W) or (N, 3, H, W), got {images.dtype} {shape}")
    levels = images.detach().cpu().float().clamp(0, 1).mul(255).round()
    return levels.to(torch.uint8).movedim(-3, -1).contiguous().numpy()


def write_image(image: "Tensor", path: str | Path) -> None:
    """Write a float tensor (3, H, W) in [0, 1] in the format of the file's suffix; folders are made.

    The file appears whole or not at all. Raises ImageError, before anything is written, for a suffix that
    is not in SUFFIXES.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(f"{path}: cannot write the suffix {path.suffix!r}; use {', '.join(SUFFIXES)}")
    kind = Image.registered_extensions()[path.suffix.lower()]
    image = Image.fromarray(to_uint8(image))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        image.save(unfinished, kind, **_OPTIONS.get(kind, {}))
