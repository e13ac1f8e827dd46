"""The pixel shuffle against a double loop over rows and columns, and against what chance should do."""

import numpy as np
import pytest
import scipy.stats
import torch

from restoration_lib.degradations.pixel_shuffle import draw_swaps, pixel_shuffle, shuffle_order


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(height, width):
    """An image (1, H, W) whose pixels are numbered in raster order."""
    return torch.arange(height * width).view(1, height, width)


def shuffle_naively(image, pixel, partner):
    """One raster scan over a numpy image (H, W, 3), each swap with a copy held aside."""
    result = image.copy()
    height, width = image.shape[:2]
    draws = dict(zip(pixel.tolist(), partner.tolist(), strict=True))
    for row in range(height):
        for column in range(width):
            if row * width + column in draws:
                other = divmod(draws[row * width + column], width)
                kept = result[row, column].copy()
                result[row, column] = result[other].copy()
                result[other] = kept
    return result


def pixels_of(image):
    """The pixels of an image (C, H, W) as a sorted list of tuples."""
    return sorted(map(tuple, image.flatten(1).T.tolist()))


@pytest.mark.parametrize("rate", [0.3, 0.5, 1.0])
@pytest.mark.parametrize(("height", "width", "window"), [(9, 13, 5), (13, 9, 3), (1, 20, 5), (20, 1, 7), (4, 3, 11)])
def test_a_scan_equals_a_double_loop_over_real_pixels(height, width, window, rate):
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    draws = draw_swaps(height, width, rate, window, seeded())
    expected = shuffle_naively(image, *draws)
    order = shuffle_order(height * width, *draws).numpy()
    np.testing.assert_array_equal(image.reshape(-1, 3)[order].reshape(image.shape), expected)
    shuffled = pixel_shuffle(torch.from_numpy(image).permute(2, 0, 1), rate, window, seeded())
    np.testing.assert_array_equal(shuffled.permute(1, 2, 0).numpy(), expected)


def test_each_image_of_a_batch_equals_a_double_loop():
    batch = np.random.default_rng(2).random((3, 8, 11, 3), dtype=np.float32)
    generator = seeded(5)
    expected = [shuffle_naively(image, *draw_swaps(8, 11, 0.7, 5, generator)) for image in batch]
    shuffled = pixel_shuffle(torch.from_numpy(batch).permute(0, 3, 1, 2), 0.7, 5, seeded(5))
    np.testing.assert_array_equal(shuffled.permute(0, 2, 3, 1).numpy(), np.stack(expected))


def test_swaps_chain():
    # 0 1 2 -> 1 0 2 -> 1 2 0: pixel 0 travels two places, though each swap is of neighbours
    assert shuffle_order(3, torch.tensor([0, 1]), torch.tensor([1, 2])).tolist() == [1, 2, 0]


@pytest.mark.parametrize("window", [3, 5])
def test_partners_are_uniform_over_the_clipped_window_at_every_pixel(window):
    height, width, scans, radius = 6, 7, 2000, window // 2
    generator = seeded()
    partners = np.stack([draw_swaps(height, width, 1.0, window, generator)[1].numpy() for _ in range(scans)])
    for row in range(height):
        for column in range(width):
            rows = range(max(0, row - radius), min(height, row + radius + 1))
            columns = range(max(0, column - radius), min(width, column + radius + 1))
            allowed = [r * width + c for r in rows for c in columns]
            counts = np.bincount(partners[:, row * width + column], minlength=height * width)
            assert counts.sum() == counts[allowed].sum(), "a partner outside the window"
            assert scipy.stats.chisquare(counts[allowed]).pvalue > 1e-4


def test_pixels_swap_at_the_given_rate_and_in_raster_order():
    for rate in (0.1, 0.5, 0.9):
        pixel, partner = draw_swaps(100, 120, rate, 5, seeded())
        assert len(pixel) == len(partner)
        assert scipy.stats.binomtest(len(pixel), 12000, rate).pvalue > 1e-4
        assert (pixel.diff() > 0).all()
    assert draw_swaps(10, 12, 1.0, 5, seeded())[0].tolist() == list(range(120))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 10, 14), (1, 9, 5), (2, 3, 7, 12), (3, 1, 8, 6)])
