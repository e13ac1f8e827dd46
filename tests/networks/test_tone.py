"""The tone generator: its curves against NumPy's interpolation, and that it changes pixels by their colour alone."""

import numpy as np
import pytest
import torch
from skimage.transform import downscale_local_mean

from restoration_lib.networks.tone import QUANTILES, SIDE, ToneGenerator, reduced


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def untrained():
    """A generator that changes much."""
    generator = ToneGenerator().eval()
    torch.nn.init.normal_(generator.head[-1].weight, std=0.1)
    return generator


@pytest.mark.parametrize("segments", [1, 5])
def test_curves_and_matrices_equal_numpys(segments):
    images = torch.rand(2, 3, 7, 9)
    tones = 0.4 * torch.randn(2, 3 * (segments + 1) + 12)
    expected = []
    for image, given in zip(images.double().numpy(), tones.double().numpy(), strict=True):
        curves = given[:-12].reshape(3, segments + 1)
        curved = []
        for channel, (start, *slopes) in zip(image, curves, strict=True):
            heights = start + np.append(0, np.exp(slopes).cumsum() / segments)
            curved.append(np.interp(channel, np.linspace(0, 1, segments + 1), heights))
        matrix = np.eye(3) + given[-12:-3].reshape(3, 3)
        expected.append(np.tensordot(matrix, curved, 1) + given[-3:, None, None])
    made = ToneGenerator().adjust(images, tones[..., None, None])
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_no_change_is_asked_for_by_zeros():
    images = torch.rand(1, 3, 5, 6)
    torch.testing.assert_close(ToneGenerator().adjust(images, torch.zeros(1, 3 * 9 + 12, 1, 1)), images)


@pytest.mark.parametrize("shape", [(64, 64), (65, 130), (1, 1), (3, 200)])
def test_an_image_of_any_size_comes_back_at_its_size(shape):
    images = torch.rand(2, 3, *shape)
    assert untrained()(images).shape == images.shape


def test_the_reduced_copy_holds_means():
    image = torch.rand(3, 2 * SIDE, 3 * SIDE)
    expected = downscale_local_mean(image.numpy(), (1, 2, 3))
    np.testing.assert_allclose(reduced(image[None])[0], expected, atol=1e-6)


def test_a_fresh_generator_changes_little():
    images = torch.rand(3, 3, 40, 50)
    assert (ToneGenerator().eval()(images) - images).abs().mean() < 0.05


def test_where_a_pixel_lies_does_not_matter():
    """Columns exchanged within the area that a pixel of the reduced copy stands for."""
    generator, images = untrained(), torch.rand(1, 3, 2 * SIDE, 2 * SIDE)
    order = torch.arange(2 * SIDE).view(-1, 2).flip(1).flatten()
    torch.testing.assert_close(generator(images[..., order]), generator(images)[..., order], atol=1e-5, rtol=1e-5)


def test_images_of_a_batch_do_not_depend_on_each_other():
    generator, images = untrained(), torch.rand(3, 3, 70, 80)
    together, alone = generator(images), torch.cat([generator(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert (together - images).abs().mean() > 0.01


def test_it_is_shown_the_quantiles_of_each_channel_and_of_the_luma():
    generator, small = untrained(), torch.rand(1, 3, SIDE, SIDE)
    shown = []
    generator.head.register_forward_pre_hook(lambda module, given: shown.append(given[0]))
    generator.measure(small)
    image = small[0].double().numpy()
    grey = np.tensordot([0.299, 0.587, 0.114], image, 1)
    expected = [np.quantile(c, QUANTILES, method="nearest") for c in (*image, grey)]
    found = (shown[0][0, -4 * len(QUANTILES) :].view(4, -1) + 1) / 2
    np.testing.assert_allclose(found, expected, atol=1e-3)
