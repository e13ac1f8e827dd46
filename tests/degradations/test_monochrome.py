"""Monochrome prints against curves of the luma, worked out pixel by pixel, and against Pillow's grey."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image

from restoration_lib.degradations.monochrome import GAMMA, SEPIA, luma, monochrome, print_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape):
    return torch.rand(shape, generator=seeded(99))


def grey_of(image):
    """The luma (H, W) of an image (3, H, W), by the weights of BT.601."""
    return np.tensordot((0.299, 0.587, 0.114), image.double().numpy(), 1)


def test_luma_is_pillows_grey():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    grey = luma(torch.from_numpy(pixels).permute(2, 0, 1).double())
    assert grey.shape == (1, 20, 24)
    assert np.abs(grey[0].numpy() - np.asarray(Image.fromarray(pixels).convert("L"))).max() < 0.51
    assert luma(noise(2, 4, 3, 5, 6)).shape == (2, 4, 1, 5, 6)


@pytest.mark.parametrize("dark", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("brown", [0.0, 0.5, 1.0])
def test_a_print_is_a_gamma_of_the_luma_times_a_tone_between_white_and_sepia(brown, dark):
    image = noise(3, 9, 11)
    gamma = math.exp((1 - dark) * math.log(GAMMA[0]) + dark * math.log(GAMMA[1]))
    tone = 1 + brown * (np.array(SEPIA) - 1)
    expected = grey_of(image) ** gamma * tone[:, None, None]
    [made] = print_of(image[None], torch.tensor([brown]), torch.tensor([dark]))
    assert np.abs(made.numpy() - expected).max() <= 0.5 / 255 + 1e-5
    assert torch.equal(made, (made * 255).round() / 255), "not rounded to 8 bits"


def test_every_image_of_a_batch_is_a_print_of_its_own():
    """The red channel is a curve of the luma between the lightest and the darkest one, the others are at most that."""
    image = noise(3, 12, 14)
    prints = monochrome(image.expand(50, -1, -1, -1), seeded())
    assert len({tuple(made.flatten().tolist()) for made in prints}) == 50
    grey = grey_of(image)
    for red, green, blue in prints.numpy():
        assert (grey ** GAMMA[1] - 0.51 / 255 <= red).all() and (red <= grey ** GAMMA[0] + 0.51 / 255).all()
        assert (green <= red).all() and (blue <= green).all()
        for channel, darkest in ((green, SEPIA[1]), (blue, SEPIA[2])):
            assert darkest - 0.01 <= channel.sum() / red.sum() <= 1


def test_tone_and_gamma_are_drawn_independently_and_uniformly():
    level = 0.25
    red, _, blue = monochrome(torch.full((2000, 3, 1, 1), level), seeded())[..., 0, 0].double().numpy().T
    dark = (np.log(np.log(red) / math.log(level)) - math.log(GAMMA[0])) / math.log(GAMMA[1] / GAMMA[0])
    brown = (1 - blue / red) / (1 - SEPIA[2])
    for share in (dark, brown):  # the rounding to 8 bits spreads them a little
        assert -0.05 < share.min() < 0.02 and 0.98 < share.max() < 1.05
        assert scipy.stats.kstest(share, "uniform").statistic < 0.04
    assert abs(scipy.stats.pearsonr(dark, brown).statistic) < 0.08


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 7, 9), (2, 3, 9, 7), (3, 1, 1), (1, 3, 1, 5)])
def test_shape_type_and_range_stay_and_the_input_is_not_touched(shape, dtype):
    for images in (noise(*shape).to(dtype), torch.zeros(shape, dtype=dtype), torch.ones(shape, dtype=dtype)):
        before = images.clone()
        made = monochrome(images, seeded())
        assert (made.shape, made.dtype) == (images.shape, dtype)
        assert ((made >= 0) & (made <= 1)).all(), "out of range, or not a number"
        assert torch.equal(images, before), "the input was changed"


def test_the_generator_state_alone_decides_and_the_global_one_is_left_alone():
    image, generator = noise(3, 8, 9), seeded()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = (monochrome(image, generator) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(monochrome(image, seeded()), first)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(monochrome(image), first), "without a generator, torch's own is drawn from"


@pytest.mark.parametrize(
    "wrong", [noise(1, 8, 8), noise(8, 8), noise(2, 1, 8, 8), noise(8, 8, 3), torch.zeros(3, 4, 4, dtype=torch.uint8)]
)
def test_what_is_no_colour_image_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\Aimages: expected a float tensor \(N, 3, H, W\) or \(3, H, W\), got torch"):
        monochrome(wrong)
