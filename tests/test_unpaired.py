"""Unpaired domains: made folders against torchvision's own listing and plain sets, batches told by their pixels."""

import os
import shutil
from collections import Counter

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image

from restoration_lib.data import Pictures, load
from restoration_lib.degradations import age
from restoration_lib.images import ImageError
from restoration_lib.unpaired import UnpairedBatches, domains, keep


def save(folder, *names, size=(8, 6)):
    """Write one-coloured pictures under these names."""
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (place, 100, 200)).save(folder / name)
    return folder


def numbered(count, prefix=""):
    return [f"{prefix}{n}.png" for n in range(count)]


def files(split):
    return [path for part in split.values() for path in part]


def real(paths):
    return {path.resolve() for path in paths}


def mapped(count, mark, height=9, width=11):
    """Pictures whose pixels tell where they are: red the place in raster order, green the picture, blue the domain."""
    places = np.arange(height * width).reshape(height, width)
    arrays = [np.stack([places, places * 0 + n, places * 0 + mark], axis=2).astype(np.uint8) for n in range(count)]
    return Pictures([f"{mark}-{n}.png" for n in range(count)], arrays)


def levels(pictures):
    return (pictures * 255).round().permute(0, 2, 3, 1).int().numpy()


def batches(a=None, b=None, degrade=keep, crop=6, batch_size=2, steps=300, seed=0):
    return UnpairedBatches(a or mapped(5, 10), b or mapped(7, 20), degrade, crop, batch_size, steps, seed)


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- domains


def test_two_folders_are_split_each_by_itself(tmp_path):
    a, b = save(tmp_path / "a", *numbered(30)), save(tmp_path / "b", *numbered(12), "more/13.jpg")
    for split, folder, count in zip(domains(a, str(b)), (a, b), (30, 13), strict=True):
        assert list(split) == ["train", "validation", "test"]
        assert len(files(split)) == len(set(files(split))) == count
        assert all(folder in path.parents for path in files(split))
        assert all(split.values())


def test_class_folders_hold_what_torchvision_finds(tmp_path):
    from torchvision.datasets import ImageFolder

    a = save(tmp_path / "a", "cats/1.png", "cats/deep/2.JPG", "cows/1.png", "cows/3.webp", "cows/4.TIFF", "cows/5.bmp")
    (a / "cats" / "notes.txt").write_text("no picture")
    expected = {os.path.realpath(path) for path, _ in ImageFolder(a).samples}
    split, _ = domains(a, save(tmp_path / "b", *numbered(5)))
    assert {os.path.realpath(path) for path in files(split)} == expected


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("way", ["plain", "relative", "link", "home", "dots"])
def test_a_domain_inside_the_other_is_refused(tmp_path, monkeypatch, way, swap):
    outer = save(tmp_path / "all", *numbered(9), *numbered(9, "part/"))
    (tmp_path / "link").symlink_to(outer / "part", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(outer))
    inner = {"plain": outer / "part", "relative": "all/part", "link": "link", "home": "~/part", "dots": "link/../part"}
    pair = (outer, inner[way])
    with pytest.raises(ImageError, match="all/part lies inside ") as caught:
        domains(*(pair[::-1] if swap else pair))
    assert str(outer) in one_line(caught)


def test_folders_side_by_side_with_names_that_begin_alike_are_taken(tmp_path):
    a, b = save(tmp_path / "old", *numbered(5)), save(tmp_path / "old photographs", *numbered(5))
    for split, folder in zip(domains(a, b), (a, b), strict=True):
        assert {path.parent for path in files(split)} == {folder}


@pytest.mark.parametrize("part", ["samples/photographs", "samples/paintings"])
def test_all_samples_and_a_part_of_them_are_refused(part):
    for pair in (("samples", part), (part, "samples")):
        with pytest.raises(ImageError, match=f"{part} lies inside samples") as caught:
            domains(*pair)
        one_line(caught)


def test_photographs_and_paintings_are_two_domains():
    a, b = domains("samples/photographs", "samples/paintings")
    assert (len(files(a)), len(files(b))) == (32, 174)
    assert not set(files(a)) & set(files(b))


def test_one_set_on_both_sides_gives_every_second_picture_to_either(tmp_path):
    folder = save(tmp_path / "one", *numbered(40))
    a, b = domains(folder, folder)
    assert (a["validation"], a["test"]) == (b["validation"], b["test"])
    held_out = {*a["validation"], *a["test"]}
    assert set(a["train"]) | set(b["train"]) == set(folder.iterdir()) - held_out
    ranked = sorted({*a["train"], *b["train"]}, key=lambda path: path.name)
    assert a["train"] == sorted(path for place, path in enumerate(ranked) if place % 2 == 0)
    assert b["train"] == sorted(path for place, path in enumerate(ranked) if place % 2 == 1)


@pytest.mark.parametrize("way", ["same", "slash", "relative", "link", "home", "dots", "samples"])
def test_one_set_on_both_sides_shares_no_training_picture_however_it_is_written(tmp_path, monkeypatch, way):
    folder = save(tmp_path / "one", *numbered(20))
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    if way == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
    ways = {"slash": f"{folder}/", "relative": "one", "link": tmp_path / "link", "home": "~/one", "dots": "link/../one"}
    a, b = domains("samples", "samples") if way == "samples" else domains(folder, ways.get(way, folder))
    assert not real(a["train"]) & real(b["train"])
    assert not (real(a["train"]) | real(b["train"])) & real([*a["test"], *a["validation"]])


