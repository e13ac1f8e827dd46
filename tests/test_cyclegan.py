"""The CycleGANs: layers against the papers' lists, steps against those written out by hand, the pool, exact resume."""

import copy
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import uniform_filter
from torch import nn

from restoration_lib import baselines, training
from restoration_lib.images import to_tensor, to_uint8
from restoration_lib.methods.cyclegan import CycleGAN, PicturePool, stretch
from restoration_lib.networks import cyclegan as networks
from restoration_lib.networks.cyclegan import OldPhotoDiscriminator, OldPhotoGenerator, ResnetGenerator
from restoration_lib.networks.discriminators import PatchGAN

GENERATORS = {"s0": OldPhotoGenerator, "s3": ResnetGenerator}
SIDE = 64


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def cyclegan(**changes):
    return CycleGAN(**({"steps": 8, "features": 4, "blocks": 1} | changes))


def random_batch(seed=0, count=1, side=SIDE):
    generator = torch.Generator().manual_seed(seed)
    return {domain: torch.rand(count, 3, side, side, generator=generator) for domain in ("a", "b")}


def layers(network, *kinds):
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=rtol, atol=atol)


def test_restore_means_the_translation_and_the_stretch_of_scikit_image():
    pictures = 0.2 + 0.5 * random_batch(count=2)["a"]
    pictures[1] *= torch.tensor([0.5, 1.0, 1.2]).view(3, 1, 1)
    pictures = (255 * pictures).round() / 255
    alone, half = cyclegan(), cyclegan(stretch_weight=0.5)
    half.load_state_dict(alone.state_dict())
    expected = torch.stack([to_tensor(baselines.stretch(picture)) for picture in to_uint8(pictures)])
    assert (stretch(pictures) - expected).abs().max() < 1.1 / 255
    assert_close(half.restore(pictures), (alone.restore(pictures) + stretch(pictures)) / 2)
    assert_close(half.translate(pictures, "b"), alone.restore(pictures))
    assert torch.isfinite(stretch(torch.full((1, 3, 8, 8), 0.3))).all()
    large = torch.rand(1, 3, 1500, 1400)
    assert (stretch(large) - large).abs().max() < 0.01
    with pytest.raises(ValueError, match="stretch_weight: expected a number from 0 to 1"):
        cyclegan(stretch_weight=1.5)


# ---- generators


def test_s0_generator_is_three_convolutions_six_blocks_three_transposed_convolutions():
    generator = OldPhotoGenerator()
    assert [(c.in_channels, c.out_channels, c.stride) for c in layers(generator, nn.Conv2d)] == [
        *((i, o, (2, 2)) for i, o in ((3, 64), (64, 128), (128, 256))),
        *[(256, 256, (1, 1))] * 12,
    ]
    up = layers(generator, nn.ConvTranspose2d)
    assert [(c.in_channels, c.out_channels, c.stride) for c in up] == [
        (256, 128, (2, 2)), (128, 64, (2, 2)), (64, 3, (2, 2))
    ]  # fmt: skip
    assert len(layers(generator, nn.LeakyReLU)) == 3
    resize = OldPhotoGenerator(4, 1, upsampling="resize")
    assert len(layers(resize, nn.Upsample)) == 3 and not layers(resize, nn.ConvTranspose2d)


