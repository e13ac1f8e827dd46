"""One measure for all systems: every restorer on every pair, scored, a row each."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.color import rgb2gray
from skimage.filters import sobel
from torch import Tensor

from restoration_lib.checks import check_names
from restoration_lib.data.datasets import Pair
from restoration_lib.data.files import to_tensor, to_uint8
from restoration_lib.evaluation import kept
from restoration_lib.evaluation.baselines import INPUT, RESTORED
from restoration_lib.evaluation.metrics import METRICS
from restoration_lib.methods.base import Method

Made = object  # what a restorer makes of a pair: an image (1, 3, H, W), or whatever its score understands
Restorer = Callable[[Pair], Made]
Score = Callable[[Pair, Made], dict[str, float]]
Filter = Callable[[np.ndarray], np.ndarray]  # a classical baseline, 8-bit RGB (H, W, 3)
DETAIL = (0, 2, 4, 8, 16, 32)  # lower bounds of classes, grey levels per pixel: from flat areas to hard edges


def measure(
    restorers: Mapping[str, Restorer], pairs: Sequence[Pair], score: Score, folder: Path | None = None
) -> pd.DataFrame:
    """Rows `image, method` and the score's metrics, one for each pair and restorer.

    Means are taken over images, never over pooled pixels. A restorer that makes nothing (None) of a pair has no row.

    Args:
        folder: where the metrics of restorers without a network are kept, see `evaluation.kept`.
    """

    def scored(restore: Restorer, pair: Pair) -> dict | None:
        made = restore(pair)
        return None if made is None else score(pair, made)

    known = kept.metrics(restorers, score, pairs, folder, scored) if folder else {}
    rows = []
    for k, pair in enumerate(pairs):
        for name, restore in restorers.items():
            metrics = known[name][k] if name in known else scored(restore, pair)
            if metrics is not None:
                rows.append({"image": pair.name, "method": name} | metrics)
    return pd.DataFrame(rows)


def measure_sets(
    restorers: Mapping[str, Restorer], sets: Mapping[str, Sequence[Pair]], score: Score, folder: Path | None = None
) -> pd.DataFrame:
    """As `measure`, of several test sets, with the name of each in the column `test`."""
    tables = [measure(restorers, pairs, score, folder).assign(test=name) for name, pairs in sets.items()]
    return pd.concat(tables, ignore_index=True)


def image_score(*names: str) -> Score:
    """The named METRICS of an image, on 8 bits.

    Raises:
        ValueError: a name of none, or of one that needs more than target and image.
    """
    check_names("metrics", names, [name for name, metric in METRICS.items() if metric.function])
    return partial(_image_score, names)


def _image_score(names: tuple[str, ...], pair: Pair, image: Tensor) -> dict[str, float]:
    target, made = to_uint8(pair.target)[0], to_uint8(image)[0]
    return {name: METRICS[name].function(target, made) for name in names}


def restored(method: Method, pair: Pair) -> Tensor:
    """What the method makes of the pair's input."""
    return method.restore(pair.input)


def restorers(method: Method, baselines: Mapping[str, Filter] | None = None) -> dict[str, Restorer]:
    """The degraded input as it is, the method, and classical baselines.

    What the method makes of a pair is kept for those who look at it again: figures, metrics and errors share it.
    """
    filters = {name: partial(filtered, baseline) for name, baseline in (baselines or {}).items()}
    return {INPUT: as_it_is, RESTORED: cache(partial(restored, method)), **filters}


def as_it_is(pair: Pair) -> Tensor:
    """The degraded image itself."""
    return pair.input


def filtered(baseline: Filter, pair: Pair) -> Tensor:
    """What a classical baseline makes of the pair's input, (1, 3, H, W)."""
    return to_tensor(baseline(to_uint8(pair.input)[0]))[None]


def mean_image(one: Restorer, other: Restorer) -> Restorer:
    """The mean of what two restorers make: where they err for different reasons, it errs less."""
    return lambda pair: (one(pair) + other(pair)) / 2


def validator(
    pairs: Sequence[Pair], score: Score, restore: Callable[[Method, Pair], Made] = restored
) -> Callable[[Method], dict[str, float]]:
    """For `training.fit`: the means of the score; metrics that no pair has are left out."""

    def validate(method: Method) -> dict[str, float]:
        rows = measure({RESTORED: partial(restore, method)}, pairs, score)
        return rows.drop(columns=["image", "method"]).mean().dropna().to_dict()

    return validate


def error_by_detail(restorers: Mapping[str, Restorer], pairs: Sequence[Pair]) -> pd.DataFrame:
    """Where the errors are: mean absolute error by the local gradient of the target, both in grey levels.

    Returns:
        Rows `method, detail, share, error`: the lower bound of the class, its share of all pixels, its mean error.
    """
    rows = []
    detail = np.concatenate([(np.digitize(gradient(pair.target), DETAIL) - 1).ravel() for pair in pairs])
    for name, restore in restorers.items():
        error = np.concatenate([255 * (restore(p) - p.target).abs().mean(1).flatten().numpy() for p in pairs])
        for k, edge in enumerate(DETAIL):
            inside = detail == k
            if inside.any():
                rows.append({"method": name, "detail": edge, "share": inside.mean(), "error": error[inside].mean()})
    return pd.DataFrame(rows)


def gradient(image: Tensor) -> np.ndarray:
    """Sobel gradient (H, W) of the grey image (1, 3, H, W), in grey levels per pixel."""
    # scikit-image's sobel is the root mean square of two differences over two pixels: sqrt(2) times the gradient
    return 255 / np.sqrt(2) * sobel(rgb2gray(to_uint8(image)[0]))
