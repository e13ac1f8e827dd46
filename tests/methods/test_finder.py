"""The finder alone: a step against one worked out by hand, what does not enter, the running mean, exact resume."""

import copy

import pytest
import torch
import torch.nn.functional as F

from restoration_lib import training
from restoration_lib.data.damage import labels
from restoration_lib.degradations.scratches import scratched
from restoration_lib.methods.finder import Finder
from restoration_lib.networks.refined import RefinedGenerator


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def finder(**changes):
    return Finder(**({"steps": 8, "features": 4, "depth": 2} | changes))


def batch(count=2, side=32):
    target = F.interpolate(torch.rand(count, 3, 5, 5), (side, side), mode="bilinear").mul(255).round() / 255
    damaged = scratched(target, torch.Generator().manual_seed(1), opacity=(0.1, 1.0))
    mask, sure = (torch.stack(parts) for parts in zip(*map(labels, damaged, target), strict=True))
    sure[:, :, :4] = False
    return {"input": damaged, "mask": mask, "sure": sure}


def weights(method):
    return {key: value.clone() for key, value in method.networks["finder"].state_dict().items()}


def test_terms_of_a_step_equal_those_worked_out_by_hand():
    method, given = finder().train(), batch()
    with torch.no_grad():
        logits = method.networks["finder"](2 * given["input"] - 1)
    pairs = zip(logits.flatten().tolist(), given["mask"].flatten(), given["sure"].flatten(), strict=True)
    pairs = [(logit, float(true)) for logit, true, sure in pairs if sure]
    found, true = torch.tensor(pairs, dtype=torch.float64).T
    found = found.sigmoid()
    dice = (2 * (found * true).sum() + 1) / (found.sum() + true.sum() + 1)
    expected = F.binary_cross_entropy(found, true) + (1 - dice) / 2
    terms = method.step(given)
    assert set(terms) == {"generator", "finder_gradient"} and not any(term.requires_grad for term in terms.values())
    assert 0 < len(pairs) < given["sure"].numel() and 0 < true.mean() < 1
    assert terms["generator"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_what_is_not_certain_does_not_enter():
    given = batch()
    other = given | {"mask": given["mask"] ^ ~given["sure"]}
    assert not torch.equal(given["mask"], other["mask"])
    first, second = finder().train(), finder().train()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(3):
        one, two = first.step(given), second.step(other)
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(map(torch.equal, weights(first).values(), weights(second).values()))


def test_the_gradient_is_clipped(monkeypatch):
    limits, update = [], Finder.update

    def noted(self, losses, *names, max_grad_norm):
        limits.append((names, max_grad_norm))
        return update(self, losses, *names, max_grad_norm=max_grad_norm)

    monkeypatch.setattr(Finder, "update", noted)
    finder().train().step(batch())
    assert limits == [(("finder",), 1.0)]


@pytest.mark.slow
def test_it_learns_to_find_the_damage_of_a_batch():
    method, given = finder(steps=60, features=8, learning_rate=3e-3).train(), batch(3, 48)
    losses = [method.train().step(given)["generator"].item() for _ in range(60)]
    assert losses[-1] < losses[0] / 2
    found = (method.find(given["input"]) > 0)[given["sure"]]
    true = given["mask"][given["sure"]]
    assert (found & true).sum() / (found | true).sum() > 0.7


def test_what_finds_is_the_running_mean_of_the_weights():
    """The first step's weights as they are; the n-th after it keep min(decay, n / (n + 9)) of the mean."""
    method, given, mean = finder(ema_decay=0.3, learning_rate=1e-2).train(), batch(), {}
    for n in range(6):
        method.step(given)
        kept = min(0.3, n / (n + 9))
        now = weights(method)
        mean = {key: kept * mean[key] + (1 - kept) * now[key] for key in now} if n else now
    expected = RefinedGenerator(4, 2).finder
    expected.load_state_dict(mean)
    with torch.no_grad():
        logits = expected(2 * given["input"] - 1)
        last = method.networks["finder"](2 * given["input"] - 1)
    torch.testing.assert_close(method.find(given["input"]), logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits, last, rtol=1e-4, atol=1e-5), "the mean is the last weights"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_images_of_any_size_get_logits_of_32_bits(precision):
    method = finder()
    method.precision = precision
    for shape in ((1, 3, 17, 23), (2, 3, 8, 40)):
        logits = method.find(torch.rand(shape))
        assert logits.shape == (shape[0], 1, *shape[2:])
        assert logits.dtype == torch.float32 and not logits.requires_grad


def test_stopped_training_ends_bit_for_bit_as_if_never_stopped(tmp_path):
    steps = [batch() for _ in range(6)]

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
        method = finder(steps=6)
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
        ({"steps": 0}, r"\Asteps: expected a number, 1 or more, got 0\Z"),
        ({"features": 0}, r"\Afeatures: expected a number, 1 or more, got 0\Z"),
        ({"depth": 0}, r"\Adepth: expected a number, 1 or more, got 0\Z"),
        ({"learning_rate": -1.0}, r"\Afinder: learning_rate: expected a number, 0 or more, got -1.0\Z"),
        ({"ema_decay": 1.5}, r"\Aema_decay: expected a number from 0 to 1, got 1.5\Z"),
    ],
    ids=str,
)
def test_an_argument_that_means_nothing_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        finder(**changes)