@pytest.mark.parametrize("kind", GENERATORS)
def test_blocks_that_run_again_in_the_backward_pass_give_the_same_gradients(kind, monkeypatch):
    pictures, gradients = random_batch(side=32)["a"], []
    for large in (networks.LARGE, 32 * 32):
        monkeypatch.setattr(networks, "LARGE", large)
        torch.manual_seed(0)
        generator = GENERATORS[kind](4, 2)
        generator(pictures).square().sum().backward()
        gradients.append([parameter.grad for parameter in generator.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_s3_generator_has_the_layers_of_the_paper():
    """c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-3 (Zhu et al. 2017, appendix 7.2)."""
    generator = ResnetGenerator()
    found = [
        (type(c), c.kernel_size[0], c.stride[0], c.out_channels)
        for c in layers(generator, nn.Conv2d, nn.ConvTranspose2d)
    ]
    convolution, transposed = nn.Conv2d, nn.ConvTranspose2d
    assert found == [
        (convolution, 7, 1, 64), (convolution, 3, 2, 128), (convolution, 3, 2, 256),
        *[(convolution, 3, 1, 256)] * 18,
        (transposed, 3, 2, 128), (transposed, 3, 2, 64), (convolution, 7, 1, 3),
    ]  # fmt: skip
    assert [n.num_features for n in layers(generator, nn.InstanceNorm2d)] == [64, 128, 256, *[256] * 18, 128, 64]


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_s3_generator_has_the_parameters_of_the_paper_but_for_the_norms(upsampling):
    reference = 11_378_179  # of the authors' implementation: a bias at each convolution, norms without parameters
    normed = 64 + 128 + 256 + 18 * 256 + 128 + 64
    expected = reference + normed  # ours: weight and bias of a norm for each bias before it
    assert size(ResnetGenerator(upsampling=upsampling)) == expected
    assert size(ResnetGenerator(upsampling=upsampling, norm="none")) == expected - normed


@pytest.mark.parametrize("system", GENERATORS)
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("shape", [(64, 64), (65, 71), (62, 47)])
def test_a_picture_of_any_size_comes_back_at_its_size_and_in_range(system, upsampling, norm, shape):
    pictures = torch.rand(1, 3, *shape)
    generator = GENERATORS[system](4, 1, upsampling, norm)
    for parameter in generator.layers[-1].parameters():
        nn.init.normal_(parameter, std=20)  # far into the ends of tanh
    drawn = generator(pictures)
    assert drawn.shape == pictures.shape
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert ((drawn < 0.01) | (drawn > 0.99)).any()


@pytest.mark.parametrize("system", GENERATORS)
def test_a_plain_colour_stays_plain_up_to_the_borders(system):
    generator = GENERATORS[system](8, 2, upsampling="resize", norm="none")
    drawn = generator(torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 61, 70))
    assert_close(drawn, drawn[..., :1, :1].expand_as(drawn))


@pytest.mark.parametrize("system", GENERATORS)
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_colour_output_is_a_matrix_and_an_offset_for_each_pixel(system, upsampling):
    generator = GENERATORS[system](4, 1, upsampling, norm="none", output="colour")
    pictures = torch.rand(2, 3, 21, 30)
    assert (generator(pictures) - pictures).abs().mean() < 0.15  # it starts near the picture
    last = generator.layers[-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    assert_close(generator(pictures), pictures)
    matrix, offset = torch.randn(3, 3), torch.randn(3)
    with torch.no_grad():
        last.bias.copy_(torch.cat([matrix.flatten(), offset]))
    x = 2 * pictures.movedim(1, -1).numpy() - 1
    expected = (x + x @ matrix.numpy().T + offset.numpy() + 1) / 2
    np.testing.assert_allclose(generator(pictures).detach().movedim(1, -1).numpy(), expected, atol=1e-5)


# ---- discriminators


def test_s0_discriminator_halves_five_times():
    discriminator = OldPhotoDiscriminator(patch_output=True)
    found = [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in layers(discriminator, nn.Conv2d)]
    assert found == [
        (i, o, (4, 4), (2, 2)) for i, o in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1))
    ]  # fmt: skip
    order = [type(layer) for layer in discriminator.layers]
    assert order == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 4 + [nn.Conv2d]
    assert OldPhotoDiscriminator(2, patch_output=True)(torch.rand(1, 3, 512, 512)).shape == (1, 1, 16, 16)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_s0_verdict_is_the_mean_of_its_map(norm):
    discriminator, pictures = OldPhotoDiscriminator(4, norm, patch_output=True), torch.rand(2, 3, 96, 128)
    patches = discriminator(pictures)
    assert patches.shape == (2, 1, 3, 4)
    discriminator.patch_output = False
    verdict = discriminator(pictures)
    assert verdict.shape == (2, 1, 1, 1)
    np.testing.assert_allclose(verdict.detach().flatten(), patches.detach().flatten(1).numpy().mean(1), atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 64), (64, 63), (8, 8)])
def test_picture_too_small_for_the_s0_discriminator_is_refused_in_one_line(shape):
    with pytest.raises(ValueError, match=rf"crop: {shape[1]} x {shape[0]} px .*64") as error:
        OldPhotoDiscriminator(4)(torch.rand(1, 3, *shape))
    assert "\n" not in str(error.value)


def test_s3_discriminator_judges_patches_of_70_px():
    discriminator = cyclegan(system="s3").networks["discriminator_a"].double()
    for place, layer in enumerate(discriminator.layers):
        if isinstance(layer, nn.InstanceNorm2d):  # it ties each logit to the whole picture
            discriminator.layers[place] = nn.Identity()
    picture = torch.rand(1, 3, 128, 144, dtype=torch.float64, requires_grad=True)
    discriminator(picture)[0, 0, 7, 8].backward()
    touched = (picture.grad != 0).any(1)[0]
    for axis in (0, 1):
        places = touched.any(axis).nonzero().flatten()
        assert places.max() - places.min() + 1 == 70


