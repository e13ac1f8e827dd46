"""Pix2Pix: layers against the paper, filling against harmonic functions, steps by hand, what the refined one leaves."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoration_lib import training
from restoration_lib.degradations import damage_mask, scratched
from restoration_lib.methods.pix2pix import Pix2Pix, depth_for
from restoration_lib.networks.unet import RefinedGenerator, UNet, fill


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pix2pix(**changes):
    return Pix2Pix(**({"steps": 8, "features": 4, "depth": 3, "discriminator_features": 4} | changes))


def batch(count=2, side=64):
    truth = F.interpolate(torch.rand(count, 3, 5, 5), (side, side), mode="bilinear").mul(255).round() / 255
    return {"input": scratched(truth, torch.Generator().manual_seed(1)), "target": truth}


def test_the_unet_has_the_layers_of_the_paper():
    """C64-C128-C256-C512 x 5 down (Isola et al. 2017, section 6.1.1); 54.41 million parameters as in its own code."""
    network = UNet()
    down = [layer for part in network.down for layer in part if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in down] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert {(layer.kernel_size, layer.stride) for layer in down} == {((4, 4), (2, 2))}
    up = [layer for part in network.up for layer in part if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.in_channels for layer in up] == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    assert ["Dropout" in str(part) for part in network.up] == [True] * 3 + [False] * 5
    norms = [sum(isinstance(layer, nn.BatchNorm2d) for layer in part) for part in network.down]
    assert norms == [0, 1, 1, 1, 1, 1, 1, 0]
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(54.414e6, abs=1e3)


@pytest.mark.parametrize("shape", [(64, 64), (65, 40), (17, 99), (8, 8)])
@pytest.mark.parametrize("network", [UNet(4, 4), UNet(4, 4, upsampling="resize"), RefinedGenerator(4, 3)])
def test_a_picture_of_any_size_comes_back_at_its_size(network, shape):
    restored, damage = network.eval()(torch.rand(2, 3, *shape))
    assert restored.shape == (2, 3, *shape) and restored.isfinite().all()
    assert damage is None if isinstance(network, UNet) else damage.shape == (2, 1, *shape)


@pytest.mark.parametrize(("side", "depth"), [(256, 8), (255, 7), (128, 7), (96, 6), (64, 6), (512, 8)])
def test_the_depth_of_a_unet_follows_the_size_down_to_one_pixel(side, depth):
    assert depth_for("unet", side) == depth and depth_for("refined", side) == 3
    if side < 512:
        assert side // 2**depth == 1


def test_resize_has_no_transposed_convolution():
    assert not any(isinstance(layer, nn.ConvTranspose2d) for layer in UNet(4, 3, upsampling="resize").modules())
    assert not any(isinstance(layer, nn.ConvTranspose2d) for layer in RefinedGenerator(4, 3).modules())


def test_what_the_refined_generator_did_not_find_stays_bit_for_bit():
    network, pictures = RefinedGenerator(4, 2), torch.rand(3, 3, 40, 50)
    nn.init.zeros_(network.finder.last.bias)  # so that a fresh one finds damage in half of the pixels
    restored, damage = network.eval()(pictures)
    found = (damage > 0).expand_as(pictures)
    assert found.any() and not found.all()
    assert torch.equal(restored[~found], pictures[~found])
    assert not torch.isclose(restored[found], pictures[found]).all()


def test_the_picture_has_no_say_in_what_the_finder_learns():
    network, pictures = RefinedGenerator(4, 2), torch.rand(1, 3, 32, 32)
    nn.init.zeros_(network.finder.last.bias)
    restored, damage = network.train()(pictures)
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
    picture = F.interpolate(torch.rand(1, 3, 6, 6), (48, 48), mode="bilinear")
    mask = (scratched(torch.zeros(3, 48, 48), torch.Generator().manual_seed(3)) > 0)[None, :1].float()
    exact = np.where(mask[0].bool().numpy(), 0.5, picture[0].numpy())
    for _ in range(3000):  # Jacobi's iteration, to the end
        p = np.pad(exact, ((0, 0), (1, 1), (1, 1)), mode="edge")
        mean = (p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:]) / 4
        exact = np.where(mask[0].bool().numpy(), mean, exact)
    error = np.abs(fill(picture, mask)[0].numpy() - exact)
    assert error.max() < 0.1 and error[:, mask[0, 0].bool().numpy()].mean() < 0.015


def test_the_refined_one_fills_what_it_found_from_the_pixels_next_to_it():
    """Damage of 6 x 6 px within a white rim of one pixel, on black: the filling is white."""
    network = RefinedGenerator(4, 3)
    hole, around = torch.full((1, 1, 24, 24), -9.0), torch.zeros(1, 3, 24, 24)
    around[..., 8:16, 8:16], hole[..., 9:15, 9:15] = 1.0, 9.0
    network.finder.forward = lambda _: hole
    network.painter.forward = lambda _: torch.tensor([0.0, 0, 0, -99]).view(1, 4, 1, 1).expand(1, 4, 24, 24)
    restored, _ = network(torch.where(hole > 0, 0.0, around))
    assert torch.allclose(restored, around, atol=1e-3)


def test_filling_nothing_and_everything():
    picture = torch.rand(1, 3, 9, 7)
    assert fill(picture, torch.zeros(1, 1, 9, 7)) is picture
    assert torch.equal(fill(picture, torch.ones(1, 1, 9, 7)), torch.zeros(1, 3, 9, 7))


@pytest.mark.parametrize("l1_weight", [10.0, 100.0])
@pytest.mark.parametrize("generator", ["unet", "refined"])
def test_terms_of_a_step_equal_those_worked_out_by_hand(generator, l1_weight):
    method = pix2pix(generator=generator, l1_weight=l1_weight, ms_ssim_weight=2.0, dropout=0.0).train()
    given = batch()
    with torch.no_grad():
        restored, damage = method.generator(given["input"])
        verdicts = [method.networks["discriminator"](given["input"], x) for x in (restored, given["target"])]
    terms = method.step(given)
    assert terms["l1"].item() == pytest.approx(
        l1_weight * F.l1_loss(2 * restored - 1, 2 * given["target"] - 1).item(), rel=1e-4
    )
    assert terms["adversarial"].item() == pytest.approx(F.softplus(-verdicts[0]).mean().item(), rel=1e-4)
    assert terms["discriminator_fake"].item() == pytest.approx(F.softplus(verdicts[0]).mean().item() / 2, rel=1e-4)
    assert terms["discriminator_real"].item() == pytest.approx(F.softplus(-verdicts[1]).mean().item() / 2, rel=1e-4)
    if generator == "refined":
        mask = (given["input"] != given["target"]).any(1, keepdim=True).float()
        found = damage.sigmoid()
        dice = (2 * (found * mask).sum() + 1) / (found.sum() + mask.sum() + 1)
        by_hand = F.binary_cross_entropy(found, mask) + (1 - dice) / 2
        assert terms["mask"].item() == pytest.approx(by_hand.item(), rel=1e-4)
    names = ["l1", "ms_ssim", "adversarial"]
    assert terms["generator"].item() == pytest.approx(sum(terms[name].item() for name in names), rel=1e-5)


@pytest.mark.parametrize(
    ("generator", "expected"), [("unet", {"generator": math.inf}), ("refined", {"finder": 1.0, "painter": 100.0})]
)
def test_the_gradients_of_the_refined_generator_are_clipped_apart(generator, expected, monkeypatch):
    method, limits, update = pix2pix(generator=generator).train(), {}, Pix2Pix.update

    def noted(self, losses, name, clip=math.inf):
        limits[name] = clip
        return update(self, losses, name, clip=clip)

    monkeypatch.setattr(Pix2Pix, "update", noted)
    method.step(batch())
    assert limits == expected | {"discriminator": math.inf}


def test_learning_rates_fall_linearly_or_down_a_cosine():
    """Over 8 steps the U-Net's is constant for 4 of them, the refined one's has no time to rise."""
    for generator, name, factors in [
        ("unet", "generator", [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        ("refined", "finder", [1] + [0.5 + 0.5 * math.cos(math.pi * k / 7) for k in range(7)]),
    ]:
        method, rates = pix2pix(generator=generator, learning_rate=1.0), []
        for _ in range(8):
            rates.append(method.optimizers[name].param_groups[0]["lr"])
            method.optimizers[name].step()
            method.schedulers[name].step()
        assert rates == pytest.approx(factors)


@pytest.mark.parametrize("generator", ["unet", "refined"])
def test_a_batch_of_one_trains(generator):
    terms = pix2pix(generator=generator).train().step(batch(1))
    assert all(math.isfinite(value) for value in terms.values())


def test_a_weight_of_0_makes_no_discriminator():
    method = pix2pix(adversarial_weight=0.0)
    assert set(method.networks) == {"finder", "painter"} and "discriminator" not in method.step(batch())


def test_neither_network_gets_gradient_from_the_other_ones_loss():
    method = pix2pix(generator="unet").train()
    before = {name: [p.clone() for p in network.parameters()] for name, network in method.networks.items()}
    method.optimizers["discriminator"].param_groups[0]["lr"] = 0.0
    method.step(batch())

    def moved(name):
        pairs = zip(before[name], method.networks[name].parameters(), strict=True)
        return any(not torch.equal(one, other) for one, other in pairs)

    assert moved("generator") and not moved("discriminator")


def test_restoring_is_in_evaluation_mode_and_in_range():
    method, given = pix2pix(generator="unet"), batch()
    method.train().step(given)
    one = method.train().restore(given["input"])
    assert torch.equal(one, method.restore(given["input"])), "dropout or batch statistics at work"
    assert one.min() >= 0 and one.max() <= 1
    restored, found = pix2pix().paint(given["input"])
    assert found.dtype == torch.bool and restored.shape == given["input"].shape


@pytest.mark.slow
def test_the_refined_generator_learns_to_find_and_to_paint():
    method = pix2pix(steps=80, features=8, learning_rate=2e-3, adversarial_weight=0.0)
    given = batch(4)
    for _ in range(80):
        method.train().step(given)
    restored, found = method.paint(given["input"])
    mask = damage_mask(given["input"], given["target"])
    assert (found & mask).sum() / (found | mask).sum() > 0.7
    assert F.mse_loss(restored, given["target"]) < F.mse_loss(given["input"], given["target"]) / 5


@pytest.mark.parametrize("generator", ["unet", "refined"])
def test_stopped_training_ends_bit_for_bit_as_if_never_stopped(generator, tmp_path):
    """With dropout, whose draws come from the global generator."""
    steps = [batch(2, 32) for _ in range(6)]

    class Stop(Exception):
        pass

    class Batches(torch.utils.data.Dataset):
        def __init__(self, end):
            self.end = end

        def __len__(self):
            return len(steps)

        def __getitem__(self, step):
            if step == self.end:
                raise Stop
            return steps[step]

    def fit(folder, end=None):
        torch.manual_seed(5)
        method = pix2pix(generator=generator, steps=6)
        training.fit(method, Batches(end), tmp_path / folder, lambda method: {"score": 0.0}, interval=2)
        return method

    whole = fit("whole")
    with pytest.raises(Stop):
        fit("stopped", end=5)
    stopped = fit("stopped")
    for name, network in whole.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, stopped.networks[name].state_dict()[key]), f"{name}.{key}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator": "vnet"}, "generator: expected one of unet, refined, got 'vnet'"),
        ({"l1_weight": -1.0}, "l1_weight: expected 0 or more, got -1.0"),
        ({"generator": "unet", "depth": 1}, "depth: expected 2 or more, got 1"),
        ({"l1_weight": 0.0, "adversarial_weight": 0.0}, "every weight of the picture is 0"),
        ({"depth": 0}, "depth: expected 1 or more, got 0"),
        ({"generator": "unet", "upsampling": "bicubic"}, "upsampling: expected one of transposed, resize"),
    ],
)
def test_an_argument_that_means_nothing_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        pix2pix(**changes)
