"""SRGAN: steps against those written out by hand, what each stage trains, both stages across a resume."""

import copy

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from restoration_lib import training
from restoration_lib.methods.srgan import SRGAN, two_stages

LOSSES = {"content": 1.0, "adversarial": 1e-3}


class Maps(nn.Module):
    """Stands for VGG: the image, its squares, and one map at a quarter of the size."""

    name = "maps"

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 4, stride=4).requires_grad_(False)

    def forward(self, images, depth=5):
        return [images, images**2, self.convolution(images)][:depth]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def srgan(pretraining=3, adversarial=3, **changes):
    options = {"features": 4, "blocks": 1, "vgg": Maps(), "discriminator_features": 4, "losses": LOSSES, **changes}
    return SRGAN(pretraining_steps=pretraining, adversarial_steps=adversarial, **options).train()


def batch(step=0, scale=4):
    generator = torch.Generator().manual_seed(step)
    target = torch.rand(2, 3, 32, 32, generator=generator)
    return {"input": F.avg_pool2d(target, scale), "target": target}


class Batches(torch.utils.data.Dataset):
    def __init__(self, steps):
        self.steps = steps

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        return batch(step)


def test_the_first_stage_is_a_step_of_adam_on_the_mean_squared_error():
    method = srgan(learning_rate=1e-3)
    by_hand = copy.deepcopy(method.networks["generator"])
    optimizer = torch.optim.Adam(by_hand.parameters(), 1e-3 * two_stages(3, 3, 0.1)(0), (0.9, 0.999))
    data = batch()
    loss = (((2 * by_hand(data["input"]) - 1) - (2 * data["target"] - 1)) ** 2).mean()
    loss.backward()
    optimizer.step()
    discriminator = copy.deepcopy(method.networks["discriminator"].state_dict())
    terms = method.step(data)
    assert set(terms) == {"generator", "mse", "generator_gradient"}
    assert terms["mse"].item() == pytest.approx(loss.item(), rel=1e-5)
    for one, other in zip(method.networks["generator"].parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    same = method.networks["discriminator"].state_dict()
    assert all(torch.equal(same[name], value) for name, value in discriminator.items())


@pytest.mark.parametrize("losses", [LOSSES, {"content": 0.5, "adversarial": 2e-2}], ids=str)
def test_the_second_stage_is_content_and_the_cross_entropy_of_the_logits(losses):
    method = srgan(0, 4, losses=losses)
    data, generator = batch(), copy.deepcopy(method.networks["generator"])
    discriminator = copy.deepcopy(method.networks["discriminator"])
    large, vgg = generator(data["input"]), method.frozen["vgg"]
    difference = vgg(large)[-1] - vgg(data["target"])[-1]
    content = losses["content"] * (difference**2).mean() / 12.75**2
    adversarial = losses["adversarial"] * F.softplus(-discriminator(large)).mean()
    real = F.softplus(-discriminator(data["target"])).mean() / 2
    fake = F.softplus(discriminator(large)).mean() / 2
    terms = method.step(data)
    assert terms["content"].item() == pytest.approx(content.item(), rel=1e-4)
    assert terms["adversarial"].item() == pytest.approx(adversarial.item(), rel=1e-4)
    assert terms["generator"].item() == pytest.approx((content + adversarial).item(), rel=1e-4)
    assert terms["discriminator_real"].item() == pytest.approx(real.item(), rel=1e-4)
    assert terms["discriminator_fake"].item() == pytest.approx(fake.item(), rel=1e-4)
    assert terms["discriminator"].item() == pytest.approx((real + fake).item(), rel=1e-4)
    assert "mse" not in terms and "pretrained" not in method.networks
    before, after = discriminator.parameters(), method.networks["discriminator"].parameters()
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("depth", [1, 2])
def test_the_content_is_of_the_block_that_was_asked_for(depth):
    method = srgan(0, 4, content_depth=depth)
    data = batch()
    large = method.networks["generator"](data["input"])
    content = ((large**depth - data["target"] ** depth) ** 2).mean() / 12.75**2
    assert method.step(data)["content"].item() == pytest.approx(content.item(), rel=1e-4)


def test_the_judge_of_the_content_moves_with_the_method_and_is_in_no_checkpoint():
    method = srgan()
    judge = copy.deepcopy(method.frozen["vgg"].state_dict())
    assert not any("vgg" in name for name in (*method.state_dict(), *method.networks))
    for step in range(4):
        method.step(batch(step))
    assert all(torch.equal(method.frozen["vgg"].state_dict()[name], value) for name, value in judge.items())
    method.to(torch.device("meta"))
    assert {parameter.device.type for parameter in method.frozen["vgg"].parameters()} == {"meta"}


def test_pretrained_is_the_generator_as_the_first_stage_left_it():
    method = srgan(2, 2)
    for step in range(2):
        method.step(batch(step))
    left = copy.deepcopy(method.networks["generator"].state_dict())
    for step in range(2, 4):
        method.step(batch(step))
    kept, now = method.networks["pretrained"].state_dict(), method.networks["generator"].state_dict()
    assert all(torch.equal(kept[name], value) for name, value in left.items())
    assert any(not torch.equal(now[name], value) for name, value in left.items())
    small = batch()["input"]
    assert not torch.equal(method.restore(small), method.restore(small, "pretrained"))
    assert method.restore(small).shape == (2, 3, 32, 32) and 0 <= method.restore(small).min() <= 1


def test_learning_rates_of_the_stages():
    factor = two_stages(100, 40, 0.1)
    assert factor(0) == pytest.approx(0.1) and factor(9) == pytest.approx(1.0)
    assert factor(99) < 0.001
    assert [factor(step) for step in (100, 119, 120, 139)] == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_content_alone_needs_no_discriminator_and_one_stage_no_vgg():
    method = srgan(1, 1, losses={"content": 1.0})
    assert set(method.networks) == {"generator", "pretrained"}
    method.step(batch())
    assert set(method.step(batch())) == {"generator", "content", "generator_gradient"}
    assert set(srgan(2, 0, vgg=None).networks) == {"generator", "pretrained"}


def test_the_adversarial_loss_alone_costs_no_look_at_the_content():
    method = srgan(0, 2, losses={"content": 0.0, "adversarial": 1.0})
    method.frozen["vgg"].forward = lambda *_, **__: pytest.fail("the content was looked at")
    terms = method.step(batch())
    assert terms["generator"] == terms["adversarial"] and "content" not in terms


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretraining": -1}, "pretraining_steps: expected a number, 0 or more, got -1"),
        ({"adversarial": -1}, "adversarial_steps: expected a number, 0 or more, got -1"),
        ({"losses": {"adversarial": -1.0}}, "losses: adversarial: expected a number, 0 or more, got -1.0"),
        ({"losses": {"mse": 1.0}}, "losses: expected any of content, adversarial, got 'mse'"),
        ({"losses": {}}, "losses: give at least one of content, adversarial a weight above 0"),
        ({"pretraining": 0, "adversarial": 0}, "both are 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number above 0, got 0.0"),
        ({"content_depth": 6}, "content_depth: expected one of 1, 2, 3, 4, 5, got 6"),
        ({"adversarial_learning_rate": -1.0}, "adversarial_learning_rate: expected a number above 0, got -1.0"),
        ({"vgg": None}, "vgg: the second stage needs"),
        ({"scale": 3}, "scale: expected one of 2, 4, got 3"),
        ({"norm": "layer"}, "norm: expected one of batch, instance, none, got 'layer'"),
    ],
    ids=str,
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        srgan(**options)


