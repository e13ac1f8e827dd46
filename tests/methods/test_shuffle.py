"""The adversarial restorer against steps written out by hand, its exact resume, its refusals."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restoration_lib.methods import shuffle
from restoration_lib.methods.shuffle import AdversarialRestorer, cutmix_mask

ADAM_EPSILON = 1e-8
DISCRIMINATOR_TERMS = {f"discriminator{suffix}" for suffix in ("", "_real", "_fake", "_gradient")}


def restorer(**changes):
    """The smallest one, with losses {"l1": 1} and those given as `losses`."""
    sizes = {"channels": 8, "blocks": 1, "discriminator_features": 4, "discriminator_halvings": 1}
    losses = {"l1": 1.0} | changes.pop("losses", {})
    torch.manual_seed(0)
    return AdversarialRestorer(**({"steps": 40, "losses": losses} | sizes | changes))


def random_batch(seed=0, count=3, side=8):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(count, 3, side, side, generator=generator)
    noise = 0.1 * torch.randn(target.shape, generator=generator)
    return {"input": (target + noise).clamp(0, 1), "target": target}


def logits_of(method, batch, candidate):
    with torch.no_grad():
        return method.networks["discriminator"](batch["input"], candidate).double().numpy()


def hand_bce(logits, target):
    """-t log σ(x) - (1 - t) log(1 - σ(x)), averaged."""
    sigmoid = 1 / (1 + np.exp(-logits))
    return -(target * np.log(sigmoid) + (1 - target) * np.log(1 - sigmoid)).mean()


def test_generator_steps_equal_those_written_out_by_hand():
    """Adam (Kingma and Ba 2015, algorithm 1) on the L1 loss, gradients shortened, at the warm-up's learning rates."""
    longest, beta1, beta2 = 0.4, 0.9, 0.99
    method = restorer(learning_rate=1e-3, max_grad_norm=longest)  # of 40 steps, 4 warm up
    reference = copy.deepcopy(method.networks["generator"])
    weights = list(reference.parameters())
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    norms = []
    for t in range(1, 5):
        batch = random_batch(t)
        if t > 2:  # next to the input, where all errors have one sign: a longer gradient
            batch["target"] = batch["input"] + 0.01 * batch["target"] * (torch.rand(batch["target"].shape) - 0.5)
        loss = (reference(batch["input"]) - batch["target"]).abs().mean()
        gradients = torch.autograd.grad(loss, weights)
        norms.append(math.sqrt(sum(float(g.double().square().sum()) for g in gradients)))
        with torch.no_grad():
            for w, g, m, v in zip(weights, gradients, first, second, strict=True):
                g = g * min(1, longest / norms[-1])
                m += (1 - beta1) * (g - m)
                v += (1 - beta2) * (g**2 - v)
                w -= 1e-3 * t / 4 * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + ADAM_EPSILON)
        terms = method.step(batch)
        assert terms["generator"].item() == pytest.approx(loss.item(), abs=1e-6)
        assert terms["generator_gradient"].item() == pytest.approx(norms[-1], rel=1e-4)
    assert min(norms) < longest < max(norms)  # some were shortened, some not
    for ours, expected in zip(method.networks["generator"].parameters(), weights, strict=True):
        assert (ours - expected).abs().max() < 1e-6


def test_terms_of_a_step_without_adversary():
    method = restorer(losses={"cosine": 0.5, "ms_ssim": 0.25, "mse": 2.0})
    terms = method.step(random_batch(side=16))
    assert set(terms) == {"generator", "l1", "ms_ssim", "cosine", "mse", "generator_gradient"}
    assert terms["generator"] == pytest.approx(sum(float(terms[name]) for name in ("l1", "ms_ssim", "cosine", "mse")))
    assert not any(term.requires_grad for term in terms.values())


def test_adversarial_weight_zero_makes_no_discriminator():
    method = restorer(losses={"adversarial": 0.0})
    assert all(set(part) == {"generator"} for part in (method.networks, method.optimizers, method.schedulers))
    terms = method.step(random_batch(count=1))  # one image is enough
    assert not any("discriminator" in name or "adversarial" in name for name in terms)


