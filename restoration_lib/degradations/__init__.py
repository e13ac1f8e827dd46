"""Degradations: pure functions of a picture tensor and a generator, the same damage for the same generator state."""

from restoration_lib.degradations.ageing import age
from restoration_lib.degradations.bicubic import downscale, upscale
from restoration_lib.degradations.damage import damage_mask, scratch, scratched
from restoration_lib.degradations.shuffle import draw_swaps, pixel_shuffle, shuffle_order

__all__ = [
    "age",
    "damage_mask",
    "downscale",
    "draw_swaps",
    "pixel_shuffle",
    "scratch",
    "scratched",
    "shuffle_order",
    "upscale",
]
