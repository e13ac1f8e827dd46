"""Arguments checked in one line: the message names the argument, what is accepted, and what was given."""

import math
from collections.abc import Collection
from numbers import Real


def check(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float = -math.inf,
    odd: bool = False,
    multiple: int = 1,
) -> None:
    """Raise ValueError unless `value` is a number in [low, high], above `above`, odd or a multiple if asked."""
    fits = isinstance(value, Real) and not isinstance(value, bool) and low <= value <= high and value > above
    if fits and (not odd or value % 2 == 1) and (multiple == 1 or value % multiple == 0):
        return
    kind = "an odd number" if odd else "a number" if multiple == 1 else f"a multiple of {multiple}"
    if high < math.inf:
        wanted = f"{kind} from {low:g} to {high:g}"
    elif above > -math.inf:
        wanted = f"{kind} above {above:g}"
    else:
        wanted = f"{kind}, {low:g} or more"
    raise ValueError(f"{name}: expected {wanted}, got {value!r}")


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}")


def check_names(name: str, values: Collection[str], known: Collection[str]) -> None:
    """Raise ValueError if `values` has a name that `known` has not."""
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{name}: expected any of {', '.join(known)}, got {', '.join(map(repr, unknown))}")