def test_the_halves_depend_on_names_alone(tmp_path):
    folder, moved = save(tmp_path / "one", *numbered(25, "x/"), *numbered(9, "y/")), tmp_path / "moved"
    shutil.copytree(folder, moved)
    for path in moved.rglob("*.png"):
        Image.new("RGB", (3, 3)).save(path)
    for one, other in zip(domains(folder, folder), domains(moved, moved), strict=True):
        assert [path.relative_to(folder) for path in one["train"]] == [
            path.relative_to(moved) for path in other["train"]
        ]


def test_one_training_picture_cannot_be_divided(tmp_path):
    folder = save(tmp_path / "few", *numbered(3))
    with pytest.raises(ImageError, match="few: 1 training picture") as caught:
        domains(folder, folder)
    one_line(caught)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("fault", ["empty", "absent", "two"])
def test_a_domain_without_enough_pictures_is_named(tmp_path, fault, swap):
    full, bad = save(tmp_path / "full", *numbered(5)), tmp_path / fault
    if fault != "absent":
        bad.mkdir()
    if fault == "two":
        save(bad, *numbered(2))
    with pytest.raises(ImageError, match=rf"/{fault}: ") as caught:
        domains(*((bad, full) if swap else (full, bad)))
    one_line(caught)


def test_every_kind_of_file_is_loaded_as_upright_rgb(tmp_path):
    a = tmp_path / "a"
    a.mkdir()
    half = np.zeros((6, 8), dtype=np.uint8)
    half[:3] = 255  # the upper half is white, the lower one black
    white_above = Image.fromarray(half)
    white_above.save(a / "grey.png")
    Image.fromarray(half.astype(np.uint16) * 257).save(a / "deep.png")
    white_above.convert("RGB").convert("CMYK").save(a / "inks.tif")
    white_above.convert("1").save(a / "bits.png")
    white_above.convert("P").save(a / "palette.bmp")
    Image.fromarray(np.dstack([half * 0] * 3 + [255 - half])).save(a / "alpha.png")  # black, clear in the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn anticlockwise
    Image.fromarray(np.rot90(half)).convert("RGB").save(a / "turned.png", exif=exif)
    split, _ = domains(a, save(tmp_path / "b", *numbered(4)))
    pictures = load(files(split))
    assert len(pictures) == 7 and not pictures.skipped
    for name, array in zip(pictures.names, pictures.arrays, strict=True):
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, np.dstack([half] * 3), err_msg=name)


# ---- batches


def test_a_batch_depends_on_seed_and_step_alone():
    one, other = batches(degrade=age), batches(degrade=age, steps=10)
    assert (len(one), len(other)) == (300, 10)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    forward = [one[step] for step in range(6)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    backward = [other[step] for step in reversed(range(6))][::-1]
    for first, second in zip(forward, backward, strict=True):
        assert list(first) == ["a", "b"]
        for name in first:
            assert first[name].shape == (2, 3, 6, 6)
            assert torch.equal(first[name], second[name])
    for name in ("a", "b"):
        assert not torch.equal(forward[0][name], batches(degrade=age, seed=1)[0][name])
        assert not torch.equal(forward[0][name], forward[1][name])


def test_only_domain_a_is_degraded_and_each_crop_comes_from_its_domain():
    a, b = mapped(5, 10), mapped(7, 20)
    plain, negative = batches(a, b), batches(a, b, lambda pictures, generator: 1 - pictures)
    for step in range(30):
        assert torch.equal(negative[step]["a"], 1 - plain[step]["a"])
        assert torch.equal(negative[step]["b"], plain[step]["b"])
        for name, pictures, mark in (("a", a, 10), ("b", b, 20)):
            for crop in levels(plain[step][name]):
                crop = crop if crop[0, 0, 0] < crop[0, -1, 0] else crop[:, ::-1]
                place, number, blue = crop[0, 0]
                assert blue == mark
                row, column = divmod(place, 11)
                expected = pictures.arrays[number][row : row + 6, column : column + 6]
                np.testing.assert_array_equal(crop, expected)


def test_each_domain_shows_all_its_pictures_each_epoch_whatever_the_other_holds():
    dataset = batches(steps=35)  # 14 epochs of the 5 pictures of A, 10 of the 7 of B
    for name, count in (("a", 5), ("b", 7)):
        shown = [n for step in range(35) for n in levels(dataset[step][name])[:, 0, 0, 1].tolist()]
        for first in range(0, 70, count):
            assert sorted(shown[first : first + count]) == list(range(count))


def test_the_domains_are_drawn_independently():
    dataset = batches(mapped(4, 10), mapped(4, 20), steps=500)
    pictures, places = Counter(), 0
    for step in range(500):
        a, b = (levels(dataset[step][name])[:, 0, 0] for name in ("a", "b"))
        pictures.update(zip(a[:, 1].tolist(), b[:, 1].tolist(), strict=True))
        places += (a[:, 0] == b[:, 0]).sum()
    assert len(pictures) == 16
    assert scipy.stats.chisquare(list(pictures.values())).pvalue > 1e-4
    assert places < 100, "crops lie in the same place in both domains"


@pytest.mark.parametrize("small", ["a", "b"])
def test_a_picture_smaller_than_the_crop_is_named(small):
    sides = {"a": mapped(2, 10), "b": mapped(2, 20)}
    sides[small].arrays[1] = sides[small].arrays[1][:5]
    with pytest.raises(ImageError, match=r"0-1\.png: 11 x 5 px .* 6 px") as caught:
        batches(**sides)
    assert one_line(caught).startswith({"a": "10-1", "b": "20-1"}[small])
    assert len(batches(**sides, crop=5)) == 300


@pytest.mark.parametrize("step", [-1, 300])
def test_a_step_beyond_the_training_is_refused(step):
    with pytest.raises(IndexError, match=str(step)):
        batches()[step]
