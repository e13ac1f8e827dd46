"""Classical restoration against scipy and against windows sorted by hand."""

import numpy as np
import pytest
import scipy.ndimage

from restoration_lib.evaluation import baselines


@pytest.mark.parametrize("side", [3, 5])
def test_median_is_scipys_for_each_channel(side, photograph, noisy):
    image = noisy(photograph(14, 19))
    filtered = baselines.median_filter(image, side)
    assert filtered.dtype == np.uint8
    for channel in range(3):
        expected = scipy.ndimage.median_filter(image[..., channel], side, mode="nearest")
        np.testing.assert_array_equal(filtered[..., channel], expected)


@pytest.mark.parametrize("side", [3, 5])
def test_median_is_the_middle_of_the_sorted_window(side, photograph, noisy):
    image = noisy(photograph(9, 7))
    padded = np.pad(image, ((side // 2,) * 2, (side // 2,) * 2, (0, 0)), mode="edge")
    filtered = baselines.SHUFFLE_BASELINES[f"median {side}x{side}"](image)
    for row, column, channel in np.ndindex(image.shape):
        window = padded[row : row + side, column : column + side, channel]
        assert filtered[row, column, channel] == sorted(window.flatten())[side**2 // 2]


def test_non_local_means_improves_a_noisy_image(photograph, noisy, by_hand):
    target = scipy.ndimage.gaussian_filter(photograph(64, 64), (2, 2, 0))
    restored = baselines.non_local_means(noisy(target))
    assert (restored.shape, restored.dtype) == (target.shape, np.uint8)
    assert by_hand.psnr(target, restored) > by_hand.psnr(target, noisy(target)) + 2


def test_non_local_means_keeps_a_plain_colour():
    plain = np.full((20, 24, 3), (0, 128, 255), dtype=np.uint8)
    np.testing.assert_array_equal(baselines.non_local_means(plain), plain)


def test_stretch_takes_two_percentiles_of_each_channel_to_black_and_white(photograph):
    image = (photograph(60, 50) * [0.5, 0.4, 0.3] + [60, 30, 100]).astype(np.uint8)
    stretched = baselines.stretch(image)
    assert (stretched.shape, stretched.dtype) == (image.shape, np.uint8)
    for channel in range(3):
        values = np.sort(image[..., channel].ravel())
        low, high = (np.interp(share * (values.size - 1), np.arange(values.size), values) for share in (0.001, 0.999))
        expected = (255 * (image[..., channel] - low) / (high - low)).clip(0, 255)
        np.testing.assert_allclose(stretched[..., channel], expected, atol=1)  # rounded or cut off
        assert (stretched[..., channel].min(), stretched[..., channel].max()) == (0, 255)


@pytest.mark.filterwarnings("error")
def test_stretch_keeps_a_plain_colour():
    plain = np.full((20, 24, 3), (0, 128, 255), dtype=np.uint8)
    np.testing.assert_array_equal(baselines.stretch(plain), plain)


def test_ageing_baselines_are_the_stretch_and_a_median_after_it(photograph, noisy):
    image = noisy(photograph(20, 24))
    named = {name: baseline(image) for name, baseline in baselines.AGEING_BASELINES.items()}
    assert list(named) == ["stretch", "stretch + median 3x3"]
    median = scipy.ndimage.median_filter(named["stretch"], (3, 3, 1), mode="nearest")
    np.testing.assert_array_equal(named["stretch + median 3x3"], median)


def test_biharmonic_continues_a_slope_across_a_hole_and_keeps_the_rest():
    # of a plane every derivative that the equation asks for is 0
    slope = np.broadcast_to(np.arange(20, 220, 10, dtype=np.uint8)[None, :, None], (20, 20, 3))
    mask = np.zeros((20, 20), dtype=bool)
    mask[8:12, 6:13] = True
    damaged = np.where(mask[..., None], 255, slope).astype(np.uint8)
    np.testing.assert_allclose(baselines.biharmonic(damaged, mask), slope, atol=1)
    photo = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(baselines.biharmonic(photo, mask)[~mask], photo[~mask])


@pytest.mark.parametrize("whole", [False, True])
def test_biharmonic_leaves_an_image_alone_that_is_masked_nowhere_or_everywhere(whole, photograph):
    image = photograph(12, 14)
    np.testing.assert_array_equal(baselines.biharmonic(image, np.full((12, 14), whole)), image)


def test_no_baseline_changes_its_input(photograph, noisy):
    image = noisy(photograph(16, 16))
    before = image.copy()
    for baseline in (baselines.SHUFFLE_BASELINES | baselines.AGEING_BASELINES).values():
        baseline(image)
        np.testing.assert_array_equal(image, before)


def test_tables_begin_with_the_input_and_every_baseline_once():
    named = {*baselines.SHUFFLE_BASELINES, *baselines.AGEING_BASELINES}
    assert baselines.FIXED[0] == "input"
    assert set(baselines.FIXED) == named | {"input", "biharmonic, true mask", "biharmonic, found mask", "bicubic"}
    assert len(baselines.FIXED) == len(set(baselines.FIXED))
