"""Scripts as modules, and folders of made photographs."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def load_script(monkeypatch):
    """Load a script anew, with other values of some of its names, and without the samples."""
    monkeypatch.syspath_prepend(SCRIPTS)
    threads = torch.get_num_threads()

    def load(name, **values):
        monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module(name)
        monkeypatch.setitem(sys.modules, name, module)
        for key, value in values.items():
            assert hasattr(module, key)
            monkeypatch.setattr(module, key, value)
        monkeypatch.setattr("restoration_lib.data.samples.split", lambda which: {"train": []})
        return module

    yield load
    torch.set_num_threads(threads)


@pytest.fixture
def photographs(tmp_path):
    """A folder with three images of coarse noise, 60 x 50 px, in each of train/, test/ and overlays/."""
    rng = np.random.default_rng(0)
    for part in ("train", "test", "overlays"):
        (tmp_path / part).mkdir()
        for k in range(3):
            coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
            coarse.resize((60, 50), Image.Resampling.BICUBIC).save(tmp_path / part / f"{k}.png")
    return tmp_path
