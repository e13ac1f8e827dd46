"""Shipped weights: precision, hash, size, and a card that says what the record says."""

import pickle

import numpy as np
import pytest
import torch

from restoration_lib.restore import weights
from restoration_lib.restore.levels import images_of, pixels_of
from restoration_lib.restore.photo import restore_photo
from restoration_lib.restore.photograph import Photograph, read, write
from restoration_lib.restore.shipped import begin_with, shipped
from restoration_lib.restore.weights import MODELS, Model, WeightsError, card, load, record, ship

CARD = """# shuffled

Nothing: its weights are of chance.

## Trained on

- none: no licence

- steps: 0
- device: any

## Measured: PSNR (dB) ↑

| images | degraded input | median 5x5 | this model |
| --- | --- | --- | --- |
| none (0) | 20.00 | 21.25 | 5 |

## What it cannot do

- It cannot restore.
- It does not learn.

![A failure](failure.jpg)

*A failure: given, restored, as it was.*
"""


def test_weights_come_back_in_half_precision(register, of_chance, record):
    network = of_chance("shuffled")
    folder = register("shuffled", network)
    loaded = load("shuffled")
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())
    assert sorted(path.name for path in folder.iterdir()) == ["shuffled.md", "shuffled.safetensors"]
    assert weights.record("shuffled") == record
    assert (folder / "shuffled.md").read_text(encoding="utf-8") == card("shuffled", weights.record("shuffled")) == CARD


class Code:
    def __reduce__(self):
        return pytest.fail, ("code was run",)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:100],
        lambda data: b"",
        lambda data: pickle.dumps(Code()),
        lambda data: bytes(weights.MOST_BYTES + 1),
    ],
)
def test_another_file_is_refused_unread(register, spoil):
    path = register("shuffled") / "shuffled.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(
        WeightsError, match=r"the weights of shuffled are damaged or others: shuffled\.safetensors has not"
    ):
        load("shuffled")


def test_a_missing_file_is_one_line(register):
    (register("shuffled") / "shuffled.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"the weights of shuffled cannot be read: No such file"):
        load("shuffled")


def test_a_card_explains_the_steps_of_several_trainings(record):
    for steps, notes in {"6000": 0, "900 (of 1000)": 1, "900 + 100": 1, "900 (of 1000) + 50": 2}.items():
        text = card("shuffled", record | {"training": {"steps": steps}})
        assert sum(note in text for note in weights.NOTES.values()) == notes


def test_a_card_shows_further_tables_and_figures_before_the_limits(record):
    more = {"tables": {"By width": [{"px": "2", "share": 0.5}, {"px": "4"}]}, "figures": {"wide.png": "Wide ones"}}
    shown = "| px | share |\n| --- | --- |\n| 2 | 0.50 |\n| 4 | – |\n\n![wide.png](wide.png)\n\n*Wide ones*"
    limits = "\n\n## What it cannot do"
    assert card("shuffled", record | more) == CARD.replace(limits, f"\n\n## By width\n\n{shown}{limits}")


def test_what_cannot_be_shipped_leaves_no_file(tmp_path, of_chance, record, monkeypatch):
    network = of_chance("shuffled")
    with pytest.raises(ValueError, match="shuffled: the record says nothing of data, limits"):
        ship("shuffled", network, {key: record[key] for key in record if key not in ("data", "limits")}, tmp_path)
    monkeypatch.setattr(weights, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="bytes, and 1000 is the most"):
        ship("shuffled", network, record, tmp_path)
    monkeypatch.undo()
    torch.nn.init.constant_(next(network.parameters()), 1e6)
    with pytest.raises(ValueError, match="half precision cannot hold"):
        ship("shuffled", network, record, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(ValueError, match="kind: expected one of image, damage, colour, got 'color'"):
        Model("color", "fcn.ResidualFCN", {}, "", "")


@pytest.mark.parametrize("name", MODELS)
def test_shipped_files_are_those_of_their_entries(name):
    load(name)
    assert (weights.FOLDER / f"{name}.md").read_text(encoding="utf-8") == card(name, record(name))


def test_no_file_is_shipped_without_an_entry_and_all_are_small():
    files = list(weights.FOLDER.glob("*.safetensors"))
    assert {path.stem for path in files} == set(MODELS)
    assert sum(path.stat().st_size for path in files) <= 30_000_000


def test_a_shipped_model_is_a_method_that_has_nothing_to_learn(register, of_chance):
    for name in ("scratches", "enlarge-2x"):
        register(name, of_chance(name))
        method, images = shipped(name, "shipped"), torch.randint(256, (2, 3, 20, 24)) / 255
        restored, found = method.paint(images)
        assert torch.equal(method.restore(images), restored) and restored.min() >= 0 and restored.max() <= 1
        assert not method.optimizers and (found is None) == (name == "enlarge-2x")
        if found is not None:
            assert found.dtype == torch.bool and found.shape == (2, 1, 20, 24)
            assert (restored == images).all(1, keepdim=True)[~found].all()
    assert shipped("scratches", "") is None
    with pytest.raises(ValueError, match="weights: expected"):
        shipped("scratches", "best")
    with pytest.raises(ValueError, match=r"model: expected any of .* did you mean scratches"):
        shipped("scratch", "shipped")


def test_a_shipped_finder_paints_what_the_command_does(register, of_chance, tmp_path):
    register("scratches", of_chance("scratches"))
    levels = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)
    write(Photograph(levels, "PNG"), tmp_path / "in.png")
    restore_photo(tmp_path / "in.png", tmp_path / "out.png", "scratches", mask_target=tmp_path / "m.png")
    restored, found = shipped("scratches", "shipped").paint(images_of(levels))
    np.testing.assert_array_equal(pixels_of(restored, np.uint8, 3), read(tmp_path / "out.png").pixels)
    np.testing.assert_array_equal(found[0, 0].numpy(), read(tmp_path / "m.png").pixels[..., 0] > 0)
    assert found.any() and not found.all()


def test_a_training_begins_with_a_shipped_network(register, of_chance):
    register("shuffled", of_chance("shuffled"))
    network, images = of_chance("shuffled"), torch.rand(1, 3, 20, 24)
    before = network(images)
    begin_with(network, "shuffled", "")
    assert torch.equal(network(images), before)
    begin_with(network, "shuffled", "shipped")
    assert torch.equal(network(images), load("shuffled")(images))
    with pytest.raises(ValueError, match="start: expected"):
        begin_with(network, "shuffled", "best")
    with pytest.raises(
        ValueError, match=r"start: shuffled is shipped as fcn\.ResidualFCN of channels 8, blocks 2; give"
    ):
        begin_with(of_chance("enlarge-2x"), "shuffled", "shipped")
    (weights.FOLDER / "shuffled.safetensors").unlink()
    with pytest.raises(WeightsError):
        begin_with(network, "shuffled", "shipped")
