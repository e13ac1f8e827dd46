"""The pixel shuffle against a double loop over rows and columns, and against what chance should do."""

import numpy as np
import pytest
import scipy.stats
import torch

from restoration_lib.degradations import draw_swaps, pixel_shuffle, shuffle_order


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(height, width):
    """A picture (1, H, W) whose pixels are numbered in raster order."""
    return torch.arange(height * width).view(1, height, width)


def shuffle_naively(picture, pixel, partner):
    """One raster scan over a numpy picture (H, W, 3), each swap with a copy held aside."""
    result = picture.copy()
    height, width = picture.shape[:2]
    draws = dict(zip(pixel.tolist(), partner.tolist(), strict=True))
    for row in range(height):
        for column in range(width):
            if row * width + column in draws:
                other = divmod(draws[row * width + column], width)
                kept = result[row, column].copy()
                result[row, column] = result[other].copy()
                result[other] = kept
    return result


def pixels_of(picture):
    """The pixels of a picture (C, H, W) as a sorted list of tuples."""
    return sorted(map(tuple, picture.flatten(1).T.tolist()))


@pytest.mark.parametrize("rate", [0.3, 0.5, 1.0])
@pytest.mark.parametrize(("height", "width", "window"), [(9, 13, 5), (13, 9, 3), (1, 20, 5), (20, 1, 7), (4, 3, 11)])
def test_a_scan_equals_a_double_loop_over_real_pixels(height, width, window, rate):
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    draws = draw_swaps(height, width, rate, window, seeded())
    expected = shuffle_naively(picture, *draws)
    order = shuffle_order(height * width, *draws).numpy()
    np.testing.assert_array_equal(picture.reshape(-1, 3)[order].reshape(picture.shape), expected)
    shuffled = pixel_shuffle(torch.from_numpy(picture).permute(2, 0, 1), rate, window, seeded())
    np.testing.assert_array_equal(shuffled.permute(1, 2, 0).numpy(), expected)


def test_each_picture_of_a_batch_equals_a_double_loop():
    batch = np.random.default_rng(2).random((3, 8, 11, 3), dtype=np.float32)
    generator = seeded(5)
    expected = [shuffle_naively(picture, *draw_swaps(8, 11, 0.7, 5, generator)) for picture in batch]
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
    pictures = torch.randint(0, 256, shape, generator=seeded(3)).to(dtype)
    if dtype.is_floating_point:
        pictures = pictures / 255
    before = pictures.clone()
    shuffled = pixel_shuffle(pictures, 1.0, 5, seeded())
    assert (shuffled.shape, shuffled.dtype) == (pictures.shape, dtype)
    assert not torch.equal(shuffled, before)
    assert torch.equal(pictures, before), "the input was changed"
    for one, other in zip(before.view(-1, *shape[-3:]), shuffled.view(-1, *shape[-3:]), strict=True):
        assert pixels_of(one) == pixels_of(other)


@pytest.mark.parametrize(("rate", "window"), [(0.0, 5), (1.0, 1), (0, 1)])
def test_rate_0_and_window_1_give_a_copy(rate, window):
    pictures = torch.rand(2, 3, 8, 9, generator=seeded())
    shuffled = pixel_shuffle(pictures, rate, window, seeded())
    assert torch.equal(shuffled, pictures)
    assert shuffled.untyped_storage().data_ptr() != pictures.untyped_storage().data_ptr()


def test_the_layout_in_memory_does_not_matter():
    pictures = torch.rand(2, 3, 8, 9, generator=seeded())
    for laid_out in (pictures.to(memory_format=torch.channels_last), pictures.mT.contiguous().mT):
        assert not laid_out.is_contiguous()
        assert torch.equal(pixel_shuffle(laid_out, 1.0, 5, seeded()), pixel_shuffle(pictures, 1.0, 5, seeded()))


def test_the_pictures_of_a_batch_get_draws_of_their_own():
    first, second = pixel_shuffle(numbered(8, 8).expand(2, 1, 8, 8), 1.0, 5, seeded())
    assert not torch.equal(first, second)


def test_the_generator_state_alone_decides():
    picture = numbered(8, 8)
    generator = seeded()
    torch.manual_seed(1)
    first, next_one = (pixel_shuffle(picture, 0.5, 5, generator) for _ in range(2))
    torch.manual_seed(2)
    assert torch.equal(pixel_shuffle(picture, 0.5, 5, seeded()), first)
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
    with pytest.raises(ValueError, match="rate"):
        pixel_shuffle(numbered(4, 4), rate)


@pytest.mark.parametrize("window", [0, 2, 4, -1, -3])
def test_a_window_without_a_middle_is_refused(window):
    with pytest.raises(ValueError, match="window"):
        pixel_shuffle(numbered(4, 4), 0.5, window)


@pytest.mark.parametrize("shape", [(4,), (4, 4), (1, 1, 3, 4, 4)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match="pictures"):
        pixel_shuffle(torch.zeros(shape), 0.5)
