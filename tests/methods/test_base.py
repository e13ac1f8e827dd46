"""What every method has, on networks small enough to work out by hand: the steps of a GAN, the mean, the state."""

import contextlib
import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib import losses
from restoration_lib.methods.base import Adam, Method, constant_then_linear, running_mean, warmup_cosine


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Scale(nn.Module):
    """A weight for each image given: the logits are the weighted sum."""

    def __init__(self, *weights):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weights))

    def forward(self, *images):
        return sum(weight * image for weight, image in zip(self.weight, images, strict=True))


class Spy(nn.Module):
    """Gives back what it was made with, and keeps where it was called."""

    def __init__(self, answer):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answer = answer

    def forward(self, images):
        self.device, self.layout = images.device, images.is_contiguous(memory_format=torch.channels_last)
        return self.answer


def method_of(learning_rate=0.01, schedule=lambda step: 1.0, **networks):
    method = Method()
    for name, network in networks.items():
        method.add(name, network, learning_rate, (0.5, 0.999), schedule)
    return method


def images(count=2, side=4):
    return torch.rand(count, 3, side, side)


def is_channels_last(parameter):
    return parameter.is_contiguous(memory_format=torch.channels_last)


# ---- the steps of a GAN


def test_generator_learns_from_a_discriminator_that_does_not():
    method = method_of(discriminator=Scale(0.7, -0.4))
    discriminator = method.networks["discriminator"]
    condition, candidate = images(), images().requires_grad_()
    logits = method.judge("discriminator", condition, candidate)
    torch.testing.assert_close(logits, 0.7 * condition - 0.4 * candidate)
    logits.square().sum().backward()
    torch.testing.assert_close(candidate.grad, 2 * -0.4 * logits.detach())
    assert discriminator.weight.grad is None
    assert discriminator.weight.requires_grad  # for its own step


def test_judging_leaves_no_gradient_anywhere_in_a_network_with_norms():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 1))
    method = method_of(discriminator=network)
    candidate = images().requires_grad_()
    losses.bce(method.judge("discriminator", candidate), 1.0).backward()
    assert candidate.grad.abs().sum() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_judging_runs_in_the_precision_of_the_method():
    method = method_of(discriminator=nn.Conv2d(3, 1, 1))
    assert method.judge("discriminator", images()).dtype == torch.float32
    method.precision = "bf16"
    assert method.judge("discriminator", images()).dtype == torch.bfloat16


ANSWERS = {"real": (0.8, 1.0), "fake": (0.5, 0.0), "mixed": (-0.2, 0.25)}  # image and wanted answer


def discriminator_step(kinds, **options):
    """One step of a weight of 0.7 on images of one pixel, by least squares: terms, method, and gradient by hand."""
    method = method_of(discriminator=Scale(0.7), other=Scale(1.0))
    network = method.networks["discriminator"]
    answers = {kind: (network(torch.tensor([image])), wanted) for kind, (image, wanted) in kinds.items()}
    terms = method.update_discriminator("discriminator", answers, losses.least_squares, **options)
    slopes = {kind: 2 * (0.7 * image - wanted) * image for kind, (image, wanted) in kinds.items()}
    fakes = [slope for kind, slope in slopes.items() if kind != "real"]
    return terms, method, options.get("weight", 0.5) * (slopes["real"] + sum(fakes) / len(fakes))


@pytest.mark.parametrize("options", [{}, {"weight": 0.5}, {"weight": 1.0}, {"weight": 3.0}], ids=str)
@pytest.mark.parametrize("kinds", [["real", "fake"], ["real", "fake", "mixed"]], ids=str)
def test_discriminator_weighs_the_real_as_much_as_the_mean_of_the_fakes(kinds, options):
    terms, method, gradient = discriminator_step({kind: ANSWERS[kind] for kind in kinds}, **options)
    weight = options.get("weight", 0.5)
    # (0.7 · 0.8 - 1)², (0.7 · 0.5)², (0.7 · -0.2 - 0.25)²
    squares = {"real": 0.1936, "fake": 0.1225, "mixed": 0.1521}
    fakes = {2: 0.1225, 3: 0.1373}[len(kinds)]
    assert list(terms) == ["discriminator", *(f"discriminator_{kind}" for kind in kinds), "discriminator_gradient"]
    for kind in kinds:
        assert terms[f"discriminator_{kind}"].item() == pytest.approx(weight * squares[kind], rel=1e-5)
    assert terms["discriminator"].item() == pytest.approx(weight * (0.1936 + fakes), rel=1e-5)
    assert terms["discriminator_gradient"].item() == pytest.approx(abs(gradient), rel=1e-5)
    assert method.networks["discriminator"].weight.grad.item() == pytest.approx(gradient, rel=1e-5)


