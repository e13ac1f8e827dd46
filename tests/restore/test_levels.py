"""Levels to images and back, what is grey, and reduced copies, against numpy."""

import numpy as np
import pytest

from restoration_lib.restore import levels as module
from restoration_lib.restore.levels import bands, images_of, is_neutral, pixels_of, reduced


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_there_and_back_nothing_is_lost(dtype, channels):
    most = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, most + 1, (50, 60, channels), dtype=dtype)
    pixels[0, 0], pixels[0, 1] = 0, most
    images = images_of(pixels)
    assert images.shape == (1, 3, 50, 60) and (images.min(), images.max()) == (0, 1)
    np.testing.assert_array_equal(pixels_of(images, dtype, channels), pixels)


def test_values_beyond_the_range_are_cut_off():
    images = images_of(np.array([[[0, 100, 255]]], np.uint8)) * 3 - 1
    np.testing.assert_array_equal(pixels_of(images, np.uint8, 3), [[[0, 45, 255]]])


@pytest.mark.parametrize(("difference", "expected"), [(0, True), (2, True), (3, False)])
def test_one_coloured_pixel_makes_a_colour_photograph(difference, expected, monkeypatch):
    monkeypatch.setattr(module, "BAND", 100)
    pixels = np.full((50, 40, 3), 100, np.uint8)
    pixels[33, 7, 1] += difference
    assert is_neutral(pixels) is expected and is_neutral(pixels[..., :1])


def test_bands_cover_all_rows_in_multiples(monkeypatch):
    monkeypatch.setattr(module, "BAND", 300)
    found = list(bands(np.zeros((50, 20, 1)), 4))
    assert [(rows.start, rows.stop) for rows in found] == [(0, 12), (12, 24), (24, 36), (36, 48), (48, 50)]


@pytest.mark.parametrize("band", [1, 200, 10**6])
def test_a_reduced_copy_has_the_means_of_blocks(band, monkeypatch):
    monkeypatch.setattr(module, "BAND", band)
    pixels = np.random.default_rng(0).integers(0, 256, (22, 31, 3), dtype=np.uint8)
    found = reduced(pixels, 4)[0].movedim(0, 2).numpy()
    expected = [[pixels[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean((0, 1)) / 255 for x in range(7)] for y in range(5)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
