"""Batches of aged photographs: pure functions of (seed, step), cuts told by their pixels, shares counted."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from restoration_lib.data import faded
from restoration_lib.data.datasets import Images
from restoration_lib.data.faded import LEAST, MILD, TONED, FadedBatches
from restoration_lib.data.files import ImageError
from restoration_lib.degradations.monochrome import SEPIA


@pytest.fixture(autouse=True)
def monochrome(monkeypatch):
    """Sets the share of monochrome images; half of them to begin with."""

    def set_share(share):
        monkeypatch.setattr(faded, "MONOCHROME", share)

    set_share(0.5)
    return set_share


def ramp(height, width):
    """Red tells the row, green the column, both from 0 to 200; blue is 90."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([200 * rows / height, 200 * columns / width, np.full(rows.shape, 90)], 2).round().astype(np.uint8)


def batches(*arrays, **changes):
    arrays = arrays or (ramp(60, 80),)
    options = {"crop": 16, "batch_size": 2, "steps": 300, "seed": 0}
    return FadedBatches(Images([f"{k}.png" for k in range(len(arrays))], list(arrays)), **(options | changes))


def keep_unaged(made):
    made.degrade = lambda images, strength, generator: images
    return made


def pairs(made):
    return [pair for batch in map(made.__getitem__, range(len(made))) for pair in zip(*batch.values(), strict=True)]


def test_a_batch_is_a_pure_function_of_seed_and_step():
    one, two, other = batches(), batches(), batches(seed=1)
    two[0]
    for step in (7, 3):
        first, second = one[step], two[step]
        assert set(first) == {"input", "target"}
        assert all(value.shape == (2, 3, 16, 16) and 0 <= value.min() <= value.max() <= 1 for value in first.values())
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(one[3]["target"], other[3]["target"])
    assert not torch.equal(one[3]["target"], one[3]["input"])


def test_cuts_have_the_sides_that_are_asked_for_and_half_are_mirrored(monochrome):
    monochrome(0.0)
    height, width = 60, 80
    mirrored, sides = 0, []
    for made, target in pairs(keep_unaged(batches(ramp(height, width)))):
        assert torch.equal(made, target)
        red, green = 255 * target[0], 255 * target[1]
        sides.append((red[-1] - red[0]).mean().item() / 200 * height * 16 / 15)
        across = (green[:, -1] - green[:, 0]).mean().item() / 200 * width * 16 / 15
        mirrored += across < 0
        assert abs(across) == pytest.approx(sides[-1], abs=2), "a cut is square"
    assert LEAST * height - 2 < min(sides) < LEAST * height + 4 and height - 4 < max(sides) < height + 2
    assert binomtest(mirrored, len(sides), 0.5).pvalue > 1e-3


def test_a_share_is_grey_and_half_of_those_have_a_toned_print(monochrome):
    monochrome(0.4)
    made = pairs(keep_unaged(batches()))
    grey = [(print_, target) for print_, target in made if (target[0] == target[2]).all()]
    toned = [(print_, target) for print_, target in grey if not torch.equal(print_, target)]
    assert binomtest(len(grey), len(made), 0.4).pvalue > 1e-3
    assert binomtest(len(toned), len(grey), TONED).pvalue > 1e-3
    for print_, target in toned:
        brown = (1 - print_[2].sum() / target[2].sum()) / (1 - SEPIA[2])
        expected = torch.stack([target[c] * (1 - brown * (1 - SEPIA[c])) for c in range(3)])
        assert 0 <= brown <= 1
        torch.testing.assert_close(print_, expected, atol=1e-4, rtol=0)


def test_a_share_ages_less():
    strengths, made = [], batches()
    made.degrade = lambda images, strength, generator: strengths.append(strength) or images
    pairs(made)
    mild = [strength for strength in strengths if strength < 1]
    assert binomtest(len(mild), len(strengths), MILD).pvalue > 1e-3
    assert 0 <= min(mild) < 0.1 and max(mild) > 0.9


def test_grey_is_the_luma_of_the_colours(monochrome):
    monochrome(1.0)
    grey = pairs(keep_unaged(batches()))
    monochrome(0.0)
    colour = pairs(keep_unaged(batches()))
    image = colour[0][1]
    expected = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
    torch.testing.assert_close(grey[0][1][1], expected)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ImageError, match="smaller than the 16 px needed"):
        batches(ramp(15, 80))
