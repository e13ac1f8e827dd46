"""The trainings of the networks for faded photographs, for enlargement and for shuffled pixels: runs of few steps."""

import runpy
import sys

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb

from restoration_lib.data.files import to_tensor
from restoration_lib.restore.weights import load


def history(folder):
    return torch.load(folder / "last.pt", weights_only=True)["history"][-1]


@pytest.mark.slow
def test_faded(load_script, photographs):
    sizes = {"SIZE": 48, "CROP": 32, "VALIDATION_SIZE": 48, "VALIDATION_CROP": 40}
    load_script("train_faded", BATCH_SIZE=1, **sizes).main(photographs, photographs / "run", 2)
    names = {f"validation_{name}" for name in ("psnr", "ssim", "ciede2000", "chroma")}
    assert names < set(history(photographs / "run"))


def test_chroma_is_the_distance_from_grey(load_script):
    script = load_script("train_faded")
    lab = np.full((8, 8, 3), (60.0, 12.0, -5.0))
    image = to_tensor((lab2rgb(lab) * 255).round().astype(np.uint8))[None]
    assert script.chroma(image) == pytest.approx(13, abs=0.5)
    assert script.chroma(image[:, :1].expand(-1, 3, -1, -1)) == pytest.approx(0, abs=0.1)


TINY = {"SIZES": {2: {"features": 4, "blocks": 1}}, "CROP": {2: 32}, "BATCH_SIZE": 1}


@pytest.mark.slow
def test_enlargement_begins_with_the_weights_of_another(load_script, photographs):
    script = load_script("train_enlarge", VALIDATION_CROP=40, **TINY)
    script.main(2, photographs, photographs / "first", 2)
    assert "validation_psnr_y" in history(photographs / "first")
    script.main(2, photographs, photographs / "second", 1, 0, photographs / "first")
    state = torch.load(photographs / "second" / "last.pt", weights_only=True)["method"]
    assert state["schedulers.generator"]["base_lrs"] == [script.FURTHER_RATE]
    begun = script.begun(2, photographs / "first").state_dict()
    for key, value in state["networks.generator"].items():
        torch.testing.assert_close(value, begun[key], atol=1e-2, rtol=0)  # one step away


def test_enlargement_begins_with_what_ships(load_script):
    script = load_script("train_enlarge")
    network = script.method(2, 1).networks["generator"]
    network.load_state_dict(script.begun(2, "shipped").state_dict())
    shipped = script.weights.load("enlarge-2x")(torch.ones(1, 3, 4, 4))
    assert torch.equal(network(torch.ones(1, 3, 4, 4)), shipped)


@pytest.mark.slow
def test_shuffled_goes_on_from_what_ships(load_script, photographs):
    script = load_script("train_shuffled", CROP=32, BATCH_SIZE=1, VALIDATION_CROP=40)
    script.main(photographs, photographs / "run", 1, 0, "shipped")
    state = torch.load(photographs / "run" / "last.pt", weights_only=True)["method"]
    assert state["schedulers.generator"]["base_lrs"] == [script.FURTHER_RATE]
    shipped = load("shuffled").state_dict()
    for key, value in state["networks.generator"].items():
        torch.testing.assert_close(value, shipped[key], atol=1e-3, rtol=0)  # one step away


def test_shuffled_begins_with_nothing_but_what_ships(load_script, monkeypatch):
    script = load_script("train_shuffled")
    monkeypatch.setattr(sys, "argv", [script.__file__, "photographs", "folder", "1", "0", "another"])
    with pytest.raises(SystemExit, match=r"python scripts/train_shuffled\.py "):
        runpy.run_path(script.__file__, run_name="__main__")


TAKE_ARGUMENTS = ["train_faded", "train_enlarge", "train_shuffled", "train_painter", "ship", "pack_for_gpu", "slim"]


@pytest.mark.parametrize("name", TAKE_ARGUMENTS)
def test_wrong_arguments_print_the_usage(name, load_script, monkeypatch):
    script = load_script(name)
    monkeypatch.setattr(sys, "argv", [script.__file__, "a"])
    with pytest.raises(SystemExit, match=rf"python scripts/{name}\.py "):
        runpy.run_path(script.__file__, run_name="__main__")