def test_a_training_stopped_between_the_stages_ends_the_same(tmp_path):
    """And its history has each term where its stage is."""

    def run(folder, stop=None):
        torch.manual_seed(1)
        method, calls = srgan(3, 3), []

        def validate(method):
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return {"psnr": float(len(calls))}

        return training.fit(method, Batches(6), folder, validate, validate_every=2, log_every=1)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop=2)
    resumed = run(tmp_path / "stopped")
    one, other = (load_file(tmp_path / name / training.BEST) for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed["generator"].tolist() == whole["generator"].tolist()
    assert whole["mse"].notna().tolist() == [True] * 3 + [False] * 3
    assert whole["content"].notna().tolist() == [False] * 3 + [True] * 3


def test_a_training_goes_on_with_the_stages_and_the_judge_it_was_begun_with():
    state = srgan(3, 3).state_dict()
    srgan(3, 3).load_state_dict(state)
    other = Maps()
    other.name = "others"
    for method in (srgan(2, 4), srgan(3, 3, vgg=other), srgan(3, 3, content_depth=1)):
        with pytest.raises(ValueError, match=r"the training was begun with .*'vgg': 'maps'"):
            method.load_state_dict(state)


def test_a_state_of_another_plan_or_of_none_leaves_the_networks_as_they_are():
    torch.manual_seed(1)
    other, planless = srgan(2, 4).state_dict(), srgan(3, 3).state_dict()
    del planless["parts.plan"]
    method = srgan(3, 3)
    before = copy.deepcopy(method.networks["generator"].state_dict())
    for state, message in ((other, "the training was begun with"), (planless, "the state says nothing of stages")):
        with pytest.raises(ValueError, match=message):
            method.load_state_dict(state)
    after = method.networks["generator"].state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_row_of_the_history_that_spans_both_stages_has_the_means_of_each(tmp_path):
    history = training.fit(srgan(3, 3), Batches(6), tmp_path, lambda _: {"psnr": 1.0}, validate_every=6, log_every=6)
    assert history[["mse", "content", "generator"]].notna().all(axis=None)
