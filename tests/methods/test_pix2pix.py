"""Pix2Pix: steps against those worked out by hand, who learns from what, learning, exact resume."""

import math

import pytest
import torch
import torch.nn.functional as F

from restoration_lib import training
from restoration_lib.degradations.scratches import damage_mask, scratched
from restoration_lib.methods.pix2pix import Pix2Pix
from restoration_lib.networks.refined import RefinedGenerator
from restoration_lib.networks.unet import UNet

LOSSES = {"l1": 100.0, "adversarial": 1.0}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pix2pix(**changes):
    options = {"steps": 8, "features": 4, "depth": 3, "discriminator_features": 4, "losses": LOSSES}
    return Pix2Pix(**(options | changes))


def batch(count=2, side=64):
    target = F.interpolate(torch.rand(count, 3, 5, 5), (side, side), mode="bilinear").mul(255).round() / 255
    return {"input": scratched(target, torch.Generator().manual_seed(1)), "target": target}


@pytest.mark.parametrize(("crop", "depth"), [(256, 8), (255, 7), (128, 7), (96, 6), (64, 6), (512, 8)])
def test_a_depth_of_0_takes_a_unet_down_to_one_pixel_of_the_crop(crop, depth):
    network = pix2pix(generator="unet", features=1, depth=0, crop=crop).generator
    assert isinstance(network, UNet) and len(network.down) == depth
    if crop < 512:
        assert crop // 2**depth == 1


@pytest.mark.parametrize("crop", [64, 255, 512])
def test_a_depth_of_0_halves_three_times_in_the_refined_generator(crop):
    network = pix2pix(generator="refined", depth=0, crop=crop).generator
    assert isinstance(network, RefinedGenerator)
    assert len(network.finder.down) == len(network.painter.down) == 3


@pytest.mark.parametrize("generator", ["unet", "refined"])
def test_a_depth_that_is_given_is_taken(generator):
    network = pix2pix(generator=generator, depth=5).generator
    assert len((network if generator == "unet" else network.finder).down) == 5


@pytest.mark.parametrize("l1", [10.0, 100.0])
@pytest.mark.parametrize("generator", ["unet", "refined"])
def test_terms_of_a_step_equal_those_worked_out_by_hand(generator, l1):
    losses = {"l1": l1, "ms_ssim": 2.0, "mse": 3.0, "cosine": 0.0, "adversarial": 0.7}
    method = pix2pix(generator=generator, losses=losses).train()
    given = batch()
    target = given["target"]
    torch.manual_seed(2)  # dropout draws the same twice
    with torch.no_grad():
        restored, damage = method.generator(given["input"])
        logits = [method.networks["discriminator"](given["input"], x) for x in (restored, target)]
    torch.manual_seed(2)
    terms = method.step(given)
    expected = {
        "l1": l1 * F.l1_loss(2 * restored - 1, 2 * target - 1),
        "mse": 3 * F.mse_loss(restored, target),
        "adversarial": 0.7 * F.softplus(-logits[0]).mean(),
        "discriminator_fake": F.softplus(logits[0]).mean() / 2,
        "discriminator_real": F.softplus(-logits[1]).mean() / 2,
    }
    expected["discriminator"] = expected["discriminator_fake"] + expected["discriminator_real"]
    if generator == "refined":
        mask = (given["input"] != target).any(1, keepdim=True).float()
        found = damage.sigmoid()
        dice = (2 * (found * mask).sum() + 1) / (found.sum() + mask.sum() + 1)
        expected["mask"] = F.binary_cross_entropy(found, mask) + (1 - dice) / 2
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-4), name
    names = ["l1", "ms_ssim", "mse", "adversarial"]
    assert terms["generator"].item() == pytest.approx(sum(terms[name].item() for name in names), rel=1e-5)
    learning = ["generator"] if generator == "unet" else ["painter", "finder"]
    gradients = {f"{name}_gradient" for name in (*learning, "discriminator")}
    assert set(terms) == set(expected) | {"ms_ssim", "generator"} | gradients
    assert not any(term.requires_grad for term in terms.values())


@pytest.mark.parametrize(
    ("generator", "expected"), [("unet", {"generator": math.inf}), ("refined", {"finder": 1.0, "painter": 100.0})]
)
def test_the_gradients_of_the_refined_generator_are_clipped_apart(generator, expected, monkeypatch):
    method, limits, update = pix2pix(generator=generator).train(), {}, Pix2Pix.update

    def noted(self, losses, name, max_grad_norm=math.inf):
        limits[name] = max_grad_norm
        return update(self, losses, name, max_grad_norm=max_grad_norm)

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


@pytest.mark.parametrize("losses", [{"l1": 100.0}, {"l1": 100.0, "adversarial": 0.0}], ids=str)
def test_a_weight_of_0_makes_no_discriminator(losses):
    method = pix2pix(losses=losses)
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
    method = pix2pix(steps=80, features=8, learning_rate=2e-3, losses={"l1": 100.0})
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
        training.fit(method, Batches(end), tmp_path / folder, lambda method: {"score": 0.0}, validate_every=2)
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
        ({"losses": {"l1": -1.0}}, "losses: l1: expected a number, 0 or more, got -1.0"),
        ({"losses": {"adversarial": -1.0}}, "losses: adversarial: expected a number, 0 or more, got -1.0"),
        ({"losses": {"psnr": 1.0}}, "losses: expected any of l1, .*, adversarial, got 'psnr'"),
        ({"losses": {"l1": 0.0, "adversarial": 0.0}}, "losses: give at least one of l1, .* a weight above 0"),
        ({"generator": "unet", "depth": 1}, "depth: expected a number, 2 or more, got 1"),
        ({"depth": -1}, "depth: expected a number, 1 or more, got -1"),
    ],
    ids=str,
)
def test_an_argument_that_means_nothing_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        pix2pix(**changes)