def test_adversarial_term_is_the_weighted_cross_entropy_of_the_logits_of_the_restored_image():
    method = restorer(losses={"adversarial": 0.3}, mixed_pairs=[])
    batch = random_batch()
    with torch.no_grad():
        restored = method.networks["generator"](batch["input"])
    expected = 0.3 * hand_bce(logits_of(method, batch, restored), 1.0)
    l1 = float((restored - batch["target"]).abs().mean())
    terms = method.step(batch)
    assert terms["adversarial"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["generator"].item() == pytest.approx(expected + l1, rel=1e-5)


def test_discriminator_terms_equal_those_worked_out_by_hand(monkeypatch):
    # on 8 x 8 pixels the logits are 2 x 2: each stands for 4 x 4 pixels
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., 0:6, 0:5] = True
    shares = np.array([[1.0, 0.25], [0.5, 0.125]])
    monkeypatch.setattr(shuffle, "cutmix_mask", lambda images: mask)

    method = restorer(losses={"adversarial": 0.3})
    batch = random_batch()
    target = batch["target"]
    with torch.no_grad():
        restored = method.networks["generator"](batch["input"])
    mixed = restored.clone()
    mixed[:, :, 0:6, 0:5] = target[:, :, 0:6, 0:5]
    candidates = {
        "real": (target, 1.0),
        "fake": (restored, 0.0),
        "mismatched": (target[[2, 0, 1]], 0.0),
        "cutmix": (mixed, np.broadcast_to(shares, (3, 1, 2, 2))),
    }
    expected = {
        pair: hand_bce(logits_of(method, batch, candidate), answer) for pair, (candidate, answer) in candidates.items()
    }
    terms = method.step(batch)
    for pair, value in expected.items():
        assert terms[f"discriminator_{pair}"].item() == pytest.approx(value, rel=1e-5), pair
    fakes = (expected["fake"] + expected["mismatched"] + expected["cutmix"]) / 3
    assert terms["discriminator"].item() == pytest.approx(expected["real"] + fakes, rel=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pairs", [[], ["mismatched"], ["cutmix"], ["mismatched", "cutmix"]], ids=str)
def test_each_mixed_pair_can_be_switched(pairs):
    terms = restorer(losses={"adversarial": 0.1}, mixed_pairs=pairs).step(random_batch())
    found = {term for term in terms if term.startswith("discriminator")}
    assert found == DISCRIMINATOR_TERMS | {f"discriminator_{pair}" for pair in pairs}
    assert all(math.isfinite(term) for term in terms.values())


def test_neither_network_gets_gradient_from_the_other_ones_loss():
    # nothing is shortened, to compare gradients as they are
    method = restorer(losses={"adversarial": 0.3}, mixed_pairs=[], max_grad_norm=1e9)
    generator, discriminator = (copy.deepcopy(method.networks[name]) for name in ("generator", "discriminator"))
    batch = random_batch()
    degraded, target = batch["input"], batch["target"]
    restored = generator(degraded)
    generator_loss = (restored - target).abs().mean() + 0.3 * F.softplus(-discriminator(degraded, restored)).mean()
    fake = F.softplus(discriminator(degraded, restored.detach())).mean()
    discriminator_loss = F.softplus(-discriminator(degraded, target)).mean() + fake

    method.step(batch)
    for network, reference, loss in (
        (method.networks["generator"], generator, generator_loss),
        (method.networks["discriminator"], discriminator, discriminator_loss),
    ):
        expected = torch.autograd.grad(loss, list(reference.parameters()))
        for parameter, gradient in zip(network.parameters(), expected, strict=True):
            assert parameter.requires_grad
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)


def test_gradients_of_both_networks_are_shortened():
    method = restorer(losses={"adversarial": 0.3}, max_grad_norm=1e-3)
    terms = method.step(random_batch())
    for name, network in method.networks.items():
        squares = sum(float(parameter.grad.double().square().sum()) for parameter in network.parameters())
        assert math.sqrt(squares) == pytest.approx(1e-3, rel=1e-2)
        assert terms[f"{name}_gradient"] > 1e-2  # before


def test_networks_move_by_their_own_learning_rates_alone():
    rates = {"learning_rate": 0.0, "discriminator_learning_rate": 1e-3}
    method = restorer(losses={"adversarial": 0.3}, mixed_pairs=[], **rates)
    before = {name: copy.deepcopy(network.state_dict()) for name, network in method.networks.items()}
    method.step(random_batch())
    moved = {
        name: any(not torch.equal(value, before[name][key]) for key, value in network.state_dict().items())
        for name, network in method.networks.items()
    }
    assert moved == {"generator": False, "discriminator": True}


def test_both_learning_rates_follow_the_schedule():
    tops = {"learning_rate": 4e-3, "discriminator_learning_rate": 8e-4}
    method = restorer(losses={"adversarial": 0.1}, mixed_pairs=[], **tops)
    rates = []
    for k in range(6):
        method.step(random_batch(k))
        rates.append([method.optimizers[name].param_groups[0]["lr"] for name in ("generator", "discriminator")])
    factors = [2 / 4, 3 / 4, 1, 1, *((1 + math.cos(math.pi * k / 36)) / 2 for k in (1, 2))]
    np.testing.assert_allclose(rates, np.outer(factors, [4e-3, 8e-4]), rtol=1e-5)


def test_mismatched_pairs_of_a_batch_of_one_are_refused_with_advice():
    with pytest.raises(ValueError, match=r"mixed_pairs: mismatched .*two.* raise batch_size"):
        restorer(losses={"adversarial": 0.1}).step(random_batch(count=1))


