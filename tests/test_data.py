"""Data sets made here with Pillow: splits, errors that name the culprit, and batches told by their pixels."""

import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from restoration_lib import splits
from restoration_lib.data import CropBatches, Pictures, degraded_pairs, load
from restoration_lib.degradations import pixel_shuffle
from restoration_lib.images import ImageError
from restoration_lib.splits import hash_split, split_paths

SHUFFLE = partial(pixel_shuffle, rate=1.0)


def save(folder, *names, width=16, height=12):
    """Write noise under these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        noise = np.random.default_rng(place).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)


def truncate(path):
    path.write_bytes(path.read_bytes()[:300])


def mapped(count, height=9, width=11):
    """Pictures whose pixels tell where they are: red the row, green the column, blue the picture."""
    rows, columns = np.mgrid[0:height, 0:width]
    arrays = [np.stack([rows, columns, np.full_like(rows, n)], axis=2).astype(np.uint8) for n in range(count)]
    return Pictures([f"{n}.png" for n in range(count)], arrays)


def levels(pictures):
    """Float pictures (N, 3, H, W) as the 8-bit levels they came from, (N, H, W, 3)."""
    return (pictures * 255).round().permute(0, 2, 3, 1).int().numpy()


def unchanged(pictures, generator):
    return pictures.clone()


def same(a, b):
    return set(a) == set(b) == {"input", "target"} and all(torch.equal(a[key], b[key]) for key in a)


# ---- splits


def test_subfolders_are_taken_as_they_are(tmp_path):
    save(tmp_path / "train", "b.png", "a.jpg")
    save(tmp_path / "val", "c.png")
    save(tmp_path / "test", "a.png", "d.png", "e.png")
    save(tmp_path, "stray.png")
    assert split_paths(tmp_path) == {
        "train": [tmp_path / "train" / name for name in ("a.jpg", "b.png")],
        "validation": [tmp_path / "val" / "c.png"],
        "test": [tmp_path / "test" / name for name in ("a.png", "d.png", "e.png")],
    }


def test_an_empty_subfolder_is_named(tmp_path):
    for name in ("train", "val", "test"):
        (tmp_path / name).mkdir()
    save(tmp_path / "train", "a.png")
    save(tmp_path / "test", "b.png")
    with pytest.raises(ImageError, match=re.escape(str(tmp_path / "val"))):
        split_paths(tmp_path)


def test_any_other_folder_is_split_by_hash(tmp_path):
    save(tmp_path, *(f"{n}.png" for n in range(40)))
    (tmp_path / "notes.txt").write_text("no picture")
    split = split_paths(str(tmp_path))
    assert split == hash_split([tmp_path / f"{n}.png" for n in range(40)])
    assert sum(map(len, split.values())) == 40


def paths_of(count, prefix=""):
    return [Path(f"{prefix}{n}.jpg") for n in range(count)]


def test_the_splits_are_disjoint_and_cover_the_folder():
    for count in (3, 4, 10, 200):
        parts = hash_split(paths_of(count))
        assert list(parts) == ["train", "validation", "test"]
        assert sorted(path for part in parts.values() for path in part) == sorted(paths_of(count))


def test_a_tenth_goes_to_the_test_and_a_tenth_to_the_validation():
    parts = hash_split(paths_of(2000))
    assert len(parts["test"]) == pytest.approx(200, abs=50)
    assert len(parts["validation"]) == pytest.approx(200, abs=50)


def test_added_pictures_move_none_that_were_there():
    before, after = hash_split(paths_of(200)), hash_split(paths_of(200) + paths_of(150, "added"))
    for split, part in before.items():
        assert set(part) == set(after[split]) & set(paths_of(200))


def test_neither_order_nor_folder_changes_the_split():
    parts = hash_split(paths_of(100))
    assert hash_split(paths_of(100)[::-1]) == parts
    moved = hash_split([Path("elsewhere") / path for path in paths_of(100)])
    assert {split: [path.name for path in part] for split, part in moved.items()} == {
        split: [path.name for path in part] for split, part in parts.items()
    }


@pytest.mark.parametrize("count", [3, 4, 5, 10])
def test_from_three_pictures_on_every_split_has_one(count):
    for folder in range(300):
        sizes = {split: len(part) for split, part in hash_split(paths_of(count, f"{folder}-")).items()}
        assert min(sizes.values()) >= 1, f"{folder}-: {sizes}"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ImageError, match=re.escape(str(tmp_path / "absent"))):
        split_paths(tmp_path / "absent")


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    save(tmp_path, "a.png")
    with pytest.raises(ImageError, match=re.escape(str(tmp_path / "a.png"))):
        split_paths(tmp_path / "a.png")


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ImageError, match=re.escape(str(tmp_path))):
        split_paths(tmp_path)


def test_two_pictures_are_too_few_to_split(tmp_path):
    save(tmp_path, "a.png", "b.png")
    with pytest.raises(ImageError, match=re.escape(str(tmp_path)) + ".* 2 "):
        split_paths(tmp_path)


def test_a_data_set_is_called_by_its_folder(tmp_path, monkeypatch):
    (tmp_path / "faces").mkdir()
    assert splits.name(tmp_path / "faces") == splits.name(f"{tmp_path}/faces/") == "faces"
    monkeypatch.chdir(tmp_path / "faces")
    assert splits.name(".") == "faces"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert splits.name("~/faces") == "faces"


def test_a_sample_data_set_keeps_its_name():
    assert splits.name("samples") == "samples"
    assert splits.name("samples/paintings") == "samples/paintings"


# ---- reading


def test_pictures_are_read_in_order_as_they_are(tmp_path):
    save(tmp_path, "b.png", "a.png")
    pictures = load([tmp_path / "b.png", tmp_path / "a.png"])
    assert (len(pictures), pictures.names, pictures.skipped) == (2, ["b.png", "a.png"], [])
    for n, name in enumerate(pictures.names):
        pixels = np.asarray(Image.open(tmp_path / name))
        np.testing.assert_array_equal(pictures.arrays[n], pixels)
        assert pictures[n].shape == (3, 12, 16)
        np.testing.assert_allclose(pictures[n].permute(1, 2, 0).numpy(), pixels / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (40, 20, 10, (10, 20)),
        (20, 40, 10, (20, 10)),
        (31, 31, 30, (30, 30)),
        (50, 33, 20, (20, 30)),
        (40, 20, 20, (20, 40)),
        (40, 20, 30, (20, 40)),
        (40, 20, 0, (20, 40)),
    ],
)
def test_size_reduces_the_shorter_side_and_never_enlarges(tmp_path, width, height, size, expected):
    save(tmp_path, "a.png", width=width, height=height)
    assert load([tmp_path / "a.png"], size).arrays[0].shape == (*expected, 3)


def test_reducing_keeps_the_mean_colour(tmp_path):
    save(tmp_path, "a.png", width=60, height=40)
    before, after = (load([tmp_path / "a.png"], size).arrays[0] for size in (0, 10))
    np.testing.assert_allclose(after.mean((0, 1)), before.mean((0, 1)), atol=4)


def test_pictures_of_one_file_name_get_names_of_their_own(tmp_path):
    """Otherwise the tables, which tell pictures by their names, would lose one."""
    save(tmp_path, "a.png")
    assert load([tmp_path / "a.png"] * 3).names == ["a.png", "a.png #2", "a.png #3"]


def test_limit_takes_the_first_pictures(tmp_path):
    save(tmp_path, "a.png", "b.png", "c.png")
    paths = sorted(tmp_path.glob("*.png"))
    assert load(paths, limit=2).names == ["a.png", "b.png"]
    assert load(paths, limit=9).names == load(paths).names == ["a.png", "b.png", "c.png"]


def test_a_truncated_jpeg_is_named_skipped_and_listed(tmp_path):
    save(tmp_path, "a.png", "bad.jpg", "c.png")
    truncate(tmp_path / "bad.jpg")
    with pytest.warns(UserWarning, match=r"skipped: .*bad\.jpg: cannot be read") as caught:
        pictures = load(sorted(tmp_path.iterdir()))
    assert len(caught) == 1
    assert pictures.names == ["a.png", "c.png"]
    assert len(pictures) == len(pictures.arrays) == 2
    [line] = pictures.skipped
    assert "bad.jpg: cannot be read" in line
    assert str(tmp_path) not in line, "records are shared: no one's folders in them"


def test_a_folder_of_unreadable_pictures_is_named(tmp_path):
    save(tmp_path, "a.jpg", "b.jpg")
    for path in tmp_path.iterdir():
        truncate(path)
    with warnings.catch_warnings(action="ignore"), pytest.raises(ImageError, match=re.escape(str(tmp_path)) + ".* 2 "):
        load(sorted(tmp_path.iterdir()))


@pytest.mark.parametrize("name", ["size", "limit"])
def test_a_negative_number_is_refused_by_name(tmp_path, name):
    save(tmp_path, "a.png")
    with pytest.raises(ValueError, match=name):
        load([tmp_path / "a.png"], **{name: -1})


def test_a_picture_smaller_than_the_crop_is_named(tmp_path):
    save(tmp_path, "a.png", width=30, height=30)
    save(tmp_path, "small.png", width=16, height=30)
    pictures = load(sorted(tmp_path.iterdir()))
    with pytest.raises(ImageError, match=r"small\.png: 16 x 30 px.* 17 px"):
        CropBatches(pictures, SHUFFLE, crop=17, batch_size=1, steps=1, seed=0)
    assert len(CropBatches(pictures, SHUFFLE, crop=16, batch_size=1, steps=3, seed=0)) == 3


# ---- batches


def batches(pictures, degrade=SHUFFLE, crop=6, batch_size=3, steps=20, seed=0):
    return CropBatches(pictures, degrade, crop, batch_size, steps, seed)


def test_a_batch_is_a_pure_function_of_seed_and_step():
    pictures = mapped(5)
    one, other = batches(pictures), batches(pictures)
    torch.manual_seed(1)
    forward = [one[step] for step in range(6)]
    torch.manual_seed(2)
    backward = [other[step] for step in reversed(range(6))][::-1]
    assert all(map(same, forward, backward))
    assert not any(same(forward[0], batch) for batch in forward[1:])


def test_the_seed_draws_order_crops_and_damage():
    assert batches(mapped(50), seed=0).indices(0) != batches(mapped(50), seed=1).indices(0)
    first, second = (batches(mapped(1), seed=seed)[0] for seed in (0, 1))
    assert not torch.equal(first["target"], second["target"])
    whole = [batches(mapped(1, 6, 6), batch_size=1, seed=seed)[0]["input"] for seed in (0, 1)]
    assert not torch.equal(*whole)


def test_the_number_of_steps_changes_no_batch():
    assert same(batches(mapped(5), steps=10)[7], batches(mapped(5), steps=1000)[7])


def test_making_a_batch_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    batches(mapped(5))[0]
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_change_no_batch():
    dataset = batches(mapped(5), steps=6)
    loaded = list(DataLoader(dataset, batch_size=None, num_workers=2))
    assert len(loaded) == 6
    assert all(same(loaded[step], dataset[step]) for step in range(6))


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_each_epoch_shows_every_picture_once(batch_size):
    count, epochs = 5, 21
    dataset = batches(mapped(count), unchanged, batch_size=batch_size, steps=count * epochs // batch_size)
    shown = [n for step in range(len(dataset)) for n in levels(dataset[step]["target"])[:, 0, 0, 2].tolist()]
    orders = [tuple(shown[k : k + count]) for k in range(0, len(shown), count)]
    assert len(orders) == epochs
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert len(set(orders)) > epochs / 2, "the order hardly changes"


def test_a_crop_is_a_part_of_its_picture_or_the_mirror_of_one():
    pictures = mapped(3, height=9, width=11)
    dataset = batches(pictures, unchanged, crop=6, steps=150)
    corners, mirrored = [], 0
    for step in range(len(dataset)):
        for crop in levels(dataset[step]["target"]):
            if crop[0, 0, 1] > crop[0, -1, 1]:
                crop, mirrored = crop[:, ::-1], mirrored + 1
            row, column, n = crop[0, 0]
            np.testing.assert_array_equal(crop, pictures.arrays[n][row : row + 6, column : column + 6])
            corners.append((row, column))
    assert set(corners) == {(row, column) for row in range(4) for column in range(6)}, "not every position is drawn"
    assert mirrored == pytest.approx(len(corners) / 2, rel=0.2)


def test_a_crop_as_large_as_the_picture_is_the_picture():
    pictures = mapped(1, height=6, width=6)
    crops = levels(batches(pictures, unchanged, crop=6, batch_size=8)[0]["target"])
    for crop in crops:
        assert any(np.array_equal(crop, whole) for whole in (pictures.arrays[0], pictures.arrays[0][:, ::-1]))


def test_the_input_is_the_degraded_target():
    batch = batches(mapped(5), lambda pictures, generator: 1 - pictures)[3]
    assert batch["target"].shape == (3, 3, 6, 6)
    assert torch.equal(batch["input"], 1 - batch["target"])


def test_a_shuffled_input_holds_the_pixels_of_its_target():
    batch = batches(mapped(5), crop=9)[0]
    observed, truth = (levels(batch[key]).reshape(3, -1, 3).tolist() for key in ("input", "target"))
    assert observed != truth
    for one, other in zip(observed, truth, strict=True):
        assert sorted(one) == sorted(other)


@pytest.mark.parametrize("name", ["crop", "batch_size"])
def test_a_batch_of_nothing_is_refused_by_name(name):
    with pytest.raises(ValueError, match=name):
        batches(mapped(2), **{name: 0})


# ---- pairs


def test_the_damage_of_a_pair_depends_on_its_name_and_the_seed_alone():
    pictures = mapped(4)
    pairs = {pair.name: pair for pair in degraded_pairs(pictures, SHUFFLE, seed=3)}
    turned = Pictures(pictures.names[:0:-1], pictures.arrays[:0:-1])  # three of them, the last one first
    torch.manual_seed(1)
    for pair in degraded_pairs(turned, SHUFFLE, seed=3):
        assert torch.equal(pair.input, pairs[pair.name].input)
        assert torch.equal(pair.target, pairs[pair.name].target)
    for pair in degraded_pairs(pictures, SHUFFLE, seed=4):
        assert not torch.equal(pair.input, pairs[pair.name].input)


def test_names_tell_the_damage_of_equal_pictures():
    array = mapped(1).arrays[0]
    first, second = degraded_pairs(Pictures(["a.png", "b.png"], [array, array]), SHUFFLE)
    assert torch.equal(first.target, second.target)
    assert not torch.equal(first.input, second.input)


def test_a_pair_holds_the_whole_picture_and_its_damage():
    pictures = mapped(2)
    pairs = degraded_pairs(pictures, lambda pictures, generator: pictures / 2)
    assert [pair.name for pair in pairs] == ["0.png", "1.png"]
    for pair, array in zip(pairs, pictures.arrays, strict=True):
        np.testing.assert_array_equal(levels(pair.target)[0], array)
        assert torch.equal(pair.input, pair.target / 2)


def test_further_draws_are_new_damage_of_the_same_picture_and_change_no_first_one():
    pictures = mapped(3)
    once, thrice = (degraded_pairs(pictures, SHUFFLE, seed=3, draws=draws) for draws in (1, 3))
    assert [pair.name for pair in thrice] == [f"{n}.png{draw}" for n in range(3) for draw in ("", " (2)", " (3)")]
    for n, first in enumerate(once):
        drawn = thrice[3 * n : 3 * n + 3]
        assert all(torch.equal(pair.target, first.target) for pair in drawn)
        assert torch.equal(drawn[0].input, first.input)
        assert len({tuple(pair.input.flatten().tolist()) for pair in drawn}) == 3
