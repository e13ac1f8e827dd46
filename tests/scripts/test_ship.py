"""What a card says of the trainings behind a model."""

import pytest
import torch


@pytest.fixture
def ship(load_script):
    return load_script("ship")


def folder_of(path, seconds, scores):
    """A training that validated its steps 100, 200, … with these scores."""
    path.mkdir()
    history = [{"step": 100 * (k + 1), "validation_psnr": score} for k, score in enumerate(scores)]
    state = {"step": 100 * len(scores), "seconds": seconds, "history": [{"step": 50}, *history]}
    torch.save(state, path / "last.pt")
    return str(path)


def test_trainings_follow_each_other_from_what_ships(ship, tmp_path, monkeypatch):
    shipped = {"steps": "7", "minutes": "1", "device": "an old one"}
    monkeypatch.setattr(ship.weights, "record", lambda name: {"training": shipped | {"date": "then"}})
    monkeypatch.setattr(ship.devices, "describe", lambda device: f"a new {device}")
    assert ship.trainings("faded", ["shipped"]) == shipped
    first, second = (folder_of(tmp_path / str(k), 60 * k, scores) for k, scores in ((3, (1, 3, 2)), (5, (1, 2))))
    assert ship.trainings("faded", [second, first, "shipped"]) == {
        "steps": "7 + 200 (of 300) + 200",
        "minutes": "1 + 3 + 5",
        "device": "an old one + a new cpu",
    }