@pytest.mark.parametrize("pairs", [[], ["cutmix"]], ids=str)
def test_batch_of_one_works_without_mismatched_pairs(pairs):
    terms = restorer(losses={"adversarial": 0.1}, mixed_pairs=pairs).step(random_batch(count=1))
    assert all(math.isfinite(term) for term in terms.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generator": "unet"}, "generator: .*fcn, picker.*'unet'"),
        ({"losses": {"hinge": 1.0}}, "losses: .*l1, .*, adversarial.*'hinge'"),
        ({"mixed_pairs": ["cutmix", "mixup"]}, "mixed_pairs: .*mismatched, cutmix.*'mixup'"),
        ({"losses": {"l1": -1.0}}, "losses: l1: .*-1.0"),
        ({"losses": {"ms_ssim": -0.5}}, "losses: ms_ssim: .*-0.5"),
        ({"losses": {"cosine": -2}}, "losses: cosine: .*-2"),
        ({"losses": {"adversarial": -1e-3}}, "losses: adversarial: .*-0.001"),
        ({"losses": {"l1": 0.0}}, "losses: .*at least one of l1, .* above 0"),
        ({"learning_rate": -1e-3}, "learning_rate: .*-0.001"),
    ],
    ids=str,
)
def test_argument_that_means_nothing_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        restorer(**arguments)


@pytest.mark.parametrize("generator", ["fcn", "picker", "corrected_picker"])
def test_one_small_batch_is_learnt_by_heart(generator):
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 16), torch.linspace(0, 1, 16), indexing="ij")
    smooth = torch.stack([torch.stack([rows, columns, (rows + k * columns) / (1 + k)]) for k in (0.3, 1.0)])
    swapped = smooth.unfold(3, 2, 2).flip(-1).reshape(smooth.shape)  # each pixel has changed places with a neighbour
    batch = {"input": swapped, "target": smooth}
    method = restorer(steps=60, generator=generator, channels=16, learning_rate=5e-3)
    losses = [method.step(batch)["l1"].item() for _ in range(60)]
    assert losses[-1] < losses[0] / 2
    assert (method.restore(swapped) - smooth).abs().mean() < (swapped - smooth).abs().mean() / 2


def test_restore_clamps_and_keeps_no_graph():
    method = restorer()
    images = torch.cat([torch.zeros(1, 3, 7, 9), torch.ones(1, 3, 7, 9)])  # sides that two does not divide
    with torch.no_grad():
        for parameter in method.networks["generator"].parameters():
            parameter.mul_(50)
    restored = method.restore(images)
    assert restored.shape == images.shape and restored.dtype == torch.float32
    assert restored.min() >= 0 and restored.max() <= 1
    assert not restored.requires_grad
    assert not method.networks["generator"].training


def test_state_taken_back_goes_on_as_the_one_it_was_taken_from():
    options = {"losses": {"adversarial": 0.1, "ms_ssim": 0.5}}
    trained, other = restorer(**options), restorer(**options)
    for k in range(3):
        trained.step(random_batch(k, side=16))
    other.step(random_batch(9, side=16))
    other.load_state_dict(copy.deepcopy(trained.state_dict()))
    for method in (trained, other):
        torch.manual_seed(5)
        method.step(random_batch(4, side=16))
    for name, network in trained.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, other.networks[name].state_dict()[key]), f"{name}.{key}"


@pytest.mark.parametrize("generator", ["fcn", "picker", "corrected_picker"])
def test_bf16_terms_are_finite_and_in_float32(generator):
    losses = {"adversarial": 0.1, "ms_ssim": 0.5, "cosine": 0.5}
    method, reference = (restorer(generator=generator, losses=losses) for _ in range(2))
    batch = random_batch(side=16)
    method.precision = "bf16"
    seen = []
    method.networks["discriminator"].register_forward_hook(lambda module, inputs, logits: seen.append(logits.dtype))
    terms = method.step(batch)
    assert set(seen) == {torch.bfloat16}  # the networks did run in bf16
    assert all(term.dtype == torch.float32 and math.isfinite(term) for term in terms.values())
    assert method.restore(batch["input"]).dtype == torch.float32
    for name, value in reference.step(batch).items():
        if name in ("l1", "ms_ssim", "cosine"):
            assert terms[name].item() == pytest.approx(value.item(), rel=0.05), name


def test_cutmix_mask_is_one_box_inside_the_image():
    torch.manual_seed(1)
    images = torch.zeros(2, 3, 12, 20)
    covered = torch.zeros(12, 20)
    for _ in range(300):
        mask = cutmix_mask(images)
        assert mask.shape == (1, 1, 12, 20) and mask.dtype == torch.bool and mask.any()
        rows, columns = mask[0, 0].any(1).nonzero(), mask[0, 0].any(0).nonzero()
        box = torch.zeros(12, 20, dtype=torch.bool)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        assert torch.equal(mask[0, 0], box)
        covered += mask[0, 0]
    assert covered.min() > 0 and covered.max() < 300  # it falls everywhere, and nowhere always


def test_cutmix_mask_covers_a_uniform_share():
    torch.manual_seed(2)
    shares = np.sort([cutmix_mask(torch.zeros(1, 3, 48, 80)).float().mean().item() for _ in range(2000)])
    distance = np.abs(shares - (np.arange(2000) + 0.5) / 2000).max()  # Kolmogorov and Smirnov's
    assert distance < 0.05
    assert shares[-1] <= 1
