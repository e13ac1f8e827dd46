"""The CycleGANs: steps against those written out by hand, the images' ways, the pool, exact resume."""

import copy
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import uniform_filter
from torch import nn

from restoration_lib import training
from restoration_lib.methods.cyclegan import CycleGAN, ImagePool

ARCHITECTURES = ("old_photo", "resnet")
LOSSES = {"adversarial": 1.0, "cycle": 10.0, "identity": 5.0}
SIDE = 64


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def cyclegan(**changes):
    return CycleGAN(**({"steps": 8, "features": 4, "blocks": 1, "losses": LOSSES} | changes))


def random_batch(seed=0, count=1, side=SIDE):
    generator = torch.Generator().manual_seed(seed)
    return {domain: torch.rand(count, 3, side, side, generator=generator) for domain in ("a", "b")}


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=rtol, atol=atol)


def test_resnet_discriminator_judges_patches_of_70_px():
    discriminator = cyclegan(architecture="resnet").networks["discriminator_a"].double()
    for place, layer in enumerate(discriminator.layers):
        if isinstance(layer, nn.InstanceNorm2d):  # it ties each logit to the whole image
            discriminator.layers[place] = nn.Identity()
    image = torch.rand(1, 3, 128, 144, dtype=torch.float64, requires_grad=True)
    discriminator(image)[0, 0, 7, 8].backward()
    touched = (image.grad != 0).any(1)[0]
    for axis in (0, 1):
        places = touched.any(axis).nonzero().flatten()
        assert places.max() - places.min() + 1 == 70


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_networks_compute_on_images_from_minus_1_to_1(architecture):
    images = torch.rand(1, 3, SIDE, SIDE)
    for name, network in cyclegan(architecture=architecture).networks.items():
        network, seen = (network.module if "average" in name else network), []
        network.layers[0].register_forward_pre_hook(lambda layer, given, seen=seen: seen.append(given[0]))
        network(images)
        assert_close(seen[0], (images - 0.5) / 0.5)


# ---- steps


def hand_paths(networks, batch):
    a, b = (networks[f"generator_{domain}"] for domain in ("a", "b"))
    real_a, real_b = batch["a"], batch["b"]
    paths = {"real_a": real_a, "fake_b": b(real_a), "identity_a": a(real_a)}
    paths |= {"real_b": real_b, "fake_a": a(real_b), "identity_b": b(real_b)}
    return paths | {"round_trip_a": a(paths["fake_b"]), "round_trip_b": b(paths["fake_a"])}


def hand_terms(networks, batch, weights=LOSSES, shown=None):
    """Equations 1 to 3 of the paper, least squares for logarithms (section 4), on images in [-1, 1]."""
    paths = hand_paths(networks, batch)
    terms = {}
    for domain in ("a", "b"):
        real, fake = 2 * paths[f"real_{domain}"] - 1, paths[f"fake_{domain}"]
        logits = networks[f"discriminator_{domain}"](fake)
        terms[f"adversarial_{domain}"] = weights["adversarial"] * ((logits - 1) ** 2).mean()
        terms[f"cycle_{domain}"] = weights["cycle"] * (2 * paths[f"round_trip_{domain}"] - 1 - real).abs().mean()
        terms[f"identity_{domain}"] = weights["identity"] * (2 * paths[f"identity_{domain}"] - 1 - real).abs().mean()
    terms["generator"] = sum(terms.values())
    for domain in ("a", "b"):
        name, fake = f"discriminator_{domain}", paths[f"fake_{domain}"].detach()
        terms[f"{name}_real"] = ((networks[name](paths[f"real_{domain}"]) - 1) ** 2).mean() / 2
        terms[f"{name}_fake"] = (networks[name](fake if shown is None else shown[domain]) ** 2).mean() / 2
        terms[name] = terms[f"{name}_real"] + terms[f"{name}_fake"]
    terms["discriminator"] = terms["discriminator_a"] + terms["discriminator_b"]
    return terms


def copies(method):
    return {name: copy.deepcopy(network) for name, network in method.networks.items()}


