"""16-bit colour, which Pillow reduces to 8 bits: it can be read in two passes."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, PLANAR_CONFIGURATION

OTHER = {"B": "L", "L": "B", "N": "L" if sys.byteorder == "big" else "B"}  # byte orders of Pillow's raw modes
GREY_ALPHA = "LA;16B"  # of PNG; Pillow knows it in no other order, but takes it for four channels of 8 bits


def is_deep(image: Image.Image) -> bool:
    """Whether an image that is open, but not loaded, has 16 bits a channel in more than one channel.

    Raises:
        ValueError: it has, in separate planes, which Pillow takes for something else.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(PLANAR_CONFIGURATION) == 2 and max(tags.get(BITSPERSAMPLE, (1,))) > 8:
        raise ValueError("16 bits a channel in separate planes cannot be kept; save it with the channels together")
    return image.mode in ("RGB", "RGBA") and ";16" in _raw_mode(image)


def deep_levels(path: Path) -> np.ndarray:
    """All bits of such an image, upright, (H, W, C), uint16: with 2 channels grey and alpha, with 4 colour and alpha.

    Pillow keeps one byte of each two, and which one it takes for the higher is the byte order that it is told.

    Raises:
        ValueError: an order of the bytes that Pillow knows no opposite of.
    """
    with Image.open(path) as image:
        raw = _raw_mode(image)
        if raw == GREY_ALPHA:
            return np.ascontiguousarray(_told(image, "RGBA")).view(">u2").astype(np.uint16)
        colour, _, order = raw.partition(";16")
        if colour not in ("RGB", "RGBA", "RGBX") or order not in OTHER:
            raise ValueError(f"16 bits a channel, stored as {raw}, cannot be kept; save it as plain RGB or RGBA")
        made = _told(image, raw).astype(np.uint16) << 8
    with Image.open(path) as image:
        made |= _told(image, f"{colour};16{OTHER[order]}")
    return made


def _raw_mode(image: Image.Image) -> str:
    """How the file stores the pixels, in Pillow's words; "" where its decoder is told nothing."""
    told = image.tile[0].args if image.tile else ""
    told = told[0] if isinstance(told, tuple) and told else told
    return told if isinstance(told, str) else ""


def _told(image: Image.Image, raw: str) -> np.ndarray:
    """The image, decoded as if its file stored the pixels like that, and turned upright."""
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in image.tile
    ]
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image)
