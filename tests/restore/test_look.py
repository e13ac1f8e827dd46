"""What a photograph is seen to lack: photographs made to lack it, and worked-out numbers."""

import numpy as np
import pytest
import torch

from restoration_lib.degradations import monochrome
from restoration_lib.degradations.monochrome import print_of
from restoration_lib.restore.levels import images_of, pixels_of
from restoration_lib.restore.look import Look, decide, left, look


@pytest.fixture
def colourful():
    """All colours, black and white."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((1, 3, 8, 8)).astype(np.float32))
    pixels = pixels_of(torch.nn.functional.interpolate(coarse, (300, 400), mode="bicubic"), np.uint8, 3)
    pixels[:20], pixels[-20:] = 0, 255
    return pixels


def test_a_good_photograph_lacks_nothing(colourful):
    seen = look(colourful)
    assert seen.contrast == pytest.approx(1, abs=0.01) and seen.cast < 0.01 and not seen.is_monochrome
    assert decide(seen, 0.0) == {}


def test_contrast_is_the_range_of_the_luma(colourful):
    seen = look((colourful * 0.5 + 60).astype(np.uint8))
    assert seen.contrast == pytest.approx(0.5, abs=0.02)
    assert list(decide(seen, None)) == ["faded"] and "contrast is 50 %" in decide(seen, None)["faded"]


def test_yellowed_paper_is_a_cast_that_is_named_and_left(colourful):
    seen = look((colourful * np.array([1, 0.95, 0.7])).astype(np.uint8))
    assert seen.cast > 0.08 and not seen.is_monochrome and decide(seen, None) == {}
    assert len(left(seen, None)) == 1 and "a cast of" in left(seen, None)[0]
    assert left(Look(1, seen.cast, 0, True), None) == [], "a print of one tone has its tone"
    assert left(Look(0.5, seen.cast, 0, False), None) == [], "what is restored for its contrast is not left"


@pytest.mark.parametrize("brown", [0.0, 0.5, 1.0])
def test_prints_of_one_tone_are_monochrome(colourful, brown):
    printed = print_of(images_of(colourful), torch.tensor([brown]), torch.tensor([0.5]))
    seen = look(pixels_of(printed, np.uint8, 3))
    assert seen.is_monochrome and seen.is_toned == (brown > 0)
    assert look(pixels_of(monochrome(images_of(colourful)), np.uint16, 3)).is_monochrome
    assert look(colourful[..., :1]).is_monochrome


@pytest.mark.parametrize(("levels", "needs"), [(0, []), (6, []), (40, ["faded"])])
def test_a_brown_corner_of_a_grey_print_is_a_stain(levels, needs):
    """A ramp of grey, whose last tenth, below and on the right, has less blue."""
    stained = np.linspace(0, 255, 300, dtype=np.uint8)[:, None, None].repeat(400, 1).repeat(3, 2)
    stained[270:, 360:, 2] -= np.uint8(levels)
    seen = look(stained)
    # luma weighs blue by 0.114: red is so much above it, blue the rest below
    assert seen.stain == pytest.approx(levels * ((0.114**2 + 0.886**2) / 2) ** 0.5 / 255, rel=0.1, abs=1e-6)
    assert seen.is_monochrome and seen.cast < 0.01 and list(decide(seen, None)) == needs
    assert decide(Look(1, 0, 0.2, False), None) == {}, "a colour photograph has colours"
    assert decide(Look(1, 0.02, 0.05, True), None) == {}, "a toned print keeps its tone"


@pytest.mark.parametrize(("damage", "expected"), [(None, []), (0, []), (0.0029, []), (0.01, ["scratches"]), (0.5, [])])
def test_some_damage_is_painted_over_and_too_much_is_none(damage, expected):
    assert list(decide(Look(1, 0, 0, False), damage)) == expected


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5000, 3), (2, 2, 3)])
def test_the_smallest_can_be_looked_at(shape):
    assert look(np.full(shape, 77, np.uint8)) == Look(*3 * [pytest.approx(0, abs=1e-6)], True)