@pytest.mark.parametrize("output", ["tanh", "residual", "colour"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_terms_of_a_step_equal_those_worked_out_by_hand(architecture, output):
    weights = {"adversarial": 2.0, "cycle": 7.0, "identity": 3.0}
    method = cyclegan(architecture=architecture, output=output, losses=weights)
    batch = random_batch(count=2)
    expected = hand_terms(copies(method), batch, weights)
    terms = method.step(batch)
    gradients = {f"{name}_gradient" for name in ("generator", "discriminator_a", "discriminator_b")}
    assert set(terms) == set(expected) | gradients
    assert not any(term.requires_grad for term in terms.values())
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_network_gets_gradient_from_the_loss_of_the_others(architecture):
    method = cyclegan(architecture=architecture)
    reference, batch = copies(method), random_batch(count=2)
    losses = hand_terms(reference, batch)
    terms = method.step(batch)
    generators = [f"generator_{domain}" for domain in ("a", "b")]
    for loss, names in (
        ("generator", generators), ("discriminator_a", ["discriminator_a"]), ("discriminator_b", ["discriminator_b"])
    ):  # fmt: skip
        weights = [parameter for name in names for parameter in reference[name].parameters()]
        expected = torch.autograd.grad(losses[loss], weights, retain_graph=True)
        found = [parameter for name in names for parameter in method.networks[name].parameters()]
        for parameter, gradient in zip(found, expected, strict=True):
            assert parameter.requires_grad
            assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in expected))
        assert terms[f"{loss}_gradient"].item() == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize(("weights", "calls"), [({}, 4), ({"identity": 0.0}, 4), ({"identity": 0.5}, 6)], ids=str)
def test_identity_of_weight_0_costs_no_call_of_a_generator(weights, calls):
    method, seen = cyclegan(losses={"adversarial": 1.0, "cycle": 10.0} | weights), []
    for domain in ("a", "b"):
        method.networks[f"generator_{domain}"].register_forward_hook(lambda *given: seen.append(given[0]))
    batch = random_batch()
    terms = method.step(batch)
    assert len(seen) == calls
    assert {name for name in terms if "identity" in name} == ({"identity_a", "identity_b"} if calls == 6 else set())
    parts = [f"{part}_{domain}" for part in ("adversarial", "cycle", "identity") for domain in ("a", "b")]
    assert terms["generator"].item() == pytest.approx(sum(float(terms[name]) for name in parts if name in terms))


def test_with_pairs_alone_generator_b_learns_and_nothing_else_does():
    method = cyclegan(losses={"pairs": 3.0})
    before, batch = copies(method), random_batch(count=2)
    batch["original"] = torch.rand(2, 3, SIDE, SIDE)
    loss = 3 * ((2 * before["generator_b"](batch["a"]) - 1) - (2 * batch["original"] - 1)).abs().mean()
    expected = torch.autograd.grad(loss, list(before["generator_b"].parameters()))
    terms = method.step(batch)
    assert set(terms) == {"generator", "pairs", "generator_gradient"}
    assert terms["generator"].item() == terms["pairs"].item() == pytest.approx(loss.item(), rel=1e-5)
    for parameter, gradient in zip(method.networks["generator_b"].parameters(), expected, strict=True):
        assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    assert set(method.networks) == {"generator_a", "generator_b", "average_a", "average_b"}
    for found, weights in zip(*(n["generator_a"].parameters() for n in (method.networks, before)), strict=True):
        assert torch.equal(found, weights)


def test_pairs_beside_the_other_terms_are_one_term_more():
    weights = LOSSES | {"pairs": 3.0}
    method = cyclegan(losses=weights)
    batch = random_batch(count=2) | {"original": torch.rand(2, 3, SIDE, SIDE)}
    expected = hand_terms(copies(method), batch)
    pairs = 6 * (method.networks["generator_b"](batch["a"]) - batch["original"]).abs().mean()
    terms = method.step(batch)
    assert terms["pairs"].item() == pytest.approx(pairs.item(), rel=1e-5)
    assert terms["generator"].item() == pytest.approx((expected["generator"] + pairs).item(), rel=1e-5)


