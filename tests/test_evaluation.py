"""Figures of merit against formulas written out, baselines against scipy, and rows of methods known beforehand."""

import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data
import torch
from torch import nn

from restoration_lib import baselines, evaluation, metrics
from restoration_lib.data import Pair
from restoration_lib.methods.base import Method
from restoration_lib.methods.cyclegan import PATHS, CycleGAN


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


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [  # Sharma, Wu and Dalal 2005, table 1: pairs 1, 7, 17, 20 and 25
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ],
)
def test_ciede2000_has_the_published_values(first, second, difference, monkeypatch):
    monkeypatch.setattr(metrics, "rgb2lab", lambda lab: lab)
    assert metrics.ciede2000(*(np.array(lab, float).reshape(1, 1, 3) for lab in (first, second))) == pytest.approx(
        difference, abs=5e-5
    )


def test_ciede2000_is_the_mean_over_the_pixels():
    truth, picture = photograph(5, 7), noisy(photograph(5, 7), 30)
    pixels = zip(truth.reshape(-1, 1, 1, 3), picture.reshape(-1, 1, 1, 3), strict=True)
    by_pixel = [skimage.color.deltaE_ciede2000(*map(skimage.color.rgb2lab, pair)).item() for pair in pixels]
    assert metrics.ciede2000(truth, picture) == pytest.approx(np.mean(by_pixel))
    assert metrics.ciede2000(truth, truth) == 0


def lightness(level):
    """CIE L* of a grey of sRGB."""
    return 116 * np.cbrt(((level / 255 + 0.055) / 1.055) ** 2.4) - 16


def grey_difference(level, other):
    """CIEDE2000 of two greys: only the term of the lightness is left of it."""
    square = ((lightness(level) + lightness(other)) / 2 - 50) ** 2
    return abs(lightness(other) - lightness(level)) / (1 + 0.015 * square / math.sqrt(20 + square))


@pytest.mark.parametrize(("level", "other"), [(100, 130), (40, 50), (250, 200)])
def test_ciede2000_of_greys_is_their_weighted_difference_of_lightness(level, other):
    greys = (np.full((2, 3, 3), value, dtype=np.uint8) for value in (level, other))
    assert metrics.ciede2000(*greys) == pytest.approx(grey_difference(level, other), abs=0.01)


