"""The training loop: exact resume after a kill, the history's arithmetic, the best checkpoint, refusals, the log.

Most tests train a stub that counts its own steps in a weight and returns numbers known beforehand. The exact resume
is tested on the real adversarial restorer, in processes that are killed.
"""

import io
import multiprocessing
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from restoration_lib import devices, progress, training
from restoration_lib.data.batches import CropBatches
from restoration_lib.data.datasets import Images
from restoration_lib.degradations import pixel_shuffle
from restoration_lib.methods.base import Method, warmup_cosine
from restoration_lib.methods.shuffle import AdversarialRestorer

STEPS, VALIDATE_EVERY, LOG_EVERY = 24, 8, 3  # of the trainings that are killed


def adversarial(**changes):
    """The smallest restorer with all that a checkpoint must hold: two networks, and draws for CutMix at each step."""
    options = {
        "steps": STEPS,
        "channels": 8,
        "blocks": 1,
        "discriminator_features": 4,
        "discriminator_halvings": 1,
        "learning_rate": 5e-3,
        "losses": {"l1": 1.0, "ms_ssim": 0.5, "adversarial": 0.1},
    }
    return AdversarialRestorer(**(options | changes))


def shuffled_batches(steps):
    arrays = [np.random.default_rng(k).integers(0, 256, (20, 24, 3), dtype=np.uint8) for k in range(5)]
    images = Images([f"{k}.png" for k in range(5)], arrays)
    return CropBatches(images, partial(pixel_shuffle, rate=1.0), crop=16, batch_size=2, steps=steps, seed=3)


def train(folder, workers=0, kill_at=0):
    """Train the restorer; with `kill_at`, end like a process killed in the middle of that step."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of the workers
    torch.manual_seed(7)
    method = adversarial()
    batches = shuffled_batches(STEPS)
    pair = batches[0]
    step, done = method.step, method.schedulers["generator"]

    def slow_step(batch):
        time.sleep(0.03)  # so that a kill from outside falls into the training
        terms = step(batch)
        if done.last_epoch == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return terms

    def validate(method):
        torch.rand(3)  # a validation may draw from the global generator too
        return {"psnr": -10 * float((method.restore(pair["input"]) - pair["target"]).square().mean().log10())}

    method.step = slow_step
    training.fit(method, batches, folder, validate, VALIDATE_EVERY, LOG_EVERY, "cpu", "fp32", workers)


def start(folder, workers=0, kill_at=0):
    """A training in a process of its own; the server that forks it has the imports done, and has computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "restoration_lib.methods.shuffle", "restoration_lib.training"])
    process = context.Process(target=train, args=(folder, workers, kill_at))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent.parent)  # where the process finds this file
        process.start()
    return process


def end(process):
    """Wait for the end; minus the signal that ended it, or 0."""
    process.join()
    return process.exitcode


def read_last(folder):
    return torch.load(folder / training.LAST, weights_only=True)