def test_discriminators_see_their_images_through_a_box_blur_taken_twice():
    method, seen = cyclegan(discriminator_blur=5), []
    for name in ("discriminator_a", "discriminator_b"):
        method.networks[name].register_forward_hook(lambda module, given, logits: seen.append(given[0]))
    batch = random_batch()
    method.step(batch)
    assert len(seen) == 6  # in each domain: the generated image twice, the real one once
    blurred = batch["b"]
    for _ in range(2):
        blurred = torch.from_numpy(uniform_filter(blurred.numpy(), (1, 1, 5, 5)))
    inside = (..., slice(4, -4), slice(4, -4))  # at the border, the box covers what there is
    [real_b] = [image for image in seen if torch.allclose(image[inside], blurred[inside], atol=1e-5)]
    assert real_b[0, 0, 0, 0] == pytest.approx(batch["b"][0, 0, :3, :3].mean().item(), abs=0.1)


@pytest.mark.parametrize("discriminator_norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batch_of_one_works_with_every_norm(architecture, norm, discriminator_norm):
    terms = cyclegan(architecture=architecture, norm=norm, discriminator_norm=discriminator_norm).step(random_batch())
    assert all(math.isfinite(term) for term in terms.values())


def test_bf16_terms_are_finite_and_in_float32():
    method, reference = cyclegan(), cyclegan()
    reference.load_state_dict(method.state_dict())
    method.precision, seen = "bf16", []
    method.networks["discriminator_a"].register_forward_hook(lambda module, given, logits: seen.append(logits.dtype))
    terms, expected = method.step(random_batch()), reference.step(random_batch())
    assert set(seen) == {torch.bfloat16}
    assert all(term.dtype == torch.float32 and math.isfinite(term) for term in terms.values())
    for name in ("cycle_a", "cycle_b", "identity_a", "identity_b"):
        assert terms[name].item() == pytest.approx(expected[name].item(), rel=0.05), name


def test_learning_rates_are_constant_for_half_of_the_steps_then_fall_to_0():
    method = cyclegan(learning_rate=4e-3, discriminator_learning_rate=1e-3, losses={"cycle": 10.0, "adversarial": 1.0})
    names = [f"{kind}_{domain}" for kind in ("generator", "discriminator") for domain in ("a", "b")]
    used = []
    for k in range(9):
        used.append([method.optimizers[name].param_groups[0]["lr"] for name in names])
        if k < 8:
            method.step(random_batch(k))
    factors = [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]  # of 8 steps; the 0 is of a ninth
    np.testing.assert_allclose(used, np.outer(factors, [4e-3, 4e-3, 1e-3, 1e-3]), atol=1e-12)
    assert {method.optimizers[name].param_groups[0]["betas"] for name in names} == {(0.5, 0.999)}


@pytest.mark.parametrize("ema_decay", [0.0, 0.6])
def test_average_generators_follow_the_exponential_mean_of_the_weights(ema_decay):
    method, mean = cyclegan(ema_decay=ema_decay), None
    for k in range(20):
        method.step(random_batch(k))
        weight = method.networks["generator_b"].layers[0].weight.detach().double()
        decay = min(ema_decay, k / (k + 9))  # of the first k + 1 steps
        mean = weight if mean is None else decay * mean + (1 - decay) * weight
        assert_close(method.networks["average_b"].module.layers[0].weight.double(), mean, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("output", ["tanh", "colour"])
def test_translating_is_the_average_generator_in_evaluation_mode_and_in_range(output):
    method = cyclegan(output=output)
    images = torch.rand(1, 3, 37, 50).to(memory_format=torch.channels_last)  # as the networks get them
    for domain in ("a", "b"):
        with torch.no_grad():
            for parameter in method.networks[f"average_{domain}"].parameters():
                parameter.mul_(3)
            expected = method.networks[f"average_{domain}"](images).numpy().clip(0, 1)
        found = method.train().translate(images, domain)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
        assert not found.requires_grad and not method.networks[f"average_{domain}"].training
    assert torch.equal(method.restore(images), method.translate(images, "b"))


class Shift(nn.Module):
    """Stands for a generator: so many grey levels lighter."""

    def __init__(self, levels):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(levels / 255))

    def forward(self, images):
        return images + self.shift


def test_the_eight_paths_lead_through_the_right_generators():
    method = cyclegan()
    method.networks |= {"average_a": Shift(-10.0), "average_b": Shift(30.0)}
    levels = {
        "real_a": 100, "fake_b": 130, "round_trip_a": 120, "identity_a": 90,
        "real_b": 150, "fake_a": 140, "round_trip_b": 170, "identity_b": 180,
    }  # fmt: skip
    found = method.paths(*(torch.full((1, 3, 12, 15), levels[f"real_{domain}"] / 255) for domain in ("a", "b")))
    assert tuple(found) == tuple(levels)
    for name, level in levels.items():
        np.testing.assert_allclose(255 * found[name], np.full((1, 3, 12, 15), level), atol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "unet"}, "architecture: expected one of old_photo, resnet, got 'unet'"),
        ({"norm": "layer"}, "norm: expected one of batch, instance, none, got 'layer'"),
        ({"discriminator_norm": "layer"}, "discriminator_norm: expected one of batch, instance, none, got 'layer'"),
        ({"upsampling": "shuffle"}, "upsampling: expected one of transposed, resize, got 'shuffle'"),
        (
            {"upsampling": "shuffle", "architecture": "resnet"},
            "upsampling: expected one of transposed, resize, got 'shuffle'",
        ),
        ({"output": "sigmoid"}, "output: expected one of tanh, residual, colour, got 'sigmoid'"),
        ({"losses": LOSSES | {"cycle": -1.0}}, "losses: cycle: expected a number, 0 or more, got -1.0"),
        ({"losses": LOSSES | {"identity": -0.5}}, "losses: identity: expected a number, 0 or more, got -0.5"),
        ({"losses": LOSSES | {"l1": 1.0}}, "losses: expected any of adversarial, cycle, identity, pairs, got 'l1'"),
        (
            {"losses": {"cycle": 0.0}},
            "losses: give at least one of adversarial, cycle, identity, pairs a weight above 0",
        ),
        ({"pool_size": -1}, "pool_size: expected a number, 0 or more, got -1"),
        ({"discriminator_blur": 4}, "discriminator_blur: expected an odd number, 1 or more, got 4"),
        ({"discriminator_blur": -1}, "discriminator_blur: expected an odd number, 1 or more, got -1"),
        ({"ema_decay": 1.5}, "ema_decay: expected a number from 0 to 1, got 1.5"),
        ({"ema_decay": -0.1}, "ema_decay: expected a number from 0 to 1, got -0.1"),
        ({"learning_rate": -1e-4}, "generator_a: learning_rate: expected a number, 0 or more, got -0.0001"),
    ],
    ids=str,
)
def test_argument_that_means_nothing_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        cyclegan(**arguments)


