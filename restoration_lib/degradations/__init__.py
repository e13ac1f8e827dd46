"""Degradations: pure functions of an image tensor and a generator, the same damage for the same generator state.

One to be chosen by name, in a notebook or a sweep, has a line in DEGRADATIONS. It is a function (`monochrome` is a
short one to begin from) of `images`, (N, 3, H, W) or (3, H, W), float in [0, 1], and `generator`, a CPU generator or
None for torch's own; whatever other arguments it has are its options, numbers or lists; one without a default must be
given. It leaves its input as it is, gives back the same type on the same device, in [0, 1], and draws for every image
of a batch anew.
"""

import inspect
from collections.abc import Callable
from functools import partial

from torch import Tensor

from restoration_lib.checks import check_choice, hint
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
        ValueError: a name that DEGRADATIONS does not have, an option that is unknown, or one that is missing.
    """
    check_choice("degradation", name, DEGRADATIONS)
    known = dict(inspect.signature(DEGRADATIONS[name]).parameters)
    del known["images"], known["generator"]
    if unknown := sorted(options.keys() - known.keys()):
        takes = ", ".join(known) or "no options"
        raise ValueError(f"degradation {name}: takes {takes}, got {', '.join(unknown)}{hint(unknown[0], known)}")
    if missing := [k for k, argument in known.items() if argument.default is argument.empty and k not in options]:
        raise ValueError(f"degradation {name}: give the options {', '.join(missing)}")
    return partial(DEGRADATIONS[name], **options)