def test_the_result_is_a_permutation_of_the_pixels(shape, dtype):
    images = torch.randint(0, 256, shape, generator=seeded(3)).to(dtype)
    if dtype.is_floating_point:
        images = images / 255
    before = images.clone()
    shuffled = pixel_shuffle(images, 1.0, 5, seeded())
    assert (shuffled.shape, shuffled.dtype) == (images.shape, dtype)
    assert not torch.equal(shuffled, before)
    assert torch.equal(images, before), "the input was changed"
    for one, other in zip(before.view(-1, *shape[-3:]), shuffled.view(-1, *shape[-3:]), strict=True):
        assert pixels_of(one) == pixels_of(other)


@pytest.mark.parametrize(("rate", "window"), [(0.0, 5), (1.0, 1), (0, 1)])
def test_rate_0_and_window_1_give_a_copy(rate, window):
    images = torch.rand(2, 3, 8, 9, generator=seeded())
    shuffled = pixel_shuffle(images, rate, window, seeded())
    assert torch.equal(shuffled, images)
    assert shuffled.untyped_storage().data_ptr() != images.untyped_storage().data_ptr()


def test_the_layout_in_memory_does_not_matter():
    images = torch.rand(2, 3, 8, 9, generator=seeded())
    for laid_out in (images.to(memory_format=torch.channels_last), images.mT.contiguous().mT):
        assert not laid_out.is_contiguous()
        assert torch.equal(pixel_shuffle(laid_out, 1.0, 5, seeded()), pixel_shuffle(images, 1.0, 5, seeded()))


def test_the_images_of_a_batch_get_draws_of_their_own():
    first, second = pixel_shuffle(numbered(8, 8).expand(2, 1, 8, 8), 1.0, 5, seeded())
    assert not torch.equal(first, second)


def test_the_generator_state_alone_decides():
    image = numbered(8, 8)
    generator = seeded()
    torch.manual_seed(1)
    first, next_one = (pixel_shuffle(image, 0.5, 5, generator) for _ in range(2))
    torch.manual_seed(2)
    assert torch.equal(pixel_shuffle(image, 0.5, 5, seeded()), first)
    assert not torch.equal(next_one, first)


def test_a_drawn_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    pixel_shuffle(numbered(8, 8), 0.5, 5, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fifth_of_the_pixels_ends_beyond_the_window():
    side = 224
    order = pixel_shuffle(numbered(side, side), 1.0, 5, seeded()).flatten()
    here = torch.arange(side * side)
    far = torch.maximum((order // side - here // side).abs(), (order % side - here % side).abs())
    assert (far > 2).double().mean().item() == pytest.approx(0.22, abs=0.01)
    assert 10 < far.max() < 40


@pytest.mark.parametrize("rate", [1.5, -0.1, float("nan"), float("inf")])
def test_a_rate_that_is_no_probability_is_refused(rate):
    with pytest.raises(ValueError, match=rf"\Arate: expected a number from 0 to 1, got {rate}\Z"):
        pixel_shuffle(numbered(4, 4), rate)


@pytest.mark.parametrize("window", [0, 2, 4, -1, -3])
def test_a_window_without_a_middle_is_refused(window):
    with pytest.raises(ValueError, match=rf"\Awindow: expected an odd number, 1 or more, got {window}\Z"):
        pixel_shuffle(numbered(4, 4), 0.5, window)


@pytest.mark.parametrize("shape", [(4,), (4, 4), (1, 1, 3, 4, 4)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match=r"\Aimages: expected \(N, C, H, W\) or \(C, H, W\), got shape "):
        pixel_shuffle(torch.zeros(shape), 0.5)
