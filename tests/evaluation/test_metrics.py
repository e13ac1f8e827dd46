"""Metrics against formulas written out and published values, and the table of them."""

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data

from restoration_lib.evaluation import metrics, scratches, super_resolution, translation
from restoration_lib.evaluation.metrics import METRICS, Metric


def test_psnr_is_its_formula(photograph, noisy, by_hand):
    target = photograph(20, 30)
    assert metrics.psnr(target, noisy(target)) == pytest.approx(by_hand.psnr(target, noisy(target)))
    grey = np.full((4, 5, 3), 100, dtype=np.uint8)
    assert metrics.psnr(grey, grey + 1) == pytest.approx(48.1308, abs=1e-4)  # 20 log10 255
    assert metrics.psnr(grey + 1, grey) == metrics.psnr(grey, grey + 1)


def test_psnr_of_black_and_white_is_0():
    black = np.zeros((4, 5, 3), dtype=np.uint8)
    assert metrics.psnr(black, black + 255) == pytest.approx(0)


def test_psnr_of_equal_images_is_infinite(photograph):
    assert metrics.psnr(photograph(8, 8), photograph(8, 8)) == math.inf


@pytest.mark.parametrize(("height", "width"), [(32, 48), (11, 11), (25, 17)])
def test_ssim_is_its_formula(height, width, photograph, noisy, by_hand):
    target = photograph(height, width)
    value = metrics.ssim(target, noisy(target))
    assert isinstance(value, float)
    assert value == pytest.approx(by_hand.ssim(target, noisy(target)), abs=1e-9)
    assert metrics.ssim(target, target.copy()) == pytest.approx(1)


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


def test_ciede2000_is_the_mean_over_the_pixels(photograph, noisy):
    target, image = photograph(5, 7), noisy(photograph(5, 7), 30)
    pixels = zip(target.reshape(-1, 1, 1, 3), image.reshape(-1, 1, 1, 3), strict=True)
    by_pixel = [skimage.color.deltaE_ciede2000(*map(skimage.color.rgb2lab, pair)).item() for pair in pixels]
    assert metrics.ciede2000(target, image) == pytest.approx(np.mean(by_pixel))
    assert metrics.ciede2000(target, target) == 0


@pytest.mark.parametrize(("level", "other"), [(100, 130), (40, 50), (250, 200)])
def test_ciede2000_of_greys_is_their_weighted_difference_of_lightness(level, other, by_hand):
    greys = (np.full((2, 3, 3), value, dtype=np.uint8) for value in (level, other))
    assert metrics.ciede2000(*greys) == pytest.approx(by_hand.difference_of_greys(level, other), abs=0.01)


# ---- checkerboard


def tiled(image, tile):
    """The image plus a pattern (p, p) that repeats."""
    repeats = [-(-side // len(tile)) for side in image.shape[:2]]
    pattern = np.tile(tile, repeats)[: image.shape[0], : image.shape[1], None]
    return (image + pattern).round().clip(0, 255).astype(np.uint8)


def dots(period, height=16):
    tile = np.zeros((period, period))
    tile[0, 0] = height
    return tile


HARMLESS = {
    "blurred a little": lambda image: scipy.ndimage.gaussian_filter(image, (1, 1, 0)),
    "blurred": lambda image: scipy.ndimage.gaussian_filter(image, (2, 2, 0)),
    "a cast": lambda image: (image * [0.9, 0.8, 0.5] + 20).astype(np.uint8),
    "a grid of period 3": lambda image: tiled(image, dots(3)),
}


def large_photographs():
    return skimage.data.astronaut()[:256, 100:356], skimage.data.chelsea()[20:276, 100:356]


@pytest.mark.parametrize("name", HARMLESS)
def test_checkerboard_is_near_0_without_one(name):
    for target in large_photographs():
        assert abs(metrics.checkerboard(target, HARMLESS[name](target))) < 1.2


@pytest.mark.parametrize("deviation", [5, 40])
def test_checkerboard_of_noise_is_near_0(deviation, noisy):
    for target in large_photographs():
        assert abs(metrics.checkerboard(target, noisy(target, deviation))) < 1.2


GRIDS = {f"dots of period {period}": dots(period) for period in (2, 4, 8)} | {
    "chequers of period 2": np.array([[8, -8], [-8, 8]]),
    "chequers of period 4": np.kron([[8, -8], [-8, 8]], np.ones((2, 2))),
    "chequers of period 8": np.kron([[8, -8], [-8, 8]], np.ones((4, 4))),
}


@pytest.mark.parametrize("name", GRIDS)
def test_checkerboard_of_an_image_with_a_grid_stands_out(name):
    for target in large_photographs():
        assert metrics.checkerboard(target, tiled(target, GRIDS[name])) > 1.4


def test_checkerboard_grows_with_the_grid_and_is_0_for_equal_images():
    target = large_photographs()[0]
    values = [metrics.checkerboard(target, tiled(target, dots(8, height))) for height in (0, 4, 8, 16, 32)]
    assert values[0] == 0 and values == sorted(values) and values[-1] > 10


@pytest.mark.parametrize("shape", [(63, 100), (100, 8)])
def test_checkerboard_of_a_small_image_is_refused(shape, photograph):
    with pytest.raises(ValueError, match=r"checkerboard: .*64 px"):
        metrics.checkerboard(photograph(*shape), photograph(*shape))


# ---- the table


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_decimals_a_direction_or_none_and_a_heading_with_its_arrow(name):
    metric = METRICS[name]
    assert isinstance(metric.decimals, int) and 0 <= metric.decimals <= 4
    assert metric.better in ("↑", "↓", "")
    assert metric.name and metric.name == metric.name.strip() and not set("↑↓") & set(metric.name)
    assert metric.heading == (f"{metric.name} {metric.better}" if metric.better else metric.name)


def test_headings_are_those_of_the_tables():
    assert METRICS["psnr"].heading == "PSNR (dB) ↑" and METRICS["lpips"].heading == "LPIPS ↓"
    assert Metric("damaged part", 3, "").heading == "damaged part"
    headings = [metric.heading for metric in METRICS.values()]
    assert len(set(headings)) == len(headings)


def test_the_damaged_part_alone_has_no_direction():
    assert [name for name, metric in METRICS.items() if not metric.better] == ["coverage"]
    lower = [name for name, metric in METRICS.items() if metric.better == "↓"]
    assert lower == ["ciede2000", "checkerboard", "lpips", "colour_shift", "change", "unmasked_change"]


@pytest.mark.parametrize("name", ["psnr", "ssim", "ciede2000", "checkerboard"])
def test_the_arrow_points_where_the_less_damaged_image_is(name):
    target = large_photographs()[0]
    less, more = (METRICS[name].function(target, tiled(target, dots(8, height))) for height in (8, 32))
    assert less > more if METRICS[name].better == "↑" else less < more


def test_every_metric_of_a_score_stands_in_the_table():
    of_scores = {*scratches.NAMES, *super_resolution.NAMES, *translation.NAMES, *translation.JUDGED}
    of_images = {name for name, metric in METRICS.items() if metric.function}
    assert of_images == {"psnr", "ssim", "ciede2000", "checkerboard", "lpips"}
    assert of_scores | of_images == set(METRICS)


@pytest.mark.slow
def test_tables_are_made_without_torch():
    code = (
        "import sys, restoration_lib.evaluation.metrics, restoration_lib.experiments.tables; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
