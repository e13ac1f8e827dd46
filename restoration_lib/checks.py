"""Arguments checked in one line: the message names the argument, what is accepted, and what was given."""

import difflib
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


def check_range(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise ValueError unless `value` is two numbers in [low, high], the smaller first."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name}: expected two numbers, the smaller first, got {value!r}")
    check(name, value[0], low, high)
    check(name, value[1], value[0], high)


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}{hint(value, choices)}")


def check_names(name: str, values: Collection[str], known: Collection[str]) -> None:
    """Raise ValueError if `values` has a name that `known` has not."""
    if isinstance(values, str):
        raise ValueError(f"{name}: expected a list of any of {', '.join(known)}, got the text {values!r}")
    if unknown := sorted(set(values) - set(known)):
        found = f"{', '.join(map(repr, unknown))}{hint(unknown[0], known)}"
        raise ValueError(f"{name}: expected any of {', '.join(known)}, got {found}")


def hint(name: object, known: Collection[str]) -> str:
    """The end of a message that asks for the known name nearest to `name`; "" where none is near."""
    close = difflib.get_close_matches(str(name), list(map(str, known)), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""
