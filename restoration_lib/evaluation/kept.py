"""Measurements that no network enters, kept in a folder: one run of a sweep makes them, the others read them."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from restoration_lib.data.datasets import Pair
from restoration_lib.filesystem import digest_of_code, replacing

CODE = ("data/files.py", "degradations/*.py", "evaluation/*.py")  # what decides how something is measured
LIBRARIES = ("numpy", "pillow", "scikit-image", "scipy", "torch")
Make = Callable[[Callable, Pair], dict | None]
PLAIN = (str, int, float, bool, type(None))


def described(value: object) -> str | None:
    """What a restorer or a score does, as a text: two of the same text do the same to the same images.

    None where that cannot be told: only functions of modules, partials of them, plain values and tuples of these say
    all that they depend on. A lambda, a closure or a method may have a network in it.
    """
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, functools.partial):
        value = ("partial", value.func, value.args, tuple(value.keywords.items()))
    if isinstance(value, tuple):
        parts = [described(part) for part in value]
        return None if None in parts else f"({', '.join(parts)})"
    name = getattr(value, "__qualname__", "<")
    of_module = callable(value) and "<" not in name and not hasattr(value, "__self__")
    return f"{value.__module__}.{name}" if of_module else None


def metrics(
    restorers: Mapping[str, Callable], score: Callable, pairs: Sequence[Pair], folder: Path, make: Make
) -> dict[str, list[dict | None]]:
    """The metrics of each pair, `make(restore, pair)`, by restorer, read from `folder` if they were made before.

    Nothing is made, and the restorer left out, where it or `score` cannot be `described`.
    """
    known, of_all = {}, f"{digest_of_code(CODE, LIBRARIES)}\n{_content(pairs)}"
    for name, restore in restorers.items():
        if what := described((restore, score)):
            path = folder / f"{hashlib.sha256(f'{what} {of_all}'.encode()).hexdigest()[:32]}.json"
            if not path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                with replacing(path) as unfinished:
                    unfinished.write_text(json.dumps([make(restore, pair) for pair in pairs]))
            known[name] = json.loads(path.read_text())
    return known


def arrays(
    what: str, pairs: Sequence[Pair], folder: Path, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays that `make` measures of pairs, read from `folder` if `what` was measured of the same pairs before."""
    text = f"{what} {digest_of_code(CODE, LIBRARIES)}\n{_content(pairs)}"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **make())
    with np.load(path) as found:
        return dict(found)


def _content(pairs: Sequence[Pair]) -> str:
    """SHA-256 of names, sizes and pixels."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.name} {tuple(pair.input.shape)} {tuple(pair.target.shape)}\n".encode())
        for image in (pair.input, pair.target):
            digest.update(image.contiguous().numpy().data)
    return digest.hexdigest()
