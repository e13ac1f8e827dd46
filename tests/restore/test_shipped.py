"""The models that ship: their files and cards, and their metrics measured anew on the sample images."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from restoration_lib.data import datasets, samples
from restoration_lib.restore import tiles, weights
from restoration_lib.restore.damage import Mender, found
from restoration_lib.restore.levels import images_of, pixels_of
from restoration_lib.restore.tiles import reach

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = list(weights.MODELS)


@pytest.fixture(scope="module")
def ship():
    """The script that measured them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        spec = importlib.util.spec_from_file_location("ship", SCRIPTS / "ship.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "ship", module)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("name", NAMES)
def test_its_numbers_are_finite_and_its_failure_is_there(name):
    assert all(torch.isfinite(value).all() for value in weights.load(name).state_dict().values())
    assert (weights.FOLDER / weights.record(name)["failure"]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_its_metric_on_the_sample_images_is_that_of_its_card(name, ship):
    table = ship.rows(name, weights.load(name), ship.test_sets(name))
    metric = table.columns.difference(["set", "image", "method"])[0]
    (found,) = ship.results(table, metric, ship.MODELS[name].draws)
    expected = weights.record(name)["results"][0]
    assert found.pop("images") == expected.pop("images")
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_it_beats_what_was_given_and_the_classical_filter_on_all_images(name):
    for row in weights.record(name)["results"]:
        assert row["this model"] > max(value for key, value in row.items() if key not in ("images", "this model"))


@pytest.mark.parametrize("name", [name for name in NAMES if weights.MODELS[name].kind == weights.IMAGE])
def test_in_tiles_and_in_bf16_it_makes_the_same_to_a_level(name, monkeypatch):
    """Where the hardware is not faster in bf16 the tiles alone are looked at."""
    pixels = datasets.load(samples.vintage()).arrays[0][300:450, 300:500]
    network = weights.load(name)
    reached = reach(network)
    with torch.inference_mode():
        untiled = pixels_of(network(images_of(pixels)), pixels.dtype, 3).astype(int)
    for side in (2 * reached.margin + 64, 1000):
        monkeypatch.setattr(tiles, "CPU_BYTES", reached.bytes * side**2)
        assert np.abs(tiles.apply(network, reached, pixels) - untiled).max() <= 1


@pytest.mark.slow
@pytest.mark.skipif("scratches" not in NAMES, reason="no finder is shipped")
def test_the_vintage_kittens_keep_their_whiskers():
    kittens = datasets.load(samples.vintage())
    mender = Mender(weights.load("scratches"))
    for name, array in zip(kittens.names, kittens.arrays, strict=True):
        assert found(mender.find(array)).mean() <= 0.003, name
