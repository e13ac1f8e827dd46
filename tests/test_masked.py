"""Measures inside and outside the damage, against loops over the pixels."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restoration_lib import masked
from restoration_lib.baselines import FOUND_MASK, TRUE_MASK
from restoration_lib.data import Pair, Pictures
from restoration_lib.degradations import damage_mask, scratched
from restoration_lib.methods.pix2pix import Pix2Pix

SIDE = 64


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    truth = F.interpolate(coarse, (SIDE, SIDE), mode="bilinear").mul(255).round() / 255
    damaged = scratched(truth, generator).mul(255).round() / 255
    return Pair("one", damaged, truth)


def method_that_gives(restored, found=None):
    method = Pix2Pix(1, features=4, depth=2, discriminator_features=4)
    method.paint = lambda pictures: (restored, found)
    return method


def row(table, name="restored"):
    [found] = table[table["method"] == name].to_dict("records")
    return found


def test_measures_equal_those_of_a_loop_over_the_pixels(pair):
    generator = torch.Generator().manual_seed(1)
    restored = (pair.input + 0.1 * torch.randn(pair.input.shape, generator=generator)).clamp(0, 1)
    found = torch.rand(1, 1, SIDE, SIDE, generator=generator) < 0.3
    figures = row(masked.measure(method_that_gives(restored, found), [pair]))

    truth, damaged, out = (np.rint(255 * p[0].permute(1, 2, 0).numpy()) for p in (pair.target, pair.input, restored))
    errors, changes, unmasked, hits, claimed, there = {True: [], False: []}, [], [], 0, 0, 0
    for y in range(SIDE):
        for x in range(SIDE):
            broken, said = bool((truth[y, x] != damaged[y, x]).any()), bool(found[0, 0, y, x])
            errors[broken] += list((truth[y, x] - out[y, x]) ** 2)
            if not broken:
                changes.append(abs(out[y, x] - damaged[y, x]).max())
            if not said:
                unmasked.append(abs(out[y, x] - damaged[y, x]).max())
            hits, claimed, there = hits + (broken and said), claimed + said, there + broken
    assert figures["inside"] == pytest.approx(10 * math.log10(255**2 / np.mean(errors[True])))
    assert figures["outside"] == pytest.approx(10 * math.log10(255**2 / np.mean(errors[False])))
    assert figures["psnr"] == pytest.approx(10 * math.log10(255**2 / np.mean(errors[True] + errors[False])))
    assert figures["change"] == max(changes) and figures["unmasked_change"] == max(unmasked)
    precision, recall = hits / claimed, hits / there
    assert figures["precision"] == pytest.approx(precision) and figures["recall"] == pytest.approx(recall)
    assert figures["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_perfect_restorer_and_the_rows_beside_it(pair):
    table = masked.measure(method_that_gives(pair.target, damage_mask(pair.input, pair.target)), [pair])
    assert list(table["method"]) == ["input", "restored", "median 5x5", TRUE_MASK, FOUND_MASK]
    best, untouched = row(table), row(table, "input")
    assert best["psnr"] == best["inside"] == best["outside"] == masked.PERFECT
    assert best["f1"] == best["precision"] == best["recall"] == 1 and best["change"] == best["unmasked_change"] == 0
    assert untouched["outside"] == masked.PERFECT and untouched["change"] == 0 and math.isnan(untouched["f1"])
    assert row(table, TRUE_MASK)["inside"] == row(table, FOUND_MASK)["inside"] > untouched["inside"]


def test_a_method_that_says_nothing_of_damage_has_no_f1(pair):
    table = masked.measure(method_that_gives(pair.input), [pair], filters=False)
    assert list(table["method"]) == ["input", "restored"]
    assert all(math.isnan(row(table)[name]) for name in ("f1", "precision", "recall", "unmasked_change"))


def test_an_undamaged_picture_has_no_inside_and_a_mask_that_claims_nothing_no_precision(pair):
    nothing = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    whole = Pair("whole", pair.target, pair.target)
    figures = row(masked.measure(method_that_gives(pair.target, nothing), [whole]))
    assert math.isnan(figures["inside"]) and math.isnan(figures["f1"])
    figures = row(masked.measure(method_that_gives(pair.input, nothing), [pair]))
    assert figures["precision"] == figures["recall"] == figures["f1"] == 0


def test_through_a_smaller_size_even_the_truth_loses_detail(pair):
    method = method_that_gives(None)
    method.paint = lambda pictures: (pictures, None)
    table = masked.through(method, [Pair("truth", pair.target, pair.target)], 8)
    assert row(table)["psnr"] == row(table, "input")["psnr"] < 40
    table = masked.through(method, [pair], 32)
    assert list(table["method"]) == ["input", "restored", "median 5x5", TRUE_MASK]
    assert row(table, TRUE_MASK)["inside"] > row(table, "input")["inside"]
    assert masked.restore_through(method, torch.rand(1, 3, 50, 70), 32).shape == (1, 3, 50, 70)


def test_heavy_damage_is_measured_at_each_coverage():
    pictures = Pictures(["a"], [np.full((SIDE, SIDE, 3), 90, np.uint8)])
    asked = []

    def degrade(coverage):
        asked.append(coverage)
        return lambda pictures, generator: scratched(pictures, generator, coverage=(coverage, coverage))

    table = masked.heavy(Pix2Pix(1, features=4, depth=2, discriminator_features=4), pictures, degrade, 0)
    assert asked == [0.05, 0.1, 0.2, 0.4] and list(dict.fromkeys(table["test"])) == ["5 %", "10 %", "20 %", "40 %"]
    assert table[table["method"] == "input"]["psnr"].is_monotonic_decreasing


def test_a_grid_of_8_px_is_a_peak_of_the_spectrum(pair):
    grid = torch.zeros(SIDE, SIDE)
    grid[::8] += 0.1
    method = method_that_gives((0.5 * pair.target + 0.2 + grid).clamp(0, 1))
    spectrum = masked.spectrum(method, [pair])["restored"]
    peaks = spectrum.loc[[0.125, 0.25, 0.375, 0.5]]
    beside = spectrum.loc[[0.125 + 1 / 32, 0.25 + 1 / 32, 0.375 + 1 / 32]]
    assert peaks.min() > beside.max() + 3
    assert len(spectrum) == masked.GRID_BINS + 1 and spectrum.index[-1] == 0.5


def test_the_network_finds_its_mask_where_least_damage_says(pair):
    method = Pix2Pix(1, features=4, depth=2, discriminator_features=4, least_damage=40)
    table = masked.measure(method, [pair], filters=False)
    change = 255 * (pair.input - pair.target).abs().amax(1)
    assert row(table)["coverage"] == pytest.approx((change > 39.5).float().mean().item(), abs=1e-6)


def test_the_validator_looks_at_damaged_pairs_alone(pair):
    whole = Pair("whole", pair.target, pair.target)
    validate = masked.validator([whole, pair, whole])
    assert validate(method_that_gives(pair.input))["psnr"] == pytest.approx(
        row(masked.measure(method_that_gives(pair.input), [pair]))["psnr"]
    )
    with pytest.raises(ValueError, match="none of the 1 pairs differ by least_damage"):
        masked.validator([whole])
    with pytest.raises(ValueError, match="none of the 1 pairs differ by least_damage"):
        masked.validator([pair], 256)


def test_crops_too_small_to_measure_are_refused():
    masked.require_crop("crop", 64)
    with pytest.raises(ValueError, match="test_crop: expected 64 px or more, got 63"):
        masked.require_crop("test_crop", 63)


def test_the_validator_leaves_out_what_cannot_be_said(pair):
    assert set(masked.validator([pair])(method_that_gives(pair.target))) == {"psnr", "inside"}
    found = damage_mask(pair.input, pair.target)
    assert masked.validator([pair])(method_that_gives(pair.input, found))["f1"] == 1
