"""Degradations: pure functions of an image tensor and a generator, the same damage for the same generator state.

One to be chosen by name, in a notebook or a sweep, has a line in DEGRADATIONS.
"""

import inspect
from collections.abc import Callable
from functools import partial

from torch import Tensor

from restoration_lib.checks import check_choice, check_names
from restoration_lib.degradations.ageing import age
from restoration_lib.degradations.downscale import downscale, upscale
from restoration_lib.degradations.monochrome import monochrome
from restoration_lib.degradations.pixel_shuffle import draw_swaps, pixel_shuffle, shuffle_order
from restoration_lib.degradations.scratches import damage_mask, scratch, scratched

Degrade = Callable[..., Tensor]  # degrade(images, generator=generator) -> images, of the same size or smaller


def keep(images: Tensor, generator=None) -> Tensor:
    """The degradation that does nothing."""
    return images


DEGRADATIONS: dict[str, Degrade] = {
    "none": keep,
    "pixel_shuffle": pixel_shuffle,
    "ageing": age,
    "scratches": scratched,
    "downscale": downscale,
    "monochrome": monochrome,
}


def degradation(name: str, **options) -> Degrade:
    """The named one of DEGRADATIONS with these options, for `degrade(images, generator=generator)`.

    Raises:
        ValueError: a name that DEGRADATIONS does not have, or an option that the degradation does not take.
    """
    check_choice("degradation", name, DEGRADATIONS)
    function = DEGRADATIONS[name]
    known = inspect.signature(scratch if function is scratched else function).parameters
    check_names(f"options of the degradation {name}", options, [k for k in known if k not in ("images", "generator")])
    return partial(function, **options)


__all__ = [
    "DEGRADATIONS",
    "Degrade",
    "age",
    "damage_mask",
    "degradation",
    "downscale",
    "draw_swaps",
    "keep",
    "monochrome",
    "pixel_shuffle",
    "scratch",
    "scratched",
    "shuffle_order",
    "upscale",
]
