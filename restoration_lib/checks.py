"""Arguments checked in one line: the message names the argument, what is accepted, and what was given."""

import math
from collections.abc import Collection
from numbers import Real


def check(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, *, above: float = -math.inf, odd=False
) -> None:
    """Raise ValueError unless `value` is a number in [low, high], greater than `above`, and odd if it has to be."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if number and low <= value <= high and value > above and not (odd and value % 2 != 1):
        return
    kind = "an odd number" if odd else "a number"
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