def assert_same(a, b, where="last.pt"):
    """Equal bit for bit, whatever is nested in it."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), where
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}: {key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}: {k}")
    else:
        assert a == b, where


def assert_same_training(folder, other):
    last, other_last = read_last(folder), read_last(other)
    assert last.pop("seconds") > 0 and other_last.pop("seconds") > 0  # how long it took is no part of the state
    assert_same(last, other_last)
    best, other_best = (load_file(f / training.BEST) for f in (folder, other))
    assert_same(dict(sorted(best.items())), dict(sorted(other_best.items())), training.BEST)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of a training that nobody stopped."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert end(start(folder)) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_training_killed_twice_ends_as_if_never_stopped(tmp_path, uninterrupted, workers):
    # once between the first checkpoint and the second, certainly
    assert end(start(tmp_path, workers, kill_at=VALIDATE_EVERY + 3)) == -signal.SIGKILL
    assert read_last(tmp_path)["step"] == VALIDATE_EVERY
    (tmp_path / "last.pt.tmp").write_bytes(b"half a checkpoint")

    # once at any moment after it has gone on, be it in the middle of writing a checkpoint, or after the end
    first = (tmp_path / training.LAST).stat().st_ino
    process = start(tmp_path, workers)
    while process.is_alive() and (tmp_path / training.LAST).stat().st_ino == first:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.2))
    process.kill()
    assert end(process) in (-signal.SIGKILL, 0)

    assert end(start(tmp_path, workers)) == 0
    assert_same_training(tmp_path, uninterrupted)


@pytest.mark.slow
def test_uninterrupted_training_is_worth_comparing(uninterrupted):
    last = read_last(uninterrupted)
    assert last["step"] == STEPS
    assert set(last["method"]) == {f"{kind}.{name}" for kind in ("networks", "optimizers", "schedulers")
                                   for name in ("generator", "discriminator")}  # fmt: skip
    assert last["method"]["optimizers.discriminator"]["state"][0]["step"] == STEPS
    assert {"discriminator_cutmix", "discriminator_mismatched", "adversarial"} <= set(last["history"][-1])
    assert [row["step"] for row in last["history"]] == [3, 6, 8, 9, 12, 15, 16, 18, 21, 24]


class Count(Method):
    """Counts its steps in its one weight, so that a checkpoint tells its step; returns the terms prepared for it."""

    def __init__(self, terms):
        super().__init__()
        self.networks["count"] = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.networks["count"].weight)
        self.terms, self.seen = terms, []

    @property
    def done(self):
        return int(self.networks["count"].weight)

    def step(self, batch):
        assert self.networks["count"].training
        self.seen.append(int(batch["number"]))
        with torch.no_grad():
            self.networks["count"].weight += 1
        return {name: torch.tensor(float(values[self.done - 1])) for name, values in self.terms.items()}


def numbered(steps):
    return [{"number": torch.full((1, 1, 1, 1), k)} for k in range(steps)]


def fit(method, folder, steps=10, validate_every=4, log_every=3, validate=lambda method: {"psnr": float(method.done)}):
    return training.fit(method, numbered(steps), folder, validate, validate_every, log_every, device="cpu")


def ramp(steps=10):
    return {"generator": np.arange(steps) ** 2 / 7, "l1": np.sin(np.arange(steps))}


def test_history_rows_are_means_of_the_steps_since_the_row_before(tmp_path):
    terms = ramp()
    history = fit(Count(terms), tmp_path)
    ends = [3, 4, 6, 8, 9, 10]
    assert history["step"].tolist() == ends
    for name, values in terms.items():
        expected = [values[begin:end].mean() for begin, end in zip([0, *ends], ends, strict=False)]
        np.testing.assert_allclose(history[name], expected, rtol=1e-6)


def test_validation_columns_stand_in_the_rows_of_the_validations(tmp_path):
    history = fit(Count(ramp()), tmp_path, validate=lambda method: {"psnr": 20.0 + method.done, "ssim": 0.5})
    assert list(history) == ["step", "generator", "l1", "validation_psnr", "validation_ssim"]
    validated = history.dropna()
    assert validated["step"].tolist() == [4, 8, 10]
    assert validated["validation_psnr"].tolist() == [24, 28, 30]
    assert history["validation_psnr"].count() == 3


def test_every_step_gets_its_own_batch(tmp_path):
    method = Count(ramp())
    fit(method, tmp_path)
    assert method.seen == list(range(10))


def test_stopped_training_goes_on_with_the_batch_after_the_checkpoint(tmp_path):
    def stop(method):
        if method.done == 8:
            raise KeyboardInterrupt
        return {"psnr": 1.0}

    with pytest.raises(KeyboardInterrupt):
        fit(Count(ramp()), tmp_path, validate=stop)
    method = Count(ramp())
    history = fit(method, tmp_path, validate=lambda method: {"psnr": 1.0})
    assert method.seen == [4, 5, 6, 7, 8, 9]
    pd.testing.assert_frame_equal(history, fit(Count(ramp()), tmp_path / "at once", validate=lambda _: {"psnr": 1.0}))


def test_history_says_how_long_and_on_what_the_training_ran(tmp_path):
    begin = time.perf_counter()
    attrs = fit(Count(ramp()), tmp_path, validate=lambda method: time.sleep(0.1) or {"psnr": 1.0}).attrs
    lasted = time.perf_counter() - begin
    cpu = torch.device("cpu")
    facts = {"steps": 10, "precision": devices.pick_precision("auto", cpu), "device": devices.describe(cpu)}
    assert attrs == facts | {"seconds": attrs["seconds"]}
    assert torch.load(tmp_path / training.LAST, weights_only=True)["device"] == facts["device"]
    assert 0.3 <= attrs["seconds"] <= lasted + 0.05  # three validations; rounded to a tenth


def test_seconds_count_what_ran_before_a_stop(tmp_path):
    def stop(method):
        if method.done == 8:
            raise KeyboardInterrupt
        time.sleep(0.3)
        return {"psnr": 1.0}

    with pytest.raises(KeyboardInterrupt):
        fit(Count(ramp()), tmp_path, validate=stop)
    for _ in range(2):  # gone on, then found finished
        assert fit(Count(ramp()), tmp_path).attrs["seconds"] >= 0.3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_method_is_told_the_precision_asked_for(tmp_path, precision):
    method = Count(ramp())
    history = training.fit(method, numbered(10), tmp_path, lambda _: {"psnr": 1.0}, device="cpu", precision=precision)
    assert method.precision == history.attrs["precision"] == precision


def test_frozen_networks_are_in_neither_file(tmp_path):
    method = Count(ramp())
    method.frozen["judge"] = nn.Linear(2, 2)
    fit(method, tmp_path)
    assert set(read_last(tmp_path)["method"]) == {"networks.count"}
    assert set(load_file(tmp_path / training.BEST)) == {"count/weight"}


@pytest.mark.parametrize("number", [np.float64, np.float32, torch.tensor])
def test_checkpoint_is_readable_whatever_number_a_validation_returns(tmp_path, number):
    fit(Count(ramp()), tmp_path, validate=lambda method: {"psnr": number(3.0)})
    history = fit(Count(ramp()), tmp_path)
    assert history["validation_psnr"].dropna().tolist() == [3.0, 3.0, 3.0]


def test_finished_training_called_again_trains_no_more(tmp_path):
    def refuse(method):
        pytest.fail("validated again")

    history = fit(Count(ramp()), tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    method = Count(ramp())
    pd.testing.assert_frame_equal(fit(method, tmp_path, validate=refuse), history)
    assert method.seen == [] and method.done == 10
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert set(files) == {training.LAST, training.BEST, progress.FILE}


def test_leftover_temporary_files_do_no_harm(tmp_path):
    for name in (training.LAST, training.BEST):
        (tmp_path / f"{name}.tmp").write_bytes(b"half a file")
    fit(Count(ramp()), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {training.LAST, training.BEST, progress.FILE}
    assert read_last(tmp_path)["step"] == 10


@pytest.mark.parametrize(("scores", "best"), [([5, 9, 7], 8), ([3, 2, 1], 4), ([1, 2, 3], 10), ([-3, -2, -2], 8)])
def test_best_is_the_checkpoint_of_the_highest_first_metric(tmp_path, scores, best):
    by_step = dict(zip([4, 8, 10], scores, strict=True))
    fit(Count(ramp()), tmp_path, validate=lambda method: {"psnr": by_step[method.done], "ssim": float(-method.done)})
    method = training.load_best(Count({}), tmp_path)
    assert method.done == best
    assert not method.networks["count"].training
    assert read_last(tmp_path)["method"]["networks.count"]["weight"].item() == 10


def test_best_is_kept_by_a_training_that_goes_on_with_worse_ones(tmp_path):
    def stop(method):
        if method.done == 8:
            raise KeyboardInterrupt
        return {"psnr": 9.0}

    with pytest.raises(KeyboardInterrupt):
        fit(Count(ramp()), tmp_path, validate=stop)
    fit(Count(ramp()), tmp_path, validate=lambda method: {"psnr": 1.0})
    assert training.load_best(Count({}), tmp_path).done == 4


def test_networks_train_on_after_a_validation_in_evaluation_mode(tmp_path):
    def validate(method):  # `Count.step` asserts the training mode
        method.train(False)
        return {"psnr": 0.0}

    assert fit(Count(ramp()), tmp_path, validate=validate)["step"].iloc[-1] == 10


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["l1", "generator_gradient"])
@pytest.mark.parametrize("lasting", [False, True], ids=["one step", "all later steps"])
def test_non_finite_term_is_named_with_the_step_where_it_began(tmp_path, value, name, lasting):
    terms = {"generator": np.ones(10), "l1": np.ones(10), "generator_gradient": np.ones(10)}
    terms[name][5 : None if lasting else 6] = value  # the sixth step; the next rows end at 6 and 8
    with pytest.raises(training.NonFiniteLoss, match=rf"step 6: {name} is .*{training.LAST}"):
        fit(Count(terms), tmp_path, log_every=100)
    assert read_last(tmp_path)["step"] == 4
    method = Count(ramp())
    assert fit(method, tmp_path)["step"].iloc[-1] == 10
    assert method.seen == [4, 5, 6, 7, 8, 9]


def test_cause_is_named_rather_than_what_follows_from_it(tmp_path):
    """A gradient without bound spoils the weights, and from the next step on every term."""
    terms = {"generator": np.ones(10), "l1": np.ones(10), "generator_gradient": np.ones(10)}
    terms["generator_gradient"][5] = float("inf")
    for values in terms.values():
        values[6:] = float("nan")
    with pytest.raises(training.NonFiniteLoss, match="step 6: generator_gradient is inf"):
        fit(Count(terms), tmp_path, log_every=100)


def test_non_finite_term_before_the_first_checkpoint_leaves_no_file(tmp_path):
    with pytest.raises(training.NonFiniteLoss, match="step 2: l1 is nan; no checkpoint yet"):
        fit(Count({"l1": [1, float("nan"), 1, 1]}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_gradient_that_is_not_a_number_under_a_finite_loss_is_found(tmp_path):
    class Root(Method):
        def __init__(self):
            super().__init__()
            self.add("count", nn.Linear(1, 1, bias=False), 0.1, (0.9, 0.99), warmup_cosine(10))
            nn.init.zeros_(self.networks["count"].weight)

        def step(self, batch):
            loss = self.networks["count"].weight.square().sum().sqrt()  # 0, with the gradient 0/0
            norm = self.update([loss], "count", max_grad_norm=0.5)
            return {"generator": loss.detach(), "generator_gradient": norm}

    with pytest.raises(training.NonFiniteLoss, match="step 1: generator_gradient is nan"):
        fit(Root(), tmp_path, log_every=1)


def test_last_checkpoint_of_another_length_is_refused_by_file(tmp_path):
    fit(Count(ramp()), tmp_path)
    with pytest.raises(ValueError, match=rf"{training.LAST} .* 10 steps, not 12"):
        fit(Count(ramp(12)), tmp_path, steps=12)


def flipped(data):
    """One bit of a tensor's numbers is another: torch itself would load it without a word."""
    place = data.index(torch.full((64,), 7.0).numpy().tobytes())
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"junk" * 1000,
        lambda data: b"\x80\x02}q\x00." + data,  # a pickle: torch's advice is to load it unsafely
        flipped,
        lambda data: saved([1, 2, 3]),
        lambda data: saved({"step": 4, "steps": 10}),
    ],
    ids=["empty", "cut", "junk", "pickle", "flipped", "a list", "missing keys"],
)
def test_a_damaged_checkpoint_is_named_in_one_line_that_says_what_to_do(tmp_path, damage):
    method = Count(ramp())
    method.networks["numbers"] = nn.Linear(64, 1, bias=False)
    nn.init.constant_(method.networks["numbers"].weight, 7.0)
    fit(method, tmp_path)
    last = tmp_path / training.LAST
    last.write_bytes(damage(last.read_bytes()))
    with pytest.raises(ValueError) as caught:
        fit(method, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{last} cannot be resumed (") and "\n" not in message and "weights_only" not in message
    assert message.endswith("); remove it, or start the sweep with --fresh")
    last.unlink()
    assert fit(Count(ramp()), tmp_path)["step"].iloc[-1] == 10


def test_a_damaged_best_checkpoint_is_named_in_one_line_too(tmp_path):
    fit(Count(ramp()), tmp_path)
    best = tmp_path / training.BEST
    best.write_bytes(best.read_bytes()[:20])
    with pytest.raises(ValueError, match=rf"{training.BEST} cannot be read .*; remove it and last.pt, or start the"):
        training.load_best(Count({}), tmp_path)


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_place_of_the_last_one(tmp_path, disk_calls):
    fit(Count(ramp()), tmp_path, steps=4)
    folder, files = tmp_path.stat().st_ino, [(tmp_path / name).stat().st_ino for name in (training.BEST, training.LAST)]
    assert disk_calls == [call for f in files for call in (("fsync", f), ("replace", f), ("fsync", folder))]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"losses": {"l1": 1.0, "ms_ssim": 0.5}}, "discriminator"),
        ({"channels": 12}, "networks.generator"),
        ({"generator": "picker"}, "networks.generator"),
        ({"discriminator_features": 8}, "networks.discriminator"),
    ],
    ids=lambda value: str(value),
)
def test_last_checkpoint_of_another_method_is_refused_by_part(tmp_path, changes, part):
    batches = shuffled_batches(2)
    training.fit(adversarial(steps=2), batches, tmp_path, lambda method: {"psnr": 1.0}, device="cpu")
    with pytest.raises(ValueError, match=part):
        training.fit(adversarial(steps=2, **changes), batches, tmp_path, lambda method: {"psnr": 1.0}, device="cpu")


