"""Checks of arguments against accepted and refused values, and messages written out."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest

from restoration_lib.checks import check, check_choice, check_names, check_range


def refused(message):
    return pytest.raises(ValueError, match=rf"\A{re.escape(message)}\Z")


@pytest.mark.parametrize("value", [0, 1, 0.5, 0.0, 1.0, np.float32(0.25), np.int64(1), Fraction(1, 3)])
def test_numbers_between_the_bounds_and_the_bounds_are_accepted(value):
    check("rate", value, 0, 1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.5, "1.5"),
        (-0.1, "-0.1"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (True, "True"),
        ("0.5", "'0.5'"),
        (None, "None"),
        ([1], "[1]"),
        (1j, "1j"),
    ],
)
def test_what_is_no_number_between_the_bounds_is_named(value, shown):
    with refused(f"rate: expected a number from 0 to 1, got {shown}"):
        check("rate", value, 0, 1)


def test_without_an_upper_bound_any_size_is_accepted():
    for value in (0, 0.5, 10**30, math.inf):
        check("limit", value, 0)
    for value in (-1, -0.001, math.nan):
        with refused(f"limit: expected a number, 0 or more, got {value}"):
            check("limit", value, 0)


def test_above_leaves_its_bound_out():
    check("learning_rate", 1e-30, above=0)
    for value in (0, 0.0, -1e-3, math.nan, False):
        with refused(f"learning_rate: expected a number above 0, got {value}"):
            check("learning_rate", value, above=0)


def test_multiples_can_be_asked_for():
    for value in (32, 36, np.int64(64)):
        check("crop", value, 32, multiple=4)
    for value in (34, 28, 33.5):
        with refused(f"crop: expected a multiple of 4, 32 or more, got {value}"):
            check("crop", value, 32, multiple=4)


def test_odd_numbers_can_be_asked_for():
    for value in (1, 3, 7, np.int64(5)):
        check("window", value, 1, odd=True)
    for value in (0, 2, 4, -1, 1.5, math.nan):
        with refused(f"window: expected an odd number, 1 or more, got {value}"):
            check("window", value, 1, odd=True)
    with refused("window: expected an odd number from 1 to 9, got 11"):
        check("window", 11, 1, 9, odd=True)


def test_bounds_that_are_no_integers_are_said_shortly():
    with refused("share: expected a number from 0.2 to 1, got 0.1"):
        check("share", 0.1, 0.2, 1.0)


def test_a_choice_is_one_of_those_given():
    for choices in (("auto", "fp32"), ["auto", "fp32"], {"auto": 1, "fp32": 2}):
        check_choice("precision", "auto", choices)
        with refused("precision: expected one of auto, fp32, got 'fp16'"):
            check_choice("precision", "fp16", choices)
    check_choice("scale", 2, (2, 4))
    with refused("scale: expected one of 2, 4, got 3"):
        check_choice("scale", 3, (2, 4))


def test_unknown_names_are_all_named_once():
    known = {"strokes": 1, "hair": 2}
    for values in ((), ("hair",), ["hair", "strokes", "hair"], {"strokes": 0.5}):
        check_names("kinds", values, known)
    with refused("kinds: expected any of strokes, hair, got 'bugs', 'moths'"):
        check_names("kinds", ("moths", "hair", "bugs", "moths"), known)
    with refused("kinds: expected any of strokes, hair, got 'dust'"):
        check_names("kinds", {"dust": 1.0}, known)


def test_ranges_are_two_numbers_the_smaller_first():
    for pair in ((0, 1), [0.25, 0.25], (0.0, 0)):
        check_range("coverage", pair, 0, 1)
    for pair, shown in ((0.1, "0.1"), ((0.1,), "(0.1,)"), ("01", "'01'"), ([1, 2, 3], "[1, 2, 3]")):
        with refused(f"coverage: expected two numbers, the smaller first, got {shown}"):
            check_range("coverage", pair, 0, 1)
    with refused("coverage: expected a number from 0.5 to 1, got 0.25"):
        check_range("coverage", (0.5, 0.25), 0, 1)
    with refused("coverage: expected a number from 0 to 1, got -1"):
        check_range("coverage", (-1, 0.25), 0, 1)


def test_a_text_is_no_list_of_names():
    with refused("kinds: expected a list of any of hair, dust, got the text 'hair'"):
        check_names("kinds", "hair", ["hair", "dust"])


def test_what_is_nearly_a_known_name_is_told():
    with refused("generator: expected one of fcn, picker, got 'pickr'; did you mean picker?"):
        check_choice("generator", "pickr", ["fcn", "picker"])
    with refused("losses: expected any of l1, cosine, got 'cosin'; did you mean cosine?"):
        check_names("losses", ["cosin"], ["l1", "cosine"])