# ---- the pool


def numbered(k, count=1):
    return torch.arange(k, k + count).float().view(-1, 1, 1, 1).expand(count, 3, 2, 2)


def test_pool_fills_first_and_then_gives_an_old_image_half_of_the_time():
    pool, kept, old = ImagePool(3), {0, 1, 2}, []
    assert [pool.swap(numbered(k)).unique().item() for k in range(3)] == [0, 1, 2]
    places = []
    for k in range(3, 2003):
        [shown] = pool.swap(numbered(k)).unique().tolist()
        old.append(shown != k)
        if shown != k:
            assert shown in kept
            kept = kept - {int(shown)} | {k}
            places.append([int(image[0, 0, 0]) for image in pool.images].index(k))
        assert {int(image[0, 0, 0]) for image in pool.images} == kept
    assert np.mean(old) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(np.bincount(places) / len(places), [1 / 3] * 3, atol=0.05)


def test_pool_takes_the_images_of_a_batch_one_by_one():
    pool = ImagePool(2)
    assert pool.swap(numbered(0, 2)).shape == (2, 3, 2, 2)
    shown = pool.swap(numbered(2, 40).clone().requires_grad_())
    kept = torch.stack(pool.images)
    assert sorted(torch.cat([shown, kept])[:, 0, 0, 0].tolist()) == list(range(42))  # none lost, none twice
    assert not shown.requires_grad and not kept.requires_grad