@pytest.mark.parametrize("name", ["steps", "validate_every", "log_every"])
@pytest.mark.parametrize("value", [0, -1])
def test_length_or_distance_below_one_is_refused_by_name(tmp_path, name, value):
    batches = numbered(0 if name == "steps" else 5)
    options = {} if name == "steps" else {name: value}
    with pytest.raises(ValueError, match=f"{name}: .*{options.get(name, 0)}"):
        training.fit(Count(ramp()), batches, tmp_path, lambda method: {"psnr": 1.0}, device="cpu", **options)


def test_log_gets_one_line_for_each_validation_and_no_bar(tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # another test may have brought it in
    fit(Count(ramp()), tmp_path, validate=lambda method: {"psnr": 20.0 + method.done, "ssim": 0.5})
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 3 and err == "" and "\r" not in out
    for line, step in zip(lines, (4, 8, 10), strict=True):
        assert line.startswith(f"step {step}/10 ")
        assert f"psnr {20 + step}.000" in line and "ssim 0.500" in line


def test_what_has_nothing_to_learn_is_validated_and_no_more(tmp_path):
    method = Method()
    method.learns = False
    method.networks["generator"] = nn.Conv2d(3, 3, 1)
    history = training.fit(method, shuffled_batches(4), tmp_path, lambda method: {"psnr": 20, "ssim": 0.5})
    assert history.to_dict("records") == [{"step": 0, "validation_psnr": 20, "validation_ssim": 0.5}]
    assert history.attrs["steps"] == 0 == history.attrs["seconds"]
    weight = method.networks["generator"].weight.clone()
    nn.init.zeros_(method.networks["generator"].weight)
    training.load_best(method, tmp_path)
    assert torch.equal(method.networks["generator"].weight, weight)
