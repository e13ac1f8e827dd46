"""Rows of restorers known beforehand, against metrics worked out by hand."""

import math
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import torch

from restoration_lib.data.datasets import Pair
from restoration_lib.evaluation import measure, metrics
from restoration_lib.evaluation.baselines import SHUFFLE_BASELINES

SCORE = measure.image_score("psnr", "ssim")


def tensor(image):
    """uint8 (H, W, 3) to (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image / 255).float().permute(2, 0, 1)[None]


def pair(name, degraded, target):
    return Pair(name, tensor(degraded), tensor(target))


def plain(level, side=12):
    return np.full((side, side, 3), level, dtype=np.uint8)


@pytest.fixture
def images(photograph, noisy):
    """Degraded image and target of two pairs of different size and damage."""
    first, second = photograph(20, 26), photograph(32, 24)
    return {"a.png": (noisy(first, 5), first), "b.png": (noisy(second, 40), second)}


@pytest.fixture
def pairs(images):
    return [pair(name, *its) for name, its in images.items()]


# ---- rows


def test_the_identity_restores_to_the_input(pairs, brighter):
    rows = measure.measure(measure.restorers(brighter(0)), pairs, SCORE)
    assert list(rows.columns) == ["image", "method", "psnr", "ssim"]
    assert rows[["image", "method"]].values.tolist() == [
        ["a.png", "input"],
        ["a.png", "restored"],
        ["b.png", "input"],
        ["b.png", "restored"],
    ]
    measured = {name: part[["psnr", "ssim"]].values for name, part in rows.groupby("method")}
    np.testing.assert_array_equal(measured["input"], measured["restored"])


def test_the_metrics_of_a_row_are_those_of_its_8_bit_images(images, pairs, brighter, by_hand):
    rows = measure.measure(measure.restorers(brighter(0)), pairs, SCORE)
    for name, (degraded, target) in images.items():
        part = rows[rows["image"] == name]
        assert part["psnr"].tolist() == [pytest.approx(by_hand.psnr(target, degraded))] * 2
        assert part["ssim"].tolist() == [pytest.approx(by_hand.ssim(target, degraded))] * 2


def test_what_the_method_restores_is_measured(brighter):
    grey = plain(100)
    pairs = [pair("a.png", grey - 10, grey), pair("b.png", grey + 10, grey)]
    rows = measure.measure(measure.restorers(brighter(10)), pairs, SCORE)
    expected = [20 * math.log10(255 / 10), math.inf, 20 * math.log10(255 / 10), 20 * math.log10(255 / 20)]
    assert rows["psnr"].tolist() == pytest.approx(expected)


def test_a_restored_image_is_measured_within_its_range(brighter):
    white = plain(255)
    pairs = [pair("a.png", white - 40, white), pair("b.png", white, white)]
    rows = measure.measure(measure.restorers(brighter(30)), pairs, SCORE)
    assert rows[rows["method"] == "restored"]["psnr"].tolist() == [pytest.approx(20 * math.log10(255 / 10)), math.inf]


def test_a_restorer_that_makes_nothing_has_no_row(pairs):
    restorers = {
        "nothing": lambda pair: None,
        "input": lambda pair: pair.input,
        "only b": lambda pair: pair.input if pair.name == "b.png" else None,
    }
    rows = measure.measure(restorers, pairs, SCORE)
    assert rows[["image", "method"]].values.tolist() == [["a.png", "input"], ["b.png", "input"], ["b.png", "only b"]]
    assert not rows.isna().any(axis=None)


def test_a_score_is_given_the_pair_and_whatever_its_restorer_made(pairs):
    rows = measure.measure({"words": lambda pair: pair.name * 2}, pairs, lambda pair, made: {"length": len(made)})
    assert rows.to_dict("records") == [{"image": name, "method": "words", "length": 10} for name in ("a.png", "b.png")]


def test_baselines_have_a_row_for_each_image(images, pairs, brighter, by_hand):
    rows = measure.measure(measure.restorers(brighter(0), SHUFFLE_BASELINES), pairs, SCORE)
    names = ["input", "restored", "median 3x3", "median 5x5", "non-local means"]
    assert rows[["image", "method"]].values.tolist() == [[p, name] for p in ("a.png", "b.png") for name in names]
    degraded, target = images["b.png"]
    median = scipy.ndimage.median_filter(degraded, (5, 5, 1), mode="nearest")
    row = rows[(rows["image"] == "b.png") & (rows["method"] == "median 5x5")].iloc[0]
    assert row["psnr"] == pytest.approx(by_hand.psnr(target, median))
    assert row["ssim"] == pytest.approx(by_hand.ssim(target, median))


def test_a_baseline_makes_an_image_of_the_8_bits_of_the_input(images, pairs):
    made = measure.filtered(SHUFFLE_BASELINES["median 3x3"], pairs[0])
    expected = scipy.ndimage.median_filter(images["a.png"][0], (3, 3, 1), mode="nearest")
    assert torch.equal(made, tensor(expected))


@pytest.mark.parametrize("name, hint", [("pnsr", "; did you mean psnr?"), ("psnr_y", ""), ("coverage", "")])
def test_a_metric_that_is_none_of_an_image_is_named_at_once(name, hint):
    with pytest.raises(ValueError, match=rf"^metrics: expected any of psnr, ssim, .*, got '{name}'{re.escape(hint)}"):
        measure.image_score("ssim", name)


def test_rows_hold_the_metrics_that_are_asked_for(images, pairs, brighter):
    score = measure.image_score("ciede2000")
    rows = measure.measure(measure.restorers(brighter(0)), pairs, score)
    assert list(rows.columns) == ["image", "method", "ciede2000"]
    degraded, target = images["a.png"]
    expected = [metrics.ciede2000(target, degraded)] * 2
    assert rows[rows["image"] == "a.png"]["ciede2000"].tolist() == pytest.approx(expected)
    means = measure.validator(pairs, measure.image_score("ciede2000", "ssim"))(brighter(0))
    assert list(means) == ["ciede2000", "ssim"]
    assert means["ciede2000"] == pytest.approx(rows["ciede2000"].mean())


def test_every_test_set_has_its_name_beside_its_rows(pairs, brighter):
    sets = {"easy": pairs[:1], "hard": pairs[1:]}
    rows = measure.measure_sets(measure.restorers(brighter(0)), sets, SCORE)
    assert rows[["test", "image", "method"]].values.tolist() == [
        ["easy", "a.png", "input"],
        ["easy", "a.png", "restored"],
        ["hard", "b.png", "input"],
        ["hard", "b.png", "restored"],
    ]
    assert rows.index.tolist() == [0, 1, 2, 3]
    alone = measure.measure(measure.restorers(brighter(0)), pairs, SCORE)
    pd.testing.assert_frame_equal(rows.drop(columns="test"), alone)


# ---- the mean of two restorers


def test_the_mean_image_lies_between_what_two_restorers_make(brighter):
    darker, lighter = (partial(measure.restored, brighter(levels)) for levels in (-20, 10))
    made = measure.mean_image(darker, lighter)(pair("a.png", plain(100), plain(90)))
    np.testing.assert_allclose(255 * made, np.full((1, 3, 12, 12), 95), atol=1e-3)


def test_the_mean_image_of_opposite_errors_has_none(brighter):
    restorers = {name: partial(measure.restored, brighter(levels)) for name, levels in (("low", -30), ("high", 30))}
    restorers["mean"] = measure.mean_image(*restorers.values())
    grey = plain(100)
    rows = measure.measure(restorers, [pair("a.png", grey, grey)], SCORE).set_index("method")
    assert rows["psnr"].to_dict() == {
        "low": pytest.approx(20 * math.log10(255 / 30)),
        "high": pytest.approx(20 * math.log10(255 / 30)),
        "mean": math.inf,
    }


def test_the_mean_image_is_that_of_each_pixel(images, pairs):
    median = partial(measure.filtered, SHUFFLE_BASELINES["median 5x5"])
    made = measure.mean_image(lambda pair: pair.input, median)(pairs[1])
    degraded = images["b.png"][0].astype(float)
    filtered = scipy.ndimage.median_filter(images["b.png"][0], (5, 5, 1), mode="nearest")
    np.testing.assert_allclose(255 * made[0].permute(1, 2, 0), (degraded + filtered) / 2, atol=1e-3)


# ---- validation


def test_the_validator_takes_the_mean_over_images(images, pairs, brighter, by_hand):
    means = measure.validator(pairs, SCORE)(brighter(0))
    degraded, targets = zip(*images.values(), strict=True)
    assert means == {
        "psnr": pytest.approx(np.mean([*map(by_hand.psnr, targets, degraded)])),
        "ssim": pytest.approx(np.mean([*map(by_hand.ssim, targets, degraded)])),
    }
    together = [np.concatenate([image.reshape(-1, 3) for image in set_]) for set_ in (targets, degraded)]
    assert abs(by_hand.psnr(*together) - means["psnr"]) > 3, "pooled pixels would give nearly the same"


def test_the_validator_leaves_out_what_no_pair_has(pairs, brighter):
    values = {"a.png": {"some": 4.0, "none": math.nan}, "b.png": {"some": math.nan, "none": math.nan}}
    assert measure.validator(pairs, lambda pair, made: values[pair.name])(brighter(0)) == {"some": 4.0}


def test_the_validator_restores_as_it_is_told(brighter):
    def twice(method, pair):
        return method.restore(method.restore(pair.input))

    validate = measure.validator([pair("a.png", plain(100), plain(100))], measure.image_score("psnr"), twice)
    assert validate(brighter(10)) == {"psnr": pytest.approx(20 * math.log10(255 / 20))}


# ---- where the errors are


def test_the_error_of_flat_images_is_that_of_the_lowest_class(brighter):
    grey = np.full((12, 15, 3), 100, dtype=np.uint8)
    pairs = [pair("a.png", grey + 10, grey), pair("b.png", grey - 2, grey)]
    rows = measure.error_by_detail(measure.restorers(brighter(5)), pairs)
    assert rows.to_dict("records") == [
        {"method": "input", "detail": 0, "share": 1, "error": pytest.approx((10 + 2) / 2, abs=1e-3)},
        {"method": "restored", "detail": 0, "share": 1, "error": pytest.approx((15 + 3) / 2, abs=1e-3)},
    ]


def test_the_classes_of_detail_cover_every_pixel_once(pairs, brighter):
    rows = measure.error_by_detail(measure.restorers(brighter(20)), pairs)
    for name, levels in (("input", 0), ("restored", 20 / 255)):
        part = rows[rows["method"] == name]
        errors = [(one.input + levels - one.target).abs().mean(1).flatten() for one in pairs]
        assert len(part) > 2
        assert part["share"].sum() == pytest.approx(1)
        assert (part["share"] * part["error"]).sum() == pytest.approx(255 * torch.cat(errors).mean().item(), rel=1e-4)


def test_the_gradient_of_a_slope_is_its_rise_per_pixel():
    slope = np.broadcast_to(np.arange(0, 160, 8, dtype=np.uint8)[None, :, None], (15, 20, 3))
    np.testing.assert_allclose(measure.gradient(tensor(slope))[1:-1, 1:-1], 8, atol=1e-6)
