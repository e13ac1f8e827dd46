"""Figures of merit against formulas written out, baselines against scipy, and rows of methods known beforehand."""

import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import torch
from torch import nn

from restoration_lib import baselines, evaluation, metrics
from restoration_lib.data import Pair
from restoration_lib.methods.base import Method


def photograph(height, width):
    return skimage.data.astronaut()[40 : 40 + height, 180 : 180 + width].copy()


def noisy(picture, deviation=15, seed=0):
    noise = np.random.default_rng(seed).normal(0, deviation, picture.shape)
    return (picture + noise).round().clip(0, 255).astype(np.uint8)


def tensor(picture):
    """uint8 (H, W, 3) to (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(picture / 255).float().permute(2, 0, 1)[None]


def pair(name, degraded, truth):
    return Pair(name, tensor(degraded), tensor(truth))


def psnr_by_hand(truth, picture):
    error = ((truth.astype(float) - picture.astype(float)) ** 2).mean()
    return 10 * math.log10(255**2 / error)


def ssim_by_hand(truth, picture):
    """Equation 13 of Wang et al. 2004 per channel, windows of 11 pixels wholly inside, the mean of all."""
    channels = []
    for a, b in zip(np.moveaxis(truth.astype(float), 2, 0), np.moveaxis(picture.astype(float), 2, 0), strict=True):
        mean_a, mean_b, aa, bb, ab = (
            scipy.ndimage.gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5] for x in (a, b, a * a, b * b, a * b)
        )
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        above = (2 * mean_a * mean_b + c1) * (2 * (ab - mean_a * mean_b) + c2)
        below = (mean_a**2 + mean_b**2 + c1) * (aa - mean_a**2 + bb - mean_b**2 + c2)
        channels.append((above / below).mean())
    return np.mean(channels)


class Brighter(Method):
    """Adds `levels` of 255 to each pixel with a 1x1 convolution; 0 is the identity."""

    def __init__(self, levels=0):
        super().__init__()
        network = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            network.weight.copy_(torch.eye(3)[..., None, None])
            network.bias.fill_(levels / 255)
        self.networks["generator"] = network

    @torch.no_grad()
    def restore(self, pictures):
        return self.networks["generator"](pictures)


# ---- metrics


def test_psnr_is_its_formula():
    truth = photograph(20, 30)
    assert metrics.psnr(truth, noisy(truth)) == pytest.approx(psnr_by_hand(truth, noisy(truth)))
    grey = np.full((4, 5, 3), 100, dtype=np.uint8)
    assert metrics.psnr(grey, grey + 1) == pytest.approx(48.1308, abs=1e-4)  # 20 log10 255
    assert metrics.psnr(grey + 1, grey) == metrics.psnr(grey, grey + 1)


def test_psnr_of_black_and_white_is_0():
    black = np.zeros((4, 5, 3), dtype=np.uint8)
    assert metrics.psnr(black, black + 255) == pytest.approx(0)


def test_psnr_of_equal_pictures_is_infinite():
    assert metrics.psnr(photograph(8, 8), photograph(8, 8)) == math.inf


@pytest.mark.parametrize(("height", "width"), [(32, 48), (11, 11), (25, 17)])
def test_ssim_is_its_formula(height, width):
    truth = photograph(height, width)
    value = metrics.ssim(truth, noisy(truth))
    assert isinstance(value, float)
    assert value == pytest.approx(ssim_by_hand(truth, noisy(truth)), abs=1e-9)
    assert metrics.ssim(truth, truth.copy()) == pytest.approx(1)


# ---- baselines


@pytest.mark.parametrize("side", [3, 5])
def test_median_is_scipys_for_each_channel(side):
    picture = noisy(photograph(14, 19))
    filtered = baselines.median_filter(picture, side)
    assert filtered.dtype == np.uint8
    for channel in range(3):
        expected = scipy.ndimage.median_filter(picture[..., channel], side, mode="nearest")
        np.testing.assert_array_equal(filtered[..., channel], expected)


@pytest.mark.parametrize("side", [3, 5])
def test_median_is_the_middle_of_the_sorted_window(side):
    picture = noisy(photograph(9, 7))
    padded = np.pad(picture, ((side // 2,) * 2, (side // 2,) * 2, (0, 0)), mode="edge")
    filtered = baselines.SHUFFLE_BASELINES[f"median {side}x{side}"](picture)
    for row, column, channel in np.ndindex(picture.shape):
        window = padded[row : row + side, column : column + side, channel]
        assert filtered[row, column, channel] == sorted(window.flatten())[side**2 // 2]


def test_non_local_means_improves_a_noisy_picture():
    truth = scipy.ndimage.gaussian_filter(photograph(64, 64), (2, 2, 0))
    restored = baselines.non_local_means(noisy(truth))
    assert (restored.shape, restored.dtype) == (truth.shape, np.uint8)
    assert psnr_by_hand(truth, restored) > psnr_by_hand(truth, noisy(truth)) + 2


def test_non_local_means_keeps_a_plain_colour():
    plain = np.full((20, 24, 3), (0, 128, 255), dtype=np.uint8)
    np.testing.assert_array_equal(baselines.non_local_means(plain), plain)


def test_no_baseline_changes_its_input():
    picture = noisy(photograph(16, 16))
    before = picture.copy()
    for baseline in (baselines.SHUFFLE_BASELINES | baselines.AGEING_BASELINES).values():
        baseline(picture)
        np.testing.assert_array_equal(picture, before)


# ---- evaluation


@pytest.fixture
def pairs():
    """Two pairs of different size and damage."""
    first, second = photograph(20, 26), photograph(32, 24)
    return [pair("a.png", noisy(first, 5), first), pair("b.png", noisy(second, 40), second)]


def test_the_identity_restores_to_the_input(pairs):
    rows = evaluation.evaluate(Brighter(0), pairs)
    assert list(rows.columns) == ["picture", "method", "psnr", "ssim"]
    assert rows[["picture", "method"]].values.tolist() == [
        ["a.png", "input"],
        ["a.png", "restored"],
        ["b.png", "input"],
        ["b.png", "restored"],
    ]
    figures = {name: part[["psnr", "ssim"]].values for name, part in rows.groupby("method")}
    np.testing.assert_array_equal(figures["input"], figures["restored"])


def test_the_figures_of_a_row_are_those_of_its_8_bit_pictures(pairs):
    rows = evaluation.evaluate(Brighter(0), pairs)
    for name, degraded, truth in (
        ("a.png", noisy(photograph(20, 26), 5), photograph(20, 26)),
        ("b.png", noisy(photograph(32, 24), 40), photograph(32, 24)),
    ):
        part = rows[rows.picture == name]
        assert part.psnr.tolist() == [pytest.approx(psnr_by_hand(truth, degraded))] * 2
        assert part.ssim.tolist() == [pytest.approx(ssim_by_hand(truth, degraded))] * 2


def test_what_the_method_restores_is_measured():
    grey = np.full((12, 12, 3), 100, dtype=np.uint8)
    rows = evaluation.evaluate(Brighter(10), [pair("a.png", grey - 10, grey), pair("b.png", grey + 10, grey)])
    by_hand = [20 * math.log10(255 / 10), math.inf, 20 * math.log10(255 / 10), 20 * math.log10(255 / 20)]
    assert rows.psnr.tolist() == pytest.approx(by_hand)


def test_a_restored_picture_is_measured_within_its_range():
    white = np.full((12, 12, 3), 255, dtype=np.uint8)
    rows = evaluation.evaluate(Brighter(30), [pair("a.png", white - 40, white), pair("b.png", white, white)])
    assert rows[rows.method == "restored"].psnr.tolist() == [pytest.approx(20 * math.log10(255 / 10)), math.inf]


def test_the_validator_takes_the_mean_over_pictures(pairs):
    figures = evaluation.validator(pairs)(Brighter(0))
    degraded = [noisy(photograph(20, 26), 5), noisy(photograph(32, 24), 40)]
    truths = [photograph(20, 26), photograph(32, 24)]
    assert figures == {
        "psnr": pytest.approx(np.mean([*map(psnr_by_hand, truths, degraded)])),
        "ssim": pytest.approx(np.mean([*map(ssim_by_hand, truths, degraded)])),
    }
    together = [np.concatenate([picture.reshape(-1, 3) for picture in set_]) for set_ in (truths, degraded)]
    assert abs(psnr_by_hand(*together) - figures["psnr"]) > 3, "pooled pixels would give nearly the same"


def test_the_error_of_flat_pictures_is_that_of_the_lowest_class():
    grey = np.full((12, 15, 3), 100, dtype=np.uint8)
    rows = evaluation.error_by_detail(Brighter(5), [pair("a.png", grey + 10, grey), pair("b.png", grey - 2, grey)])
    assert rows.to_dict("records") == [
        {"method": "input", "detail": 0, "share": 1, "error": pytest.approx((10 + 2) / 2, abs=1e-3)},
        {"method": "restored", "detail": 0, "share": 1, "error": pytest.approx((15 + 3) / 2, abs=1e-3)},
    ]


def test_the_classes_of_detail_cover_every_pixel_once(pairs):
    rows = evaluation.error_by_detail(Brighter(20), pairs)
    for name, levels in (("input", 0), ("restored", 20 / 255)):
        part = rows[rows.method == name]
        errors = [(one.input + levels - one.target).abs().mean(1).flatten() for one in pairs]
        assert len(part) > 2
        assert part.share.sum() == pytest.approx(1)
        assert (part.share * part.error).sum() == pytest.approx(255 * torch.cat(errors).mean().item(), rel=1e-4)


def test_baselines_have_a_row_for_each_picture(pairs):
    rows = evaluation.evaluate_baselines(pairs, baselines.SHUFFLE_BASELINES)
    names = ["median 3x3", "median 5x5", "non-local means"]
    assert rows[["picture", "method"]].values.tolist() == [[p, name] for p in ("a.png", "b.png") for name in names]
    truth, degraded = photograph(32, 24), noisy(photograph(32, 24), 40)
    median = scipy.ndimage.median_filter(degraded, (5, 5, 1), mode="nearest")
    row = rows[(rows.picture == "b.png") & (rows.method == "median 5x5")].iloc[0]
    assert row.psnr == pytest.approx(psnr_by_hand(truth, median))
    assert row.ssim == pytest.approx(ssim_by_hand(truth, median))