def test_s3_discriminator_has_the_parameters_of_the_paper_but_for_norms():
    reference, normed = 2_764_737, 128 + 256 + 512  # of the authors' implementation, as above
    assert size(PatchGAN(64, halvings=3, pictures=1)) == reference + normed


@pytest.mark.parametrize("system", GENERATORS)
def test_networks_compute_on_pictures_from_minus_1_to_1(system):
    pictures = torch.rand(1, 3, SIDE, SIDE)
    for name, network in cyclegan(system=system).networks.items():
        network, seen = (network.module if "average" in name else network), []
        network.layers[0].register_forward_pre_hook(lambda layer, given, seen=seen: seen.append(given[0]))
        network(pictures)
        assert_close(seen[0], (pictures - 0.5) / 0.5)


# ---- steps


def hand_paths(networks, batch):
    a, b = (networks[f"generator_{domain}"] for domain in ("a", "b"))
    real_a, real_b = batch["a"], batch["b"]
    paths = {"real_a": real_a, "fake_b": b(real_a), "identity_a": a(real_a)}
    paths |= {"real_b": real_b, "fake_a": a(real_b), "identity_b": b(real_b)}
    return paths | {"round_trip_a": a(paths["fake_b"]), "round_trip_b": b(paths["fake_a"])}


def hand_terms(networks, batch, cycle, identity, shown=None):
    """Equations 1 to 3 of the paper, least squares for logarithms (section 4), on pictures in [-1, 1]."""
    paths = hand_paths(networks, batch)
    terms = {}
    for domain in ("a", "b"):
        real, fake = 2 * paths[f"real_{domain}"] - 1, paths[f"fake_{domain}"]
        verdict = networks[f"discriminator_{domain}"]
        terms[f"adversarial_{domain}"] = ((verdict(fake) - 1) ** 2).mean()
        terms[f"cycle_{domain}"] = cycle * (2 * paths[f"round_trip_{domain}"] - 1 - real).abs().mean()
        terms[f"identity_{domain}"] = identity * (2 * paths[f"identity_{domain}"] - 1 - real).abs().mean()
    terms["generator"] = sum(terms.values())
    for domain in ("a", "b"):
        verdict, fake = networks[f"discriminator_{domain}"], paths[f"fake_{domain}"].detach()
        fakes = (verdict(fake if shown is None else shown[domain]) ** 2).mean()
        terms[f"discriminator_{domain}"] = (((verdict(paths[f"real_{domain}"]) - 1) ** 2).mean() + fakes) / 2
    terms["discriminator"] = terms["discriminator_a"] + terms["discriminator_b"]
    return terms


def copies(method):
    return {name: copy.deepcopy(network) for name, network in method.networks.items()}


@pytest.mark.parametrize("output", ["tanh", "colour"])
@pytest.mark.parametrize("system", GENERATORS)
def test_terms_of_a_step_equal_those_worked_out_by_hand(system, output):
    method = cyclegan(system=system, output=output, lambda_cycle=7.0, lambda_identity=3.0)
    batch = random_batch(count=2)
    expected = hand_terms(copies(method), batch, 7.0, 3.0)
    terms = method.step(batch)
    gradients = {f"{name}_gradient" for name in ("generator", "discriminator_a", "discriminator_b")}
    assert set(terms) == set(expected) | gradients
    assert not any(term.requires_grad for term in terms.values())
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5), name


@pytest.mark.parametrize("system", GENERATORS)
def test_no_network_gets_gradient_from_the_loss_of_the_others(system):
    method = cyclegan(system=system)
    reference, batch = copies(method), random_batch(count=2)
    losses = hand_terms(reference, batch, 10.0, 5.0)
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


@pytest.mark.parametrize(("weight", "calls"), [(0.0, 4), (0.5, 6)])
def test_identity_of_weight_0_costs_no_call_of_a_generator(weight, calls):
    method, seen = cyclegan(lambda_identity=weight), []
    for domain in ("a", "b"):
        method.networks[f"generator_{domain}"].register_forward_hook(lambda *given: seen.append(given[0]))
    batch = random_batch()
    terms = method.step(batch)
    assert len(seen) == calls
    assert {name for name in terms if "identity" in name} == ({"identity_a", "identity_b"} if weight else set())
    parts = [f"{part}_{domain}" for part in ("adversarial", "cycle", "identity") for domain in ("a", "b")]
    assert terms["generator"].item() == pytest.approx(sum(float(terms[name]) for name in parts if name in terms))


