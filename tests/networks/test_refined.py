"""The refined generator: what it leaves as it was, who learns from what, its filling against harmonic functions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoration_lib.degradations.scratches import scratched
from restoration_lib.networks.refined import RefinedGenerator, fill


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", [(64, 64), (65, 40), (17, 99), (8, 8)])
def test_an_image_of_any_size_comes_back_at_its_size(shape):
    restored, damage = RefinedGenerator(4, 3).eval()(torch.rand(2, 3, *shape))
    assert restored.shape == (2, 3, *shape) and restored.isfinite().all()
    assert damage.shape == (2, 1, *shape)


def test_there_is_no_transposed_convolution():
    assert not any(isinstance(layer, nn.ConvTranspose2d) for layer in RefinedGenerator(4, 3).modules())


@pytest.mark.parametrize("depth", [-1, 0])
def test_a_depth_below_1_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth: expected a number, 1 or more, got {depth}"):
        RefinedGenerator(4, depth)


def test_a_fresh_generator_changes_little():
    images = torch.rand(3, 3, 40, 50)
    restored, damage = RefinedGenerator(4, 2).eval()(images)
    assert (damage > 0).float().mean() < 0.1
    assert (restored - images).abs().mean() < 0.05


def test_what_it_did_not_find_stays_bit_for_bit():
    network, images = RefinedGenerator(4, 2), torch.rand(3, 3, 40, 50)
    nn.init.zeros_(network.finder.last.bias)  # so that a fresh one finds damage in half of the pixels
    restored, damage = network.eval()(images)
    found = (damage > 0).expand_as(images)
    assert found.any() and not found.all()
    assert torch.equal(restored[~found], images[~found])
    assert not torch.isclose(restored[found], images[found]).all()


def test_the_image_has_no_say_in_what_the_finder_learns():
    network, images = RefinedGenerator(4, 2), torch.rand(1, 3, 32, 32)
    nn.init.zeros_(network.finder.last.bias)
    restored, damage = network.train()(images)
    (restored - 0.5).square().sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in network.finder.parameters())
    assert network.painter.last.weight.grad.abs().sum() > 0
    painted = network.painter.last.weight.grad.clone()
    damage.sum().backward()
    assert network.finder.last.weight.grad.abs().sum() > 0
    assert torch.equal(network.painter.last.weight.grad, painted)


def test_filling_continues_a_ramp():
    """A harmonic interpolation has the mean value property, so a linear ramp comes back."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 80), indexing="ij")
    ramp = torch.stack([y, x, (x + y) / 2])[None]
    mask = torch.zeros(1, 1, 64, 80)
    mask[..., 20:29, 10:60] = 1
    mask[..., :, 70:74] = 1
    filled = fill(ramp * (1 - mask) + 7 * mask, mask)
    assert torch.equal(filled[:, :, mask[0, 0] == 0], ramp[:, :, mask[0, 0] == 0])
    assert (filled - ramp).abs().max() < 0.03


def test_filling_nearly_solves_laplaces_equation():
    image = F.interpolate(torch.rand(1, 3, 6, 6), (48, 48), mode="bilinear")
    mask = (scratched(torch.zeros(3, 48, 48), torch.Generator().manual_seed(3)) > 0)[None, :1].float()
    exact = np.where(mask[0].bool().numpy(), 0.5, image[0].numpy())
    for _ in range(3000):  # Jacobi's iteration, to the end
        p = np.pad(exact, ((0, 0), (1, 1), (1, 1)), mode="edge")
        mean = (p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:]) / 4
        exact = np.where(mask[0].bool().numpy(), mean, exact)
    error = np.abs(fill(image, mask)[0].numpy() - exact)
    assert error.max() < 0.1 and error[:, mask[0, 0].bool().numpy()].mean() < 0.015


def test_it_fills_what_it_found_from_the_pixels_next_to_it():
    """Damage of 6 x 6 px within a white rim of one pixel, on black: the filling is white."""
    network = RefinedGenerator(4, 3)
    hole, around = torch.full((1, 1, 24, 24), -9.0), torch.zeros(1, 3, 24, 24)
    around[..., 8:16, 8:16], hole[..., 9:15, 9:15] = 1.0, 9.0
    network.finder.forward = lambda _: hole
    network.painter.forward = lambda _: torch.tensor([0.0, 0, 0, -99]).view(1, 4, 1, 1).expand(1, 4, 24, 24)
    restored, _ = network(torch.where(hole > 0, 0.0, around))
    assert torch.allclose(restored, around, atol=1e-3)


def test_filling_nothing_and_everything():
    image = torch.rand(1, 3, 9, 7)
    assert fill(image, torch.zeros(1, 1, 9, 7)) is image
    assert torch.equal(fill(image, torch.ones(1, 1, 9, 7)), torch.zeros(1, 3, 9, 7))
