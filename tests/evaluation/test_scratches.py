"""Metrics inside and outside the damage, against loops over the pixels."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restoration_lib.data.datasets import Images, Pair, degraded_pairs
from restoration_lib.degradations import damage_mask, scratched
from restoration_lib.evaluation import scratches
from restoration_lib.evaluation.baselines import FOUND_MASK, MEDIAN, TRUE_MASK
from restoration_lib.evaluation.measure import measure, measure_sets
from restoration_lib.methods.pix2pix import Pix2Pix

SIDE = 64


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    target = F.interpolate(coarse, (SIDE, SIDE), mode="bilinear").mul(255).round() / 255
    damaged = scratched(target, generator).mul(255).round() / 255
    return Pair("one", damaged, target)


def undamaged(pair):
    return Pair("whole", pair.target, pair.target)


def gives(restored, found=None):
    """A `paint` that answers the same, whatever it is shown."""
    return lambda images: (restored, found)


def rows_of(paint, pairs, mask=damage_mask):
    return measure(scratches.restorers(paint, mask), pairs, scratches.score(mask))


def row(table, name="restored"):
    [found] = table[table["method"] == name].to_dict("records")
    return found


def small_method(least_damage):
    return Pix2Pix(steps=1, features=4, depth=2, losses={"l1": 1.0}, least_damage=least_damage)


# ---- the score


def test_metrics_equal_those_of_a_loop_over_the_pixels(pair):
    generator = torch.Generator().manual_seed(1)
    restored = (pair.input + 0.1 * torch.randn(pair.input.shape, generator=generator)).clamp(0, 1)
    found = torch.rand(1, 1, SIDE, SIDE, generator=generator) < 0.3
    metrics = row(rows_of(gives(restored, found), [pair]))

    target, damaged, out = (np.rint(255 * i[0].permute(1, 2, 0).numpy()) for i in (pair.target, pair.input, restored))
    errors, changes, unmasked, hits, claimed, there = {True: [], False: []}, [], [], 0, 0, 0
    for y in range(SIDE):
        for x in range(SIDE):
            broken, said = bool((target[y, x] != damaged[y, x]).any()), bool(found[0, 0, y, x])
            errors[broken] += list((target[y, x] - out[y, x]) ** 2)
            if not broken:
                changes.append(abs(out[y, x] - damaged[y, x]).max())
            if not said:
                unmasked.append(abs(out[y, x] - damaged[y, x]).max())
            hits, claimed, there = hits + (broken and said), claimed + said, there + broken
    assert metrics["inside"] == pytest.approx(10 * math.log10(255**2 / np.mean(errors[True])))
    assert metrics["outside"] == pytest.approx(10 * math.log10(255**2 / np.mean(errors[False])))
    assert metrics["psnr"] == pytest.approx(10 * math.log10(255**2 / np.mean(errors[True] + errors[False])))
    assert metrics["coverage"] == pytest.approx(there / SIDE**2)
    assert metrics["change"] == max(changes) and metrics["unmasked_change"] == max(unmasked)
    precision, recall = hits / claimed, hits / there
    assert metrics["precision"] == pytest.approx(precision) and metrics["recall"] == pytest.approx(recall)
    assert metrics["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_perfect_restorer_and_the_rows_beside_it(pair):
    table = rows_of(gives(pair.target, damage_mask(pair.input, pair.target)), [pair])
    assert list(table.columns) == ["image", "method", *scratches.NAMES]
    assert list(table["method"]) == ["input", "restored", "median 5x5", TRUE_MASK, FOUND_MASK]
    best, untouched = row(table), row(table, "input")
    assert best["psnr"] == best["inside"] == best["outside"] == scratches.PERFECT
    assert best["f1"] == best["precision"] == best["recall"] == 1 and best["change"] == best["unmasked_change"] == 0
    assert untouched["outside"] == scratches.PERFECT and untouched["change"] == 0 and math.isnan(untouched["f1"])
    assert row(table, TRUE_MASK)["inside"] == row(table, FOUND_MASK)["inside"] > untouched["inside"]


def test_a_method_that_says_nothing_of_damage_has_no_f1(pair):
    table = rows_of(gives(pair.input), [pair])
    assert list(table["method"]) == ["input", "restored", MEDIAN, TRUE_MASK]
    assert all(math.isnan(row(table)[name]) for name in ("f1", "precision", "recall", "unmasked_change"))


def test_an_undamaged_image_has_no_inside_and_a_mask_that_claims_nothing_no_precision(pair):
    nothing = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    metrics = row(rows_of(gives(pair.target, nothing), [undamaged(pair)]))
    assert math.isnan(metrics["inside"]) and math.isnan(metrics["f1"])
    metrics = row(rows_of(gives(pair.input, nothing), [pair]))
    assert metrics["precision"] == metrics["recall"] == metrics["f1"] == 0


def test_what_is_not_asked_for_is_not_measured(pair):
    corner = Pair("corner", pair.input[..., :20, :20], pair.target[..., :20, :20])  # too small for a checkerboard
    metrics = scratches.score(damage_mask, ("inside", "psnr"))(corner, (corner.input, None))
    assert list(metrics) == ["inside", "psnr"]
    error = 255 * (corner.input - corner.target)
    assert metrics["psnr"] == pytest.approx(20 * math.log10(255 / error.square().mean().sqrt()), abs=1e-4)


def test_the_smallest_image_is_measured_and_none_below(pair):
    assert pair.target.shape[-2:] == (scratches.SMALLEST, scratches.SMALLEST)
    assert row(rows_of(gives(pair.target), [pair]))["checkerboard"] == 0
    below = Pair("below", pair.input[..., :-1, :], pair.target[..., :-1, :])
    with pytest.raises(ValueError, match=f"take {scratches.SMALLEST} px or more"):
        rows_of(gives(below.target), [below])


def test_the_network_finds_its_mask_where_least_damage_says(pair):
    method = small_method(least_damage=40)
    metrics = scratches.score(method.mask)(pair, method.paint(pair.input))
    change = 255 * (pair.input - pair.target).abs().amax(1)
    assert metrics["coverage"] == pytest.approx((change > 39.5).float().mean().item(), abs=1e-6)
    assert 0 < metrics["coverage"] < scratches.score(damage_mask)(pair, (pair.input, None))["coverage"]


# ---- at a smaller size, and with heavy damage


def rows_through(paint, pairs, side):
    restorers = scratches.through(scratches.restorers(paint, damage_mask), side)
    return measure(restorers, pairs, scratches.score(damage_mask))


def test_through_a_smaller_size_even_the_target_loses_detail(pair):
    table = rows_through(lambda images: (images, None), [undamaged(pair)], 8)
    assert row(table)["psnr"] == row(table, "input")["psnr"] < 40
    table = rows_through(lambda images: (images, None), [pair], 32)
    assert list(table["method"]) == ["input", "restored", "median 5x5", TRUE_MASK]
    assert row(table, TRUE_MASK)["inside"] > row(table, "input")["inside"]


def test_through_a_smaller_size_an_image_gets_its_own_size_again():
    shown = []

    def paint(images):
        shown.append(images.shape)
        return images, torch.ones_like(images[:, :1], dtype=torch.bool)

    image = torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(0))
    restore = scratches.through(scratches.restorers(paint, damage_mask), 32)["restored"]
    restored = restore(Pair("oblong", image, image))
    assert shown == [(1, 3, 32, 32)]
    assert restored.shape == (1, 3, 50, 70), "and no mask: that of the smaller image says nothing of this one"


def test_heavy_damage_is_measured_at_each_coverage():
    images = Images(["a"], [np.full((SIDE, SIDE, 3), 90, np.uint8)])
    assert scratches.COVERAGES == {"5 %": 0.05, "10 %": 0.1, "20 %": 0.2, "40 %": 0.4}
    sets = {
        name: degraded_pairs(images, partial(scratched, coverage=(coverage, coverage)))
        for name, coverage in scratches.COVERAGES.items()
    }
    restorers = scratches.restorers(gives(torch.zeros(1, 3, SIDE, SIDE)), damage_mask)
    table = measure_sets(restorers, sets, scratches.score(damage_mask))
    assert list(dict.fromkeys(table["test"])) == ["5 %", "10 %", "20 %", "40 %"]
    assert table[table["method"] == "input"]["psnr"].is_monotonic_decreasing


# ---- the spectrum


def test_a_grid_of_8_px_is_a_peak_of_the_spectrum(pair):
    grid = torch.zeros(SIDE, SIDE)
    grid[::8] += 0.1
    paint = gives((0.5 * pair.target + 0.2 + grid).clamp(0, 1))
    spectrum = scratches.spectrum({"restored": lambda pair: paint(pair.input)}, [pair])["restored"]
    peaks = spectrum.loc[[0.125, 0.25, 0.375, 0.5]]
    beside = spectrum.loc[[0.125 + 1 / 32, 0.25 + 1 / 32, 0.375 + 1 / 32]]
    assert peaks.min() > beside.max() + 3
    assert len(spectrum) == scratches.GRID_BINS + 1 and spectrum.index[-1] == 0.5


def test_the_spectrum_has_a_column_for_each_restorer_and_is_0_db_for_the_target(pair):
    restorers = {"input": lambda pair: (pair.input, None), "whole": lambda pair: (pair.target, None)}
    spectrum = scratches.spectrum(restorers, [pair, undamaged(pair)])
    assert list(spectrum.columns) == ["input", "whole"]
    assert (spectrum["whole"] == 0).all() and spectrum["input"].max() > 3


# ---- validation


def method_that_gives(restored, found=None):
    return SimpleNamespace(paint=gives(restored, found))


def test_the_validator_looks_at_damaged_pairs_alone(pair):
    whole = undamaged(pair)
    validate = scratches.validator([whole, pair, whole], damage_mask)
    assert validate(method_that_gives(pair.input))["psnr"] == pytest.approx(
        row(rows_of(gives(pair.input), [pair]))["psnr"]
    )
    with pytest.raises(ValueError, match="none of the 1 pairs differ by least_damage"):
        scratches.validator([whole], damage_mask)
    with pytest.raises(ValueError, match="none of the 1 pairs differ by least_damage"):
        scratches.validator([pair], small_method(least_damage=256).mask)


def test_the_validator_leaves_out_what_cannot_be_said(pair):
    validate = scratches.validator([pair], damage_mask)
    assert set(validate(method_that_gives(pair.target))) == {"psnr", "inside"}
    found = damage_mask(pair.input, pair.target)
    assert validate(method_that_gives(pair.input, found))["f1"] == 1
