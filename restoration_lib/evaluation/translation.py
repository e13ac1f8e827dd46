"""Scores of a translation between two domains, which has no targets: of what there is without them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd
from torch import Tensor

from restoration_lib.data.datasets import Pair
from restoration_lib.data.files import to_uint8
from restoration_lib.evaluation.baselines import RESTORED
from restoration_lib.evaluation.measure import measure
from restoration_lib.evaluation.metrics import ciede2000, psnr

NAMES = ("round_trip", "identity", "colour_shift")
OTHER = {"a": "b", "b": "a"}
Translate = Callable[[Tensor, str], Tensor]  # an image (1, 3, H, W) and a domain, "a" or "b", to an image of that one
Way = tuple[Tensor, Tensor, Tensor]  # there, back, and what the own domain's generator makes of it


def way(translate: Translate, domain: str, pair: Pair) -> Way:
    """An image of `domain` as one of the other, that one back again, and the image as one of its own domain."""
    there = translate(pair.input, OTHER[domain])
    return there, translate(there, domain), translate(pair.input, domain)


def score(pair: Pair, made: Way) -> dict[str, float]:
    """What can be measured of a way without a target:

    - `round_trip`, PSNR in dB of there and back against the image,
    - `identity`, PSNR in dB of what the generator of its own domain makes of it,
    - `colour_shift`, mean CIEDE2000 between the image and its translation.
    """
    image, there, back, same = (to_uint8(x)[0] for x in (pair.input, *made))
    values = psnr(image, back), psnr(image, same), ciede2000(image, there)
    return dict(zip(NAMES, values, strict=True))


def measure_translation(translate: Translate, domains: Mapping[str, Sequence[Pair]]) -> pd.DataFrame:
    """`measure` of the images of each domain, "a" and "b", whose name is in the column `domain` and before theirs."""
    tables = []
    for domain, pairs in domains.items():
        rows = measure({RESTORED: partial(way, translate, domain)}, pairs, score)
        tables.append(rows.assign(domain=domain, image=f"{domain}/" + rows["image"]))
    return pd.concat(tables, ignore_index=True)


def validator(domains: Mapping[str, Sequence[Pair]]) -> Callable[[object], dict[str, float]]:
    """For `training.fit` of a method with `translate(image, domain)`: the means over both domains."""
    return lambda method: measure_translation(method.translate, domains)[list(NAMES)].mean().to_dict()
