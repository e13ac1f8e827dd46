"""Scores of a translation between two domains, which has no targets: of what there is without them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from restoration_lib.data.datasets import Pair
from restoration_lib.data.files import to_uint8
from restoration_lib.evaluation import kept
from restoration_lib.evaluation.baselines import RESTORED
from restoration_lib.evaluation.measure import measure
from restoration_lib.evaluation.metrics import ciede2000, psnr

NAMES = ("round_trip", "identity", "colour_shift")
JUDGED = ("moved", "taken")  # by a `Judge`
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


class Judge:
    """Says where between the domains an image lies, having seen real images alone: none that was generated.

    A linear discriminant (Fisher 1936) of an image's channel means after the third block of VGG-16. The correlations
    within a domain are mixed with none at all, half and half, for there are about as many channels as images.

    Args:
        vgg: VGG-16 with the weights that it was published with, as of `networks.vgg`.
        domains: training images of each domain, "a" and "b".
        folder: where what was measured of them is kept, see `evaluation.kept`.
    """

    def __init__(
        self,
        vgg: Callable[..., Sequence[Tensor]],
        domains: Mapping[str, Sequence[Pair]],
        folder: Path | None = None,
    ):
        self.vgg = vgg
        make = partial(self._measured, domains)
        what = f"judge, {len(domains['a'])} of a"
        found = kept.arrays(what, [*domains["a"], *domains["b"]], folder, make) if folder else make()
        self.start, self.weights = found["start"], found["weights"]

    def _measured(self, domains: Mapping[str, Sequence[Pair]]) -> dict[str, np.ndarray]:
        seen = {domain: np.stack([self._see(pair.input) for pair in pairs]) for domain, pairs in domains.items()}
        means = {domain: features.mean(0) for domain, features in seen.items()}
        within = np.concatenate([features - means[domain] for domain, features in seen.items()])
        scale = within.std(0) + 1e-6  # some channels see nothing at all
        correlations = (within / scale).T @ (within / scale) / len(within)
        between = (means["b"] - means["a"]) / scale
        weights = np.linalg.solve(correlations + np.eye(len(scale)), between) / scale
        return {"start": means["a"], "weights": weights / (weights @ (means["b"] - means["a"]))}

    def __call__(self, image: Tensor) -> float:
        """Of an image (1, 3, H, W) in [0, 1]: 0 for the mean of domain A, 1 for that of B; the border is at a half."""
        return float((self._see(image) - self.start) @ self.weights)

    @torch.no_grad()
    def _see(self, image: Tensor) -> np.ndarray:
        return self.vgg(image, depth=3)[-1].mean((0, 2, 3)).numpy()


def untouched(domains: Mapping[str, Sequence[Pair]], judge: Callable[[Tensor], float]) -> dict[str, float]:
    """How many images of each domain are taken for the other's, as they are: of a good judge 0 %."""
    sides = {domain: np.array([judge(pair.input) for pair in pairs]) > 0.5 for domain, pairs in domains.items()}
    return {domain: round(100 * float(np.mean(is_b == (domain == "a"))), 1) for domain, is_b in sides.items()}


def measure_translation(
    translate: Translate, domains: Mapping[str, Sequence[Pair]], judge: Callable[[Tensor], float] | None = None
) -> pd.DataFrame:
    """`measure` of the images of each domain, "a" and "b", whose name is in the column `domain` and before theirs.

    With a `judge` two columns more say how far each translation went: `moved`, which part of the way between the
    domains, in %, and `taken`, whether it lies beyond the middle, 100 or 0 %.
    """
    tables = []
    for domain, pairs in domains.items():
        ways = cache(partial(way, translate, domain))  # scored, and judged
        rows = measure({RESTORED: ways}, pairs, score)
        if judge:
            towards = {"a": 1, "b": -1}[domain]
            real = np.array([judge(pair.input) for pair in pairs])
            made = np.array([judge(ways(pair)[0]) for pair in pairs])
            values = 100 * towards * (made - real), 100.0 * (towards * (made - 0.5) > 0)
            rows = rows.assign(**dict(zip(JUDGED, values, strict=True)))
        tables.append(rows.assign(domain=domain, image=f"{domain}/" + rows["image"]))
    return pd.concat(tables, ignore_index=True)


def validator(domains: Mapping[str, Sequence[Pair]]) -> Callable[[object], dict[str, float]]:
    """For `training.fit` of a method with `translate(image, domain)`: the means over both domains."""
    return lambda method: measure_translation(method.translate, domains)[list(NAMES)].mean().to_dict()