def test_discriminator_takes_one_step_of_its_optimiser_alone():
    _, method, gradient = discriminator_step(ANSWERS)
    network = method.networks["discriminator"]
    # the first step of Adam is as long as the learning rate, whatever the gradient's length
    assert network.weight.item() == pytest.approx(0.7 - 0.01 * np.sign(gradient), abs=1e-6)
    assert method.optimizers["discriminator"].state[network.weight]["step"] == 1
    assert method.networks["other"].weight.item() == 1.0 and not method.optimizers["other"].state


def test_discriminator_of_another_name_gives_terms_of_that_name():
    method = method_of(critic=Scale(1.0))
    ones = method.networks["critic"](torch.ones(1))
    terms = method.update_discriminator("critic", {"real": (ones, 1.0), "fake": (ones, 0.0)}, losses.least_squares)
    assert list(terms) == ["critic", "critic_real", "critic_fake", "critic_gradient"]


@pytest.mark.parametrize("longest", [0.01, 10.0])
def test_discriminator_shortens_long_gradients_and_reports_their_length_before(longest):
    terms, method, gradient = discriminator_step(ANSWERS, max_grad_norm=longest)
    assert terms["discriminator_gradient"].item() == pytest.approx(abs(gradient), rel=1e-5)
    shortened = gradient * min(1, longest / abs(gradient))
    assert method.networks["discriminator"].weight.grad.item() == pytest.approx(shortened, rel=1e-3)


def test_update_sums_losses_that_are_built_when_asked_for():
    method = method_of(one=Scale(3.0), two=Scale(1.0, 2.0))
    one, two = method.networks["one"].weight, method.networks["two"].weight
    two.grad = torch.full((2,), 99.0)  # of a step before

    def parts():
        yield 5 * one.sum() + two[0]
        assert one.grad.item() == 5  # the first is through when the second is asked for
        yield 7 * one.sum() - 4 * two[1]

    norm = method.update(parts(), "one", "two")
    assert one.grad.tolist() == [12] and two.grad.tolist() == [1, -4]
    assert norm.item() == pytest.approx(math.sqrt(12**2 + 1 + 4**2))
    np.testing.assert_allclose(one.tolist() + two.tolist(), [2.99, 0.99, 2.01], rtol=1e-6)


def test_update_shortens_the_gradient_of_all_its_networks_together():
    method = method_of(one=Scale(0.0), two=Scale(0.0))
    one, two = method.networks["one"].weight, method.networks["two"].weight
    assert method.update([3 * one.sum() + 4 * two.sum()], "one", "two", max_grad_norm=0.5).item() == 5
    np.testing.assert_allclose([one.grad.item(), two.grad.item()], [0.3, 0.4], rtol=1e-5)


# ---- learning rates


@pytest.mark.parametrize("value", [-1e-3, "0.1", None], ids=str)
def test_learning_rate_that_means_nothing_is_refused(value):
    with pytest.raises(ValueError, match=f"learning_rate: expected a number, 0 or more, got {value!r}"):
        method_of(learning_rate=value, generator=Scale(1.0))


def test_all_schedulers_step_together():
    method = method_of(0.4, lambda step: 1 / (1 + step), one=Scale(1.0), two=Scale(1.0))
    seen = []
    for _ in range(3):
        seen.append([method.optimizers[name].param_groups[0]["lr"] for name in ("one", "two")])
        method.update([network.weight.sum() for network in method.networks.values()], "one", "two")
        method.step_schedulers()
    np.testing.assert_allclose(seen, [[0.4, 0.4], [0.2, 0.2], [0.4 / 3, 0.4 / 3]])


def rates(steps, warmup):
    """Linear warm-up to 1 in `warmup` steps, then half a cosine that would reach 0 one step after the last."""
    up = np.arange(1, warmup + 1) / warmup
    down = np.arange(steps - warmup) / max(1, steps - warmup)
    return np.concatenate([up, (1 + np.cos(np.pi * down)) / 2])


@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (5, 1), (40, 4), (999, 99), (1000, 100), (3000, 100)])
def test_learning_rate_warms_up_and_then_falls_as_half_a_cosine(steps, warmup):
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=0.02)
    scheduler, used = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(steps)), []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(used, 0.02 * rates(steps, warmup), atol=1e-8)
    if steps > 1:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-8)


