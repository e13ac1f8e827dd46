"""What a card says of the trainings behind a model."""

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def ship(load_script):
    return load_script("ship")


def folder_of(path, seconds, scores):
    """A training that validated its steps 100, 200, … with these scores."""
    path.mkdir()
    history = [{"step": 100 * (k + 1), "validation_psnr": score} for k, score in enumerate(scores)]
    state = {"step": 100 * len(scores), "seconds": seconds, "history": [{"step": 50}, *history], "device": "a new one"}
    torch.save(state, path / "last.pt")
    return str(path)


def test_trainings_follow_each_other_from_what_ships(ship, tmp_path, monkeypatch):
    shipped = {"steps": "7", "minutes": "1", "device": "an old one"}
    monkeypatch.setattr(ship.weights, "record", lambda name: {"training": shipped | {"date": "then"}})
    assert ship.trainings("faded", ["shipped"]) == shipped
    first, second = (folder_of(tmp_path / str(k), 60 * k, scores) for k, scores in ((3, (1, 3, 2)), (5, (1, 2))))
    assert ship.trainings("faded", [second, first, "shipped"]) == {
        "steps": "7 + 200 (of 300) + 200",
        "minutes": "1 + 3 + 5",
        "device": "an old one + a new one",
    }


def test_what_validates_is_not_measured(ship, tmp_path, monkeypatch):
    """The first images of FREE_PHOTOS/test choose a network, the others say how good it is."""
    rng = np.random.default_rng(0)
    (tmp_path / "test").mkdir()
    for k in range(22):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "test" / f"{k:02}.png")
    sample = {"test": [tmp_path / "test" / "00.png"]}
    monkeypatch.setattr(ship.samples, "split", lambda which: sample)
    monkeypatch.setattr(ship.samples, "vintage", list)
    validate = [path.name for path in ship.validation_files(tmp_path)]
    measured = ship.test_sets("scratches", tmp_path)["free_photos"].names
    assert len(validate) == 20 and measured == ["20.png", "21.png"] and not set(validate) & set(measured)