def test_discriminators_see_their_pictures_through_a_box_blur_taken_twice():
    method, seen = cyclegan(discriminator_blur=5), []
    for name in ("discriminator_a", "discriminator_b"):
        method.networks[name].register_forward_hook(lambda module, given, verdict: seen.append(given[0]))
    batch = random_batch()
    method.step(batch)
    assert len(seen) == 6  # in each domain: the generated picture twice, the real one once
    blurred = batch["b"]
    for _ in range(2):
        blurred = torch.from_numpy(uniform_filter(blurred.numpy(), (1, 1, 5, 5)))
    inside = (..., slice(4, -4), slice(4, -4))  # at the border, the box covers what there is
    [real_b] = [picture for picture in seen if torch.allclose(picture[inside], blurred[inside], atol=1e-5)]
    assert real_b[0, 0, 0, 0] == pytest.approx(batch["b"][0, 0, :3, :3].mean().item(), abs=0.1)


@pytest.mark.parametrize("discriminator_norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("system", GENERATORS)
def test_batch_of_one_works_with_every_norm(system, norm, discriminator_norm):
    terms = cyclegan(system=system, norm=norm, discriminator_norm=discriminator_norm).step(random_batch())
    assert all(math.isfinite(term) for term in terms.values())


def test_bf16_terms_are_finite_and_in_float32():
    method, reference = cyclegan(), cyclegan()
    reference.load_state_dict(method.state_dict())
    method.precision, seen = "bf16", []
    method.networks["discriminator_a"].register_forward_hook(lambda module, given, verdict: seen.append(verdict.dtype))
    terms, expected = method.step(random_batch()), reference.step(random_batch())
    assert set(seen) == {torch.bfloat16}
    assert all(term.dtype == torch.float32 and math.isfinite(term) for term in terms.values())
    for name in ("cycle_a", "cycle_b", "identity_a", "identity_b"):
        assert terms[name].item() == pytest.approx(expected[name].item(), rel=0.05), name


def test_learning_rates_are_constant_for_half_of_the_steps_then_fall_to_0():
    method = cyclegan(learning_rate=4e-3, discriminator_learning_rate=1e-3, lambda_identity=0.0)
    names = [f"{kind}_{domain}" for kind in ("generator", "discriminator") for domain in ("a", "b")]
    used = []
    for k in range(9):
        used.append([method.optimizers[name].param_groups[0]["lr"] for name in names])
        if k < 8:
            method.step(random_batch(k))
    factors = [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]  # of 8 steps; the 0 is of a ninth
    np.testing.assert_allclose(used, np.outer(factors, [4e-3, 4e-3, 1e-3, 1e-3]), atol=1e-12)
    assert {method.optimizers[name].param_groups[0]["betas"] for name in names} == {(0.5, 0.999)}


@pytest.mark.parametrize("averaging", [0.0, 0.6])
def test_average_generators_follow_the_exponential_mean_of_the_weights(averaging):
    method, mean = cyclegan(averaging=averaging), None
    for k in range(20):
        method.step(random_batch(k))
        weight = method.networks["generator_b"].layers[0].weight.detach().double()
        decay = min(averaging, k / (k + 9))  # of the first k + 1 steps
        mean = weight if mean is None else decay * mean + (1 - decay) * weight
        assert_close(method.networks["average_b"].module.layers[0].weight.double(), mean, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("output", ["tanh", "colour"])
def test_translating_is_the_average_generator_in_evaluation_mode_and_in_range(output):
    method = cyclegan(output=output)
    pictures = torch.rand(1, 3, 37, 50)
    for domain in ("a", "b"):
        with torch.no_grad():
            for parameter in method.networks[f"average_{domain}"].parameters():
                parameter.mul_(3)
            expected = method.networks[f"average_{domain}"](pictures).numpy().clip(0, 1)
        found = method.train().translate(pictures, domain)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
        assert not found.requires_grad and not method.networks[f"average_{domain}"].training
    assert torch.equal(method.restore(pictures), method.translate(pictures, "b"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"system": "s1"}, "system: .*s0, s3.*'s1'"),
        ({"norm": "layer"}, "norm: .*batch, instance, none.*'layer'"),
        ({"discriminator_norm": "layer"}, "discriminator_norm: .*batch, instance, none.*'layer'"),
        ({"upsampling": "shuffle"}, "upsampling: .*transposed, resize.*'shuffle'"),
        ({"upsampling": "shuffle", "system": "s3"}, "upsampling: .*transposed, resize.*'shuffle'"),
        ({"output": "sigmoid"}, "output: .*tanh, colour.*'sigmoid'"),
        ({"lambda_cycle": -1.0}, "lambda_cycle: .*-1.0"),
        ({"lambda_identity": -0.5}, "lambda_identity: .*-0.5"),
        ({"pool_size": -1}, "pool_size: .*-1"),
    ],
    ids=str,
)
def test_argument_that_means_nothing_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        cyclegan(**arguments)


