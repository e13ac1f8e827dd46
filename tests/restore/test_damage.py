"""Damage in tiles against the generator that sees the whole image, filling in parts against filling as a whole."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

from restoration_lib.networks.refined import fill
from restoration_lib.restore import damage, tiles
from restoration_lib.restore.damage import PART, SURE, WIDEST, Filling, Mender, found, strokes
from restoration_lib.restore.levels import images_of, pixels_of


@pytest.mark.parametrize("shape", [(131, 97), (64, 64), (40, 5000), (300, 2), (1, 300), (9, 7)])
def test_filled_in_parts_is_filled_as_a_whole(shape, monkeypatch):
    monkeypatch.setattr(damage, "AT_ONCE", 500)
    rng = np.random.default_rng(0)
    pixels, mask = rng.integers(0, 256, (*shape, 3), dtype=np.uint8), rng.random(shape) < 0.3
    mask[10:60, 20:70] = True
    whole = fill(images_of(pixels), torch.from_numpy(mask).float()[None, None])
    filling = Filling(pixels, mask)
    assert filling.halvings > 1 or min(shape) < 10
    for tile in tiles.tiles(*shape, side=48, margin=3):
        assert torch.allclose(filling.part(*tile.seen), whole[..., *tile.seen], atol=1e-6)


@pytest.mark.parametrize("shape", [(203, 131), (50, 300), (3, 2), (1, 1), (1, 90)])
def test_mended_in_tiles_is_the_generators_own(of_chance, shape, monkeypatch):
    network = of_chance("scratches")
    mender = Mender(network)
    monkeypatch.setattr(tiles, "CPU_BYTES", mender.of_painter.bytes * (2 * mender.of_painter.margin + 48) ** 2)
    monkeypatch.setattr(damage, "AT_ONCE", 500)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with torch.inference_mode():
        whole, expected = network(images_of(pixels))
    logits = mender.find(pixels)
    np.testing.assert_allclose(logits, expected[0, 0], rtol=1e-3, atol=1e-3)
    mask = logits > 0
    assert min(shape) < 50 or 0.01 < mask.mean() < 0.9
    mended = mender.mend(pixels, mask, logits)
    assert np.abs(mended.astype(int) - pixels_of(whole, np.uint8, 3)).max() <= 1
    np.testing.assert_array_equal(mended[~mask], pixels[~mask])
    assert not mask.any() or (mended[mask] != pixels[mask]).any() or min(shape) < 50


def test_a_mask_from_a_person_is_painted_and_nothing_else(of_chance):
    pixels = np.random.default_rng(0).integers(0, 65536, (60, 50, 1), dtype=np.uint16)
    mask = np.zeros((60, 50), bool)
    mask[20:30, 10:40] = True
    mended = Mender(of_chance("scratches")).mend(pixels, mask)
    assert mended.dtype == np.uint16 and (mended[mask] != pixels[mask]).mean() > 0.9
    np.testing.assert_array_equal(mended[~mask], pixels[~mask])


def test_what_is_painted_grey_is_grey(of_chance):
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (60, 50, 1), dtype=np.uint8), 3, axis=2)
    mask = np.ones((60, 50), bool)
    mask[::3] = False
    mender = Mender(of_chance("scratches"))
    assert np.ptp(mender.mend(pixels, mask), axis=2).max() > 2
    assert np.ptp(mender.mend(pixels, mask, grey=True), axis=2).max() == 0


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1.5])
def test_what_is_found_is_scikit_images_hysteresis(threshold):
    logits = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 24, (90, 70)), 2).astype(np.float16)
    expected = apply_hysteresis_threshold(logits.astype(np.float32), threshold + PART, threshold + SURE)
    assert 0 < expected.sum() < (logits > threshold + PART).sum()
    np.testing.assert_array_equal(found(logits, threshold), expected)


def test_strokes_are_all_but_the_areas_that_are_mostly_wide():
    rows, columns = np.mgrid[:200, :200]
    line = abs(rows - columns) < 4  # 5 px across, from corner to corner
    knot, disc, crumb = (
        np.hypot(rows - y, columns - x) < r for y, x, r in ((100, 100, 9), (40, 150, 9), (150, 40, WIDEST / 2))
    )
    np.testing.assert_array_equal(strokes(line | knot | disc | crumb), line | knot | crumb)
    assert not strokes(np.ones((50, 50), bool)).any() and not strokes(np.zeros((1, 1), bool)).any()
