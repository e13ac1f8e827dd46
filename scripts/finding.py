"""What the scratch finder that ships finds, at its threshold and at others, and how sure it is: for its card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit
from train_finder import CLEAR, SIZE

from restoration_lib import plots
from restoration_lib.data import datasets
from restoration_lib.data.damage import PRINT_DAMAGE
from restoration_lib.degradations import damage_mask, scratched
from restoration_lib.restore.damage import Mender, found
from restoration_lib.restore.levels import pixels_of

THRESHOLDS = (-2, -1, 0, 1, 2, 3)  # of `restoration restore --threshold`; 0 is its default
BINS = 10  # of the reliability diagram
UNDAMAGED, RECALL, F1 = "undamaged taken for damage (%) ↓", "clear damage found (%) ↑", "F1 ↑"


@dataclass(frozen=True)
class Looked:
    """The finder's logits (H, W) for an image with drawn damage and without, and two masks of the damage, bool: all
    that is visible, and what differs by CLEAR grey levels."""

    damaged: np.ndarray
    undamaged: np.ndarray
    visible: np.ndarray
    clear: np.ndarray


def look(mender: Mender, images: datasets.Images) -> list[Looked]:
    """At whole images, and at each with damage as prints have it."""
    return [
        Looked(
            mender.find(pixels_of(pair.input, np.uint8, 3)),
            mender.find(pixels_of(pair.target, np.uint8, 3)),
            damage_mask(pair.input, pair.target)[0, 0].numpy(),
            damage_mask(pair.input, pair.target, CLEAR)[0, 0].numpy(),
        )
        for pair in datasets.degraded_pairs(images, partial(scratched, **PRINT_DAMAGE))
    ]


def scores(looked: Sequence[Looked], threshold: float = 0.0) -> dict[str, float]:
    """Means over the images of what is found by `damage.found`, as the command finds it."""
    rows = []
    for image in looked:
        mask = found(image.damaged, threshold)
        rows.append(
            {
                UNDAMAGED: 100 * found(image.undamaged, threshold).mean(),
                RECALL: 100 * mask[image.clear].mean(),
                F1: 2 * mask[image.visible].sum() / (mask.sum() + image.visible.sum()),
            }
        )
    return pd.DataFrame(rows).mean().round(3).to_dict()


def tables(sets: Mapping[str, Sequence[Looked]]) -> dict[str, list[dict]]:
    """Two tables by their headings: of each set at the default threshold, and of all images at other ones."""
    everything = [image for looked in sets.values() for image in looked]
    return {
        f"Found at the default threshold, in images of a shorter side of {SIZE} px at most": [
            {"images": f"{name} ({len(looked)})", **scores(looked)} for name, looked in sets.items()
        ],
        f"Found at other thresholds, all {len(everything)} images": [
            {"`--threshold`": threshold, **scores(everything, threshold)} for threshold in THRESHOLDS
        ],
    }


def reliability(sets: Mapping[str, Sequence[Looked]]) -> pd.DataFrame:
    """How much of what the finder calls damage with a probability is damaged, in percent.

    A row for each of BINS equal parts of the probability's range, at its mean there, a column for each set; NaN where
    the finder never says so. A finder that is as often right as it says has the column "exact".
    """
    seen = {name: _pixels(looked) for name, looked in sets.items()}
    everything = np.concatenate([probability for probability, _ in seen.values()])
    exact = _means(everything, everything)
    columns = {name: _means(probability, true) for name, (probability, true) in seen.items()}
    return pd.DataFrame({**columns, "exact": exact}, index=exact)


def _pixels(looked: Sequence[Looked]) -> tuple[np.ndarray, np.ndarray]:
    """Of all pixels the probability of damage, and whether they are damaged."""
    logits = np.concatenate([image.damaged.ravel() for image in looked])
    return expit(logits.astype(np.float64)), np.concatenate([image.visible.ravel() for image in looked])


def _means(probability: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means of the values, in percent, in each of BINS parts of the probability's range; NaN where there are none."""
    places = np.minimum((BINS * probability).astype(int), BINS - 1)
    count, total = np.bincount(places, minlength=BINS), np.bincount(places, values, BINS)
    return 100 * np.divide(total, count, out=np.full(BINS, np.nan), where=count > 0)


def diagram(sets: Mapping[str, Sequence[Looked]]) -> Figure:
    return plots.curves(reliability(sets), "probability that the finder gives (%)", "damaged (%)")
