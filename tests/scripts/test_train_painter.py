"""The training of the painter that ships: the finder's calibration, and a run of few steps."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restoration_lib.data.datasets import Images
from restoration_lib.methods.finder import Finder

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    """The script with tiny sizes and without the samples."""
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.delitem(sys.modules, "train_finder", raising=False)
    spec = importlib.util.spec_from_file_location("train_painter", SCRIPTS / "train_painter.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sizes = {"CROP": 32, "BATCH_SIZE": 1, "VALIDATION_IMAGES": 2, "VALIDATION_CROP": 32, "VALIDATE_EVERY": 2}
    for name, value in sizes.items():
        assert hasattr(module, name)
        monkeypatch.setattr(module, name, value)
    finder = sys.modules["train_finder"]
    for name, value in {"SIZE": 48, "CROP": 32, "BATCH_SIZE": 1, "VALIDATION_IMAGES": 2, "VALIDATE_EVERY": 2}.items():
        monkeypatch.setattr(finder, name, value)
    monkeypatch.setattr(finder.samples, "split", lambda which: {"train": []})
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)
    monkeypatch.delitem(sys.modules, "train_finder", raising=False)


def photographs(count, height=50, width=60):
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        yield coarse.resize((width, height), Image.Resampling.BICUBIC)


def test_a_calibrated_finder_finds_what_is_allowed_of_undamaged_images(script, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(script, "FALSE_ALARMS", 0.02)
    finder, undamaged = Finder(steps=1), Images()
    for k, photograph in enumerate(photographs(3)):
        undamaged.add(f"{k}.png", photograph)
    network = script.generator_with(finder, undamaged).finder.eval()
    with torch.no_grad():
        found = torch.stack([network(2 * undamaged[k][None] - 1) > 0 for k in range(3)])
    assert found.float().mean() == pytest.approx(0.02, abs=0.001)


@pytest.mark.slow
def test_it_trains_beside_a_finder(script, tmp_path, capsys):
    for part in ("photos/train", "photos/test", "overlays"):
        (tmp_path / part).mkdir(parents=True)
        for k, photograph in enumerate(photographs(3)):
            photograph.save(tmp_path / part / f"{k}.png")
    photos, overlays = tmp_path / "photos", tmp_path / "overlays"
    sys.modules["train_finder"].main(photos, overlays, tmp_path / "finder", 2)
    script.main(photos, overlays, tmp_path / "finder", tmp_path / "painter", 2)
    assert "becomes 0" in capsys.readouterr().out
    row = torch.load(tmp_path / "painter" / "last.pt", weights_only=True)["history"][-1]
    assert set(row) == {"step", "generator", "painter_gradient", "validation_psnr", "validation_ssim"}