def test_learning_rate_is_constant_for_half_of_the_steps_then_falls_in_a_line():
    factors = [constant_then_linear(8)(step) for step in range(9)]
    np.testing.assert_allclose(factors, [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])


# ---- the running mean


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99, 1.0])
def test_average_follows_the_running_mean_of_the_weights(decay):
    """The first update takes the weights as they are; the n-th after it keeps min(decay, n / (n + 9))."""
    method = method_of(generator=Scale(0.0, 0.0))
    method.add_average("average", "generator", decay)
    weight, average = method.networks["generator"].weight, method.networks["average"]
    values = np.random.default_rng(0).normal(size=(20, 2))
    expected = values[0]
    for n, value in enumerate(values):
        with torch.no_grad():
            weight.copy_(torch.from_numpy(value))
        average.update_parameters(method.networks["generator"])
        kept = min(decay, n / (n + 9))
        expected = kept * expected + (1 - kept) * value
        np.testing.assert_allclose(average.module.weight.detach(), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(weight.detach(), value, rtol=1e-6)  # what learns is left alone


def test_running_mean_forgets_less_and_less_until_the_decay():
    kept = []
    for n in (1, 3, 9, 27, 1000):
        mean = torch.ones(1)
        running_mean(0.75)([mean], [torch.zeros(1)], torch.tensor(n))
        kept.append(mean.item())
    np.testing.assert_allclose(kept, [1 / 10, 3 / 12, 9 / 18, 0.75, 0.75], rtol=1e-6)


def test_average_is_a_network_of_the_checkpoint_that_no_optimiser_moves():
    method = method_of(generator=Scale(1.0))
    method.add_average("average", "generator", 0.9)
    assert "networks.average" in method.state_dict()
    assert set(method.optimizers) == set(method.schedulers) == {"generator"}


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_decay_out_of_its_range_is_refused_by_name(decay):
    with pytest.raises(ValueError, match=f"ema_decay: expected a number from 0 to 1, got {decay}"):
        method_of(generator=Scale(1.0)).add_average("average", "generator", decay)


# ---- applying


def test_applying_is_in_evaluation_mode_without_gradients():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5))
    network.train()
    given = images()
    statistics = {key: value.clone() for key, value in network[1].state_dict().items()}
    made = Method().apply(network, given)
    convolution = torch.einsum("oi,nihw->nohw", network[0].weight[..., 0, 0], given) + network[0].bias.view(3, 1, 1)
    torch.testing.assert_close(made, convolution.detach() / math.sqrt(1 + 1e-5))  # of a BatchNorm that has seen nothing
    assert not network.training and not made.requires_grad
    for key, value in network[1].state_dict().items():
        assert torch.equal(value, statistics[key]), key


def test_applying_computes_in_the_precision_of_the_method():
    method, network = Method(), nn.Conv2d(3, 3, 1)
    assert method.apply(network, images()).dtype == torch.float32
    method.precision = "bf16"
    assert method.apply(network, images()).dtype == torch.bfloat16


@pytest.fixture
def meta_for_gpu(monkeypatch):
    """The device "meta" may stand for a GPU: tensors on it have no values, and it knows no autocast."""
    monkeypatch.setattr(Method, "autocast", lambda self, device: contextlib.nullcontext())


def test_images_go_where_the_network_is_as_it_wants_them(meta_for_gpu):
    network = Spy(torch.ones(1)).to("meta")
    Method().apply(network, images())
    assert network.device.type == "meta" and network.layout


def test_result_comes_back_where_the_images_are(meta_for_gpu):
    given = images().to("meta")
    assert Method().apply(Spy(torch.ones(1)).to("meta"), given).device.type == "meta"
    both = Method().apply(Spy((torch.ones(1), torch.ones(2))).to("meta"), given)
    assert [part.device.type for part in both] == ["meta", "meta"]
    assert [part.shape for part in both] == [(1,), (2,)]


def test_result_in_parts_keeps_those_that_are_none():
    first, second = Method().apply(Spy((torch.full((2,), 3.0), None)), images())
    assert first.tolist() == [3, 3] and second is None


# ---- the optimiser


SHAPES = [(5,), (6, 3, 3, 3), (6, 4, 1, 1), (1, 7, 5, 2), (8, 4)]


