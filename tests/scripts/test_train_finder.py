"""The training of the finder that ships, of made images and few steps: checkpoints, going on, usage."""

import math
import runpy
import sys
from functools import partial

import numpy as np
import pytest
import torch

from restoration_lib.data.damage import PRINT_DAMAGE
from restoration_lib.data.datasets import degraded_pairs, load
from restoration_lib.degradations import scratched

TINY = {"SIZE": 48, "CROP": 32, "BATCH_SIZE": 1, "VALIDATION_CROP": 32, "VALIDATE_EVERY": 2}


@pytest.fixture
def script(load_script):
    return load_script("train_finder", **TINY)


@pytest.fixture
def folders(photographs):
    """Photographs and overlay images."""
    return photographs, photographs / "overlays"


@pytest.mark.slow
def test_it_trains_writes_checkpoints_and_goes_on_where_it_stopped(script, folders, tmp_path, monkeypatch, capsys):
    def state(folder):
        return torch.load(tmp_path / folder / "last.pt", weights_only=True)

    script.main(*folders, tmp_path / "whole", 4)
    assert "6 images, " in capsys.readouterr().out, "each photograph twice"
    assert (tmp_path / "whole" / "best.safetensors").exists() and state("whole")["step"] == 4
    names = [f"validation_{name}" for name in ("f1", "recall", "recall48", "undamaged0", "undamaged1")]
    rows = state("whole")["history"]
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        assert set(row) == {"step", "generator", "finder_gradient", *names}
        assert all(math.isfinite(row[name]) for name in ("generator", "validation_undamaged0"))

    step, calls = script.Finder.step, []

    def stopping(self, batch):
        calls.append(batch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(script.Finder, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        script.main(*folders, tmp_path / "stopped", 4)
    assert state("stopped")["step"] == 2
    script.main(*folders, tmp_path / "stopped", 4)
    assert "goes on after step 2" in capsys.readouterr().out
    whole, stopped = (state(folder)["method"] for folder in ("whole", "stopped"))
    for name, value in whole["networks.average"].items():
        assert torch.equal(value, stopped["networks.average"][name]), name


def test_a_training_begins_with_the_weights_of_another(script, folders, tmp_path):
    script.main(*folders, tmp_path / "first", 2)
    mean = script.training.load_best(script.Finder(steps=1), tmp_path / "first").networks["average"].module
    further = script.Finder(steps=1)
    script.begin_with(further, tmp_path / "first")
    for network in (further.networks["finder"], further.networks["average"].module):
        assert all(map(torch.equal, network.state_dict().values(), mean.state_dict().values()))
    script.main(*folders, tmp_path / "second", 2, 1, tmp_path / "first")
    state = torch.load(tmp_path / "second" / "last.pt", weights_only=True)["method"]
    assert state["schedulers.finder"]["base_lrs"] == [script.FURTHER_RATE]


def test_a_training_begins_with_what_ships(script):
    finder = script.Finder(steps=1)
    script.begin_with(finder, "shipped")
    found = finder.find(torch.full((1, 3, 32, 32), 0.25))
    torch.testing.assert_close(found, script.weights.load("scratches").finder(torch.full((1, 3, 32, 32), -0.5)))


def test_scores_are_those_of_counted_pixels(script, folders):
    """A finder that finds the left half of whatever it is shown, and is sure of a quarter."""

    class Halves:
        def find(self, images):
            logits = torch.full_like(images[:, :1], -1.0)
            logits[..., : images.shape[-1] // 2] = 0.5
            logits[..., : images.shape[-1] // 4] = 2.0
            return logits

    images = load(sorted((folders[0] / "test").glob("*.png")))
    found = script.validator(images)(Halves())
    assert found == script.validator(images)(Halves())
    assert (found.pop("undamaged0"), found.pop("undamaged1")) == (50, 25)
    expected = []
    for pair in degraded_pairs(images, partial(scratched, **PRINT_DAMAGE), 32):
        levels = (pair.input - pair.target).abs().amax(1).mul(255).round()[0].numpy()
        true, half = levels >= 8, np.arange(32) < 16
        hits = (true & half).sum()
        clear = levels >= 48
        expected.append([2 * hits / (true.sum() + 32 * 16), hits / true.sum(), (clear & half).sum() / clear.sum()])
    assert list(found) == ["f1", "recall", "recall48"]
    np.testing.assert_allclose(list(found.values()), np.mean(expected, 0), rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("arguments", [[], ["a", "b", "c"], ["a", "b", "c", "many"], [*"abc", "5", "0", *"de"]])
def test_wrong_arguments_print_the_usage(arguments, script, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script.__file__, *arguments])
    with pytest.raises(SystemExit, match=r"python scripts/train_finder\.py FREE_PHOTOS OVERLAYS FOLDER STEPS"):
        runpy.run_path(script.__file__, run_name="__main__")