def test_pool_keeps_its_images_and_not_the_batches_that_they_came_in():
    pool = ImagePool(3)
    for k in range(20):
        pool.swap(torch.full((8, 3, 4, 4), float(k)))
    assert sum(image.untyped_storage().nbytes() for image in pool.images) == 3 * (3 * 4 * 4) * 4


def test_pool_of_size_0_keeps_nothing():
    pool = ImagePool(0)
    for k in range(20):
        assert torch.equal(pool.swap(numbered(k, 2)), numbered(k, 2))
    assert pool.images == []


def test_state_of_the_pool_comes_back_from_a_file(tmp_path):
    pool, other = ImagePool(3), ImagePool(3)
    for k in range(5):
        pool.swap(numbered(k))
    torch.save(pool.state_dict(), tmp_path / "pool.pt")
    other.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True))
    shown = []
    for taken in (pool, other):
        torch.manual_seed(1)
        shown.append([taken.swap(numbered(k)).unique().item() for k in range(10, 30)])
    assert shown[0] == shown[1] and shown[0] != list(range(10, 30))


def test_discriminators_are_shown_the_images_of_their_pools():
    method, shown, taken = cyclegan(), random_batch(5), {}
    for domain in ("a", "b"):
        swap = lambda fake, domain=domain: taken.update({domain: fake}) or shown[domain]  # noqa: E731
        method.parts[f"pool_{domain}"].swap = swap
    paths = hand_paths(copies(method), random_batch())
    expected = hand_terms(copies(method), random_batch(), shown=shown)
    terms = method.step(random_batch())
    for name in ("discriminator_a", "discriminator_b", "adversarial_a", "adversarial_b"):
        assert terms[name].item() == pytest.approx(expected[name].item(), rel=1e-5), name
    for domain, fake in taken.items():
        assert_close(fake, paths[f"fake_{domain}"])


# ---- resume


def leaves(state):
    """All that is nested in a state, flat, with the way to it."""
    if not isinstance(state, dict | list | tuple):
        return {"": state}
    inner = state.items() if isinstance(state, dict) else enumerate(state)
    return {f"{key}/{way}": leaf for key, value in inner for way, leaf in leaves(value).items()}


class Stop(BaseException):
    """What ends a training in the middle of a step."""


def train(folder, architecture, seed, stop_at=0):
    torch.manual_seed(seed)
    method = cyclegan(architecture=architecture, steps=9, pool_size=3, learning_rate=2e-3)
    step, done = method.step, method.schedulers["generator_a"]

    def stopping_step(batch):
        terms = step(batch)
        if done.last_epoch == stop_at:
            raise Stop
        return terms

    def validate(method):
        return {"mean": float(method.restore(random_batch()["a"]).mean() + torch.rand(()))}

    method.step = stopping_step
    batches = [random_batch(k, count=2) for k in range(9)]
    training.fit(method, batches, folder, validate, 4, 2, "cpu", "fp32")
    return torch.load(folder / training.LAST, weights_only=True), load_file(folder / training.BEST)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stopped_training_with_full_pools_ends_bit_for_bit_as_if_never_stopped(architecture, tmp_path):
    whole = train(tmp_path / "whole", architecture, seed=1)
    with pytest.raises(Stop):
        train(tmp_path / "parted", architecture, seed=1, stop_at=7)
    stopped = torch.load(tmp_path / "parted" / training.LAST, weights_only=True)
    assert stopped["step"] == 4 and len(stopped["method"]["parts.pool_a"]["images"]) == 3
    found, expected = (leaves(state) for state in (train(tmp_path / "parted", architecture, seed=2), whole))
    assert list(found) == list(expected)
    for way, leaf in expected.items():
        if not way.endswith("/seconds/"):
            assert torch.equal(found[way], leaf) if isinstance(leaf, torch.Tensor) else found[way] == leaf, way