# ---- the pool


def numbered(k, count=1):
    return torch.arange(k, k + count).float().view(-1, 1, 1, 1).expand(count, 3, 2, 2)


def test_pool_fills_first_and_then_gives_an_old_picture_half_of_the_time():
    pool, kept, old = PicturePool(3), {0, 1, 2}, []
    assert [pool.swap(numbered(k)).unique().item() for k in range(3)] == [0, 1, 2]
    places = []
    for k in range(3, 2003):
        [shown] = pool.swap(numbered(k)).unique().tolist()
        old.append(shown != k)
        if shown != k:
            assert shown in kept
            kept = kept - {int(shown)} | {k}
            places.append([int(picture[0, 0, 0]) for picture in pool.pictures].index(k))
        assert {int(picture[0, 0, 0]) for picture in pool.pictures} == kept
    assert np.mean(old) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(np.bincount(places) / len(places), [1 / 3] * 3, atol=0.05)


def test_pool_takes_the_pictures_of_a_batch_one_by_one():
    pool = PicturePool(2)
    assert pool.swap(numbered(0, 2)).shape == (2, 3, 2, 2)
    shown = pool.swap(numbered(2, 40).clone().requires_grad_())
    kept = torch.stack(pool.pictures)
    assert sorted(torch.cat([shown, kept])[:, 0, 0, 0].tolist()) == list(range(42))  # none lost, none twice
    assert not shown.requires_grad and not kept.requires_grad


def test_pool_keeps_its_pictures_and_not_the_batches_that_they_came_in():
    pool = PicturePool(3)
    for k in range(20):
        pool.swap(torch.full((8, 3, 4, 4), float(k)))
    assert sum(picture.untyped_storage().nbytes() for picture in pool.pictures) == 3 * (3 * 4 * 4) * 4


def test_pool_of_size_0_keeps_nothing():
    pool = PicturePool(0)
    for k in range(20):
        assert torch.equal(pool.swap(numbered(k, 2)), numbered(k, 2))
    assert pool.pictures == []


def test_state_of_the_pool_comes_back_from_a_file(tmp_path):
    pool, other = PicturePool(3), PicturePool(3)
    for k in range(5):
        pool.swap(numbered(k))
    torch.save(pool.state_dict(), tmp_path / "pool.pt")
    other.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True))
    shown = []
    for taken in (pool, other):
        torch.manual_seed(1)
        shown.append([taken.swap(numbered(k)).unique().item() for k in range(10, 30)])
    assert shown[0] == shown[1] and shown[0] != list(range(10, 30))


def test_discriminators_are_shown_the_pictures_of_their_pools():
    method, shown, taken = cyclegan(), random_batch(5), {}
    for domain in ("a", "b"):
        swap = lambda fake, domain=domain: taken.update({domain: fake}) or shown[domain]  # noqa: E731
        method.parts[f"pool_{domain}"].swap = swap
    paths = hand_paths(copies(method), random_batch())
    expected = hand_terms(copies(method), random_batch(), 10.0, 5.0, shown)
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


def train(folder, system, seed, stop_at=0):
    torch.manual_seed(seed)
    method = cyclegan(system=system, steps=9, pool_size=3, learning_rate=2e-3)
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


@pytest.mark.parametrize("system", GENERATORS)
def test_stopped_training_with_full_pools_ends_bit_for_bit_as_if_never_stopped(system, tmp_path):
    whole = train(tmp_path / "whole", system, seed=1)
    with pytest.raises(Stop):
        train(tmp_path / "parted", system, seed=1, stop_at=7)
    stopped = torch.load(tmp_path / "parted" / training.LAST, weights_only=True)
    assert stopped["step"] == 4 and len(stopped["method"]["parts.pool_a"]["pictures"]) == 3
    found, expected = (leaves(state) for state in (train(tmp_path / "parted", system, seed=2), whole))
    assert list(found) == list(expected)
    for way, leaf in expected.items():
        if not way.endswith("/seconds/"):
            assert torch.equal(found[way], leaf) if isinstance(leaf, torch.Tensor) else found[way] == leaf, way