def tiled(picture, tile):
    """The picture plus a pattern (p, p) that repeats."""
    repeats = [-(-side // len(tile)) for side in picture.shape[:2]]
    pattern = np.tile(tile, repeats)[: picture.shape[0], : picture.shape[1], None]
    return (picture + pattern).round().clip(0, 255).astype(np.uint8)


def dots(period, height=16):
    tile = np.zeros((period, period))
    tile[0, 0] = height
    return tile


HARMLESS = {
    "blurred a little": lambda picture: scipy.ndimage.gaussian_filter(picture, (1, 1, 0)),
    "blurred": lambda picture: scipy.ndimage.gaussian_filter(picture, (2, 2, 0)),
    "some noise": lambda picture: noisy(picture, 5),
    "much noise": lambda picture: noisy(picture, 40),
    "a cast": lambda picture: (picture * [0.9, 0.8, 0.5] + 20).astype(np.uint8),
    "a grid of period 3": lambda picture: tiled(picture, dots(3)),
}


def large_photographs():
    return skimage.data.astronaut()[:256, 100:356], skimage.data.chelsea()[20:276, 100:356]


@pytest.mark.parametrize("name", HARMLESS)
def test_checkerboard_is_near_0_without_one(name):
    for truth in large_photographs():
        assert abs(metrics.checkerboard(truth, HARMLESS[name](truth))) < 1.2


GRIDS = {f"dots of period {period}": dots(period) for period in (2, 4, 8)} | {
    "chequers of period 2": np.array([[8, -8], [-8, 8]]),
    "chequers of period 4": np.kron([[8, -8], [-8, 8]], np.ones((2, 2))),
    "chequers of period 8": np.kron([[8, -8], [-8, 8]], np.ones((4, 4))),
}


@pytest.mark.parametrize("name", GRIDS)
def test_checkerboard_of_a_picture_with_a_grid_stands_out(name):
    for truth in large_photographs():
        assert metrics.checkerboard(truth, tiled(truth, GRIDS[name])) > 1.4


def test_checkerboard_grows_with_the_grid_and_is_0_for_equal_pictures():
    truth = large_photographs()[0]
    values = [metrics.checkerboard(truth, tiled(truth, dots(8, height))) for height in (0, 4, 8, 16, 32)]
    assert values[0] == 0 and values == sorted(values) and values[-1] > 10


@pytest.mark.parametrize("shape", [(63, 100), (100, 8)])
def test_checkerboard_of_a_small_picture_is_refused(shape):
    with pytest.raises(ValueError, match=r"checkerboard: .*64 px"):
        metrics.checkerboard(photograph(*shape), photograph(*shape))


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


def test_stretch_takes_two_percentiles_of_each_channel_to_black_and_white():
    picture = (photograph(60, 50) * [0.5, 0.4, 0.3] + [60, 30, 100]).astype(np.uint8)
    stretched = baselines.stretch(picture)
    assert (stretched.shape, stretched.dtype) == (picture.shape, np.uint8)
    for channel in range(3):
        values = np.sort(picture[..., channel].ravel())
        low, high = (np.interp(share * (values.size - 1), np.arange(values.size), values) for share in (0.001, 0.999))
        expected = (255 * (picture[..., channel] - low) / (high - low)).clip(0, 255)
        np.testing.assert_allclose(stretched[..., channel], expected, atol=1)  # rounded or cut off
        assert (stretched[..., channel].min(), stretched[..., channel].max()) == (0, 255)


@pytest.mark.filterwarnings("error")
def test_stretch_keeps_a_plain_colour():
    plain = np.full((20, 24, 3), (0, 128, 255), dtype=np.uint8)
    np.testing.assert_array_equal(baselines.stretch(plain), plain)


def test_ageing_baselines_are_the_stretch_and_a_median_after_it():
    picture = noisy(photograph(20, 24))
    named = {name: baseline(picture) for name, baseline in baselines.AGEING_BASELINES.items()}
    assert list(named) == ["stretch", "stretch + median 3x3"]
    median = scipy.ndimage.median_filter(named["stretch"], (3, 3, 1), mode="nearest")
    np.testing.assert_array_equal(named["stretch + median 3x3"], median)


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


def test_rows_hold_the_figures_that_are_asked_for(pairs):
    rows = evaluation.evaluate(Brighter(0), pairs, ["ciede2000"])
    assert list(rows.columns) == ["picture", "method", "ciede2000"]
    expected = [metrics.ciede2000(photograph(20, 26), noisy(photograph(20, 26), 5))] * 2
    assert rows[rows.picture == "a.png"].ciede2000.tolist() == pytest.approx(expected)
    figures = evaluation.validator(pairs, ["ciede2000", "ssim"])(Brighter(0))
    assert list(figures) == ["ciede2000", "ssim"]
    assert figures["ciede2000"] == pytest.approx(rows.ciede2000.mean())


# ---- translation


def grey(level):
    return torch.full((1, 3, 12, 15), level / 255)


@pytest.fixture
def translator():
    """Generator A takes 10 levels off, generator B adds 30."""
    method = CycleGAN(1, features=4, blocks=0)
    for domain, levels in (("a", -10), ("b", 30)):
        method.networks[f"average_{domain}"] = Brighter(levels).networks["generator"]
    return method


def test_translation_is_measured_in_both_directions(translator):
    pictures_b = [("y.png", grey(150)), ("z.png", grey(255))]
    rows = evaluation.evaluate_translation(translator, [("x.png", grey(100))], pictures_b).set_index("picture")
    assert rows.domain.to_dict() == {"a/x.png": "a", "b/y.png": "b", "b/z.png": "b"}
    assert set(rows.method) == {"restored"}
    levels = {  # there and back, into its own domain; and what it was and became
        "a/x.png": (20, 10, (100, 130)),
        "b/y.png": (20, 30, (150, 140)),
        "b/z.png": (0, 0, (255, 245)),  # clipped at white
    }
    for picture, (back, same, shift) in levels.items():
        row = rows.loc[picture]
        for name, error in (("round_trip", back), ("identity", same)):
            assert row[name] == (pytest.approx(20 * math.log10(255 / error)) if error else math.inf), (picture, name)
        assert row.colour_shift == pytest.approx(grey_difference(*shift), abs=0.01)


def test_translation_validator_takes_the_mean_over_all_pictures(translator):
    figures = evaluation.translation_validator([("x", grey(100))], [("y", grey(150)), ("z", grey(50))])(translator)
    shifts = [grey_difference(*levels) for levels in ((100, 130), (150, 140), (50, 40))]
    identities = [20 * math.log10(255 / levels) for levels in (10, 30, 30)]
    assert figures == {
        "round_trip": pytest.approx(20 * math.log10(255 / 20)),
        "identity": pytest.approx(np.mean(identities)),
        "colour_shift": pytest.approx(np.mean(shifts), abs=0.01),
    }


def test_the_eight_paths_lead_through_the_right_generators(translator):
    levels = {
        "real_a": 100, "fake_b": 130, "round_trip_a": 120, "identity_a": 90,
        "real_b": 150, "fake_a": 140, "round_trip_b": 170, "identity_b": 180,
    }  # fmt: skip
    found = evaluation.paths(translator, grey(100), grey(150))
    assert set(found) == set(levels) == set(PATHS)
    for name, level in levels.items():
        np.testing.assert_allclose(255 * found[name], np.full((1, 3, 12, 15), level), atol=1e-3, err_msg=name)
