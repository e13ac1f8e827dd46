"""The training of the painter that ships: the finder's calibration, and a run of few steps."""

import pytest
import torch

from restoration_lib.data.datasets import load
from restoration_lib.data.files import list_images
from restoration_lib.methods.finder import Finder

TINY = {"CROP": 32, "BATCH_SIZE": 1, "VALIDATION_CROP": 32, "VALIDATE_EVERY": 2}


@pytest.fixture
def finder_script(load_script):
    return load_script("train_finder", SIZE=48, **TINY)


@pytest.fixture
def script(finder_script, load_script):
    return load_script("train_painter", **TINY)


def test_a_calibrated_finder_finds_what_is_allowed_of_undamaged_images(script, photographs, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(script, "FALSE_ALARMS", 0.02)
    undamaged = load(list_images(photographs / "test"))
    network = script.generator_with(Finder(steps=1), undamaged).finder.eval()
    with torch.no_grad():
        found = torch.stack([network(2 * undamaged[k][None] - 1) > 0 for k in range(3)])
    assert found.float().mean() == pytest.approx(0.02, abs=0.001)


@pytest.mark.slow
def test_it_trains_beside_a_finder(script, finder_script, photographs, capsys):
    finder_script.main(photographs, photographs / "overlays", photographs / "finder", 2)
    script.main(photographs, photographs / "overlays", photographs / "finder", photographs / "painter", 2)
    assert "becomes 0" in capsys.readouterr().out
    row = torch.load(photographs / "painter" / "last.pt", weights_only=True)["history"][-1]
    assert set(row) == {"step", "generator", "painter_gradient", "validation_psnr", "validation_ssim"}