@pytest.mark.parametrize("gradient_format", [torch.channels_last, torch.contiguous_format], ids=str)
def test_adam_in_the_order_of_the_memory_is_adam(gradient_format):
    weights = [torch.randn(shape) for shape in SHAPES]
    plain = [nn.Parameter(weight.clone()) for weight in weights]
    ours = [
        nn.Parameter(weight.to(memory_format=torch.channels_last)) if weight.ndim == 4 else nn.Parameter(weight.clone())
        for weight in weights
    ]
    optimizers = [torch.optim.Adam(plain, 0.1, (0.5, 0.9), foreach=False), Adam(ours, 0.1, (0.5, 0.9), fused=True)]
    for _ in range(5):
        for one, other in zip(plain, ours, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.to(memory_format=gradient_format) if one.ndim == 4 else one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(plain, ours, strict=True):
        np.testing.assert_allclose(other.detach(), one.detach(), rtol=1e-5, atol=1e-6)
        for name, values in optimizers[0].state[one].items():
            found = optimizers[1].state[other][name]
            assert found.shape == values.shape
            np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)


# ---- devices, modes, sizes, state


def test_method_moves_with_its_frozen_networks():
    method = method_of(generator=nn.Conv2d(3, 2, 3))
    method.frozen["vgg"] = nn.Conv2d(3, 2, 3)
    weights = [method.networks["generator"].weight, method.frozen["vgg"].weight]
    assert not any(map(is_channels_last, weights))
    assert method.to(torch.device("cpu")) is method
    assert all(is_channels_last(network.weight) for network in (method.networks["generator"], method.frozen["vgg"]))
    method.to(torch.device("meta"))
    for network in (method.networks["generator"], method.frozen["vgg"]):
        assert all(parameter.device.type == "meta" for parameter in network.parameters())


def test_frozen_networks_are_in_no_checkpoint_and_never_in_training():
    method, other = (method_of(generator=Scale(1.0)) for _ in range(2))
    state = other.state_dict()
    method.frozen["vgg"] = nn.Conv2d(3, 2, 3).eval()
    assert list(method.state_dict()) == list(state)
    method.load_state_dict(state)  # one that was saved without them
    assert method.train() is method
    assert method.networks["generator"].training and not method.frozen["vgg"].training
    assert not method.train(False).networks["generator"].training


def test_sizes_count_the_parameters_of_each_network_that_learns():
    method = method_of(generator=nn.Conv2d(3, 5, 2), discriminator=nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 1)))
    method.add_average("average", "generator", 0.9)
    method.frozen["vgg"] = nn.Conv2d(3, 2, 3)
    convolution = 3 * 5 * 2 * 2 + 5
    assert method.sizes() == {"generator": convolution, "discriminator": 4 * 6 + 6 + 6 + 1, "average": convolution}


class Parts:
    def __init__(self, seen):
        self.seen = seen

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_state_taken_back_is_the_one_it_was_taken_from():
    """Weights, moments, learning rates and parts: the next step is the same."""
    taken, other = (method_of(0.1, lambda step: 1 / (1 + step), generator=Scale(1.0, 2.0)) for _ in range(2))
    taken.parts["pool"], other.parts["pool"] = Parts([1, 2]), Parts([])

    def step(method, factor):
        method.update([(factor * method.networks["generator"].weight).square().sum()], "generator")
        method.step_schedulers()

    step(taken, 1.0)
    step(taken, 0.5)
    assert set(taken.state_dict()) == {"networks.generator", "optimizers.generator", "schedulers.generator",
                                       "parts.pool"}  # fmt: skip
    other.load_state_dict(copy.deepcopy(taken.state_dict()))
    assert other.parts["pool"].seen == [1, 2]
    for method in (taken, other):
        step(method, 2.0)
    assert torch.equal(taken.networks["generator"].weight, other.networks["generator"].weight)


def test_state_of_another_method_is_refused_by_part():
    both = method_of(generator=Scale(1.0), discriminator=Scale(1.0))
    with pytest.raises(ValueError, match=r"discriminator.*other parts"):
        method_of(generator=Scale(1.0)).load_state_dict(both.state_dict())
    with pytest.raises(ValueError, match=r"networks\.discriminator: .*another size"):
        method_of(generator=Scale(1.0), discriminator=Scale(1.0, 2.0)).load_state_dict(both.state_dict())


def test_method_that_cannot_train_or_restore_says_so():
    class Idea(Method):
        pass

    with pytest.raises(TypeError, match="Idea has no training step"):
        Idea().step({})
    with pytest.raises(TypeError, match="Idea does not restore images"):
        Idea().restore(images())


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_multiplies_in_the_precision(precision, dtype):
    method, ones = Method(), torch.ones(2, 2)
    method.precision = precision
    with method.autocast(torch.device("cpu")):
        assert (ones @ ones).dtype == dtype
