"""`fcn`, and what `picker` has in common with it: sizes, gradients, shifts."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.networks.fcn import ResidualFCN
from restoration_lib.networks.picker import Picker

GENERATORS = [ResidualFCN, Picker]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# ---- both generators


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (3, 5), (17, 23), (64, 48)])
def test_an_image_of_any_size_comes_back_at_its_size(generator, height, width):
    images = torch.rand(2, 3, height, width)
    restored = generator(channels=8, blocks=1)(images)
    assert restored.shape == images.shape
    assert restored.dtype == torch.float32
    assert restored.isfinite().all()


@pytest.mark.parametrize("channels", [48, 64, 96])
def test_the_generators_are_of_equal_size(channels):
    fcn, picker = (
        sum(parameter.numel() for parameter in generator(channels, blocks=6).parameters()) for generator in GENERATORS
    )
    assert picker == pytest.approx(fcn, rel=0.05)


@pytest.mark.parametrize("generator", GENERATORS)
def test_every_parameter_gets_a_gradient(generator):
    network = generator(8, 2)
    network(torch.rand(1, 3, 9, 12)).square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_images_of_a_batch_do_not_touch_each_other(generator):
    network = generator(8, 1)
    images = torch.rand(3, 3, 10, 12)
    with torch.no_grad():
        one_by_one = torch.cat([network(image[None]) for image in images])
        np.testing.assert_allclose(network(images), one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(("down", "right"), [(2, 0), (4, 6)])
def test_an_even_shift_of_the_image_shifts_the_result(generator, down, right):
    scene = torch.rand(1, 3, 52, 52)
    network = generator(8, 1)
    margin, side = 12, 44  # three 3x3 convolutions on folded pixels reach 6 px, those at full size and the window 4
    with torch.no_grad():
        whole = network(scene[..., :side, :side])
        moved = network(scene[..., down : down + side, right : right + side])
    expected = whole[..., margin + down : side - margin, margin + right : side - margin]
    found = moved[..., margin : side - margin - down, margin : side - margin - right]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# ---- fcn


def test_fcn_starts_near_the_input():
    images = torch.rand(1, 3, 32, 32)
    assert (ResidualFCN(16, 2)(images) - images).abs().mean() < 0.1


def test_fcn_adds_its_trunk_to_the_image():
    fcn = ResidualFCN(8, 1)
    last = [layer for layer in fcn.trunk if isinstance(layer, nn.Conv2d)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    images = torch.rand(1, 3, 7, 9)
    assert torch.equal(fcn(images), images)


def test_fcn_in_bf16_adds_in_float32():
    fcn = ResidualFCN(8, 1)
    images = torch.rand(1, 3, 8, 8)
    seen = []
    fcn.trunk.register_forward_hook(lambda module, given, result: seen.append(result))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        restored = fcn(images)
    assert seen[0].dtype == torch.bfloat16
    np.testing.assert_allclose(restored.numpy(), images.numpy() + seen[0].double().numpy(), atol=1e-7)
