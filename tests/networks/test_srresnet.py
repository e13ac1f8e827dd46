"""SRResNet: its size against the paper, its sizes and start, the beginning of its PixelShuffles."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from restoration_lib.networks.srresnet import BAND, REACH, SRResNet, icnr


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_the_generator_has_as_many_parameters_as_srresnet():
    """1,547,350 with 16 blocks of 64 channels, one PReLU slope a layer and no bias before a BatchNorm."""
    assert sum(p.numel() for p in SRResNet(4).parameters()) == 1_547_350


def test_without_norms_each_of_33_convolutions_has_a_bias_for_the_norm_that_went():
    network = SRResNet(4, norm="none")
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert sum(p.numel() for p in network.parameters()) == 1_547_350 - 33 * (64 + 64) + 33 * 64


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("residual", [False, True])
def test_any_size_comes_back_enlarged(scale, residual):
    network = SRResNet(scale, 4, 1, norm="none", residual=residual)
    assert network(torch.rand(2, 3, 7, 11)).shape == (2, 3, 7 * scale, 11 * scale)
    assert sum(isinstance(layer, nn.PixelShuffle) for layer in network.modules()) == scale // 2


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("height", [1, BAND, BAND + 1, 2 * BAND + REACH])
def test_in_bands_it_makes_what_it_makes_at_once(scale, height):
    network = SRResNet(scale, 4, 1, norm="none", residual=True)
    nn.init.normal_(network.last.weight, std=0.1)  # as if it had learned
    images = torch.rand(2, 3, height, 9)
    at_once = network(images).detach()
    with torch.no_grad():
        np.testing.assert_allclose(network(images), at_once, atol=1e-5)


def test_without_norms_no_image_depends_on_the_others_of_its_batch():
    network, images = SRResNet(2, 4, 2, norm="none"), torch.rand(3, 3, 8, 8)
    apart = torch.cat([network(image[None]) for image in images])
    np.testing.assert_allclose(network(images).detach().numpy(), apart.detach().numpy(), atol=1e-5)


def test_residual_starts_near_pillows_bicubic():
    image = F.interpolate(torch.rand(1, 3, 4, 4), (16, 16), mode="bilinear")
    found = SRResNet(4, 8, 1, norm="none", residual=True)(image).detach()[0]
    expected = [Image.fromarray(channel.numpy()).resize((64, 64), Image.Resampling.BICUBIC) for channel in image[0]]
    expected = torch.stack([torch.from_numpy(np.array(channel)) for channel in expected])
    assert (found - expected).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 3}, "scale: expected one of 2, 4, got 3"),
        ({"norm": "layer"}, "norm: expected one of batch, instance, none, got 'layer'"),
    ],
    ids=str,
)
def test_an_option_that_means_nothing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SRResNet(**options)


def test_icnr_makes_a_pixelshuffle_repeat_pixels():
    convolution = nn.Conv2d(3, 4 * 5, 3, padding=1)
    icnr(convolution, 2)
    large = F.pixel_shuffle(convolution(torch.rand(1, 3, 6, 6)), 2)
    assert torch.allclose(large, F.interpolate(large[..., ::2, ::2], scale_factor=2, mode="nearest"))
