"""Splits of made folders against torchvision's own listing, plain sets and names written out."""

import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from restoration_lib.data import samples
from restoration_lib.data.files import ImageError
from restoration_lib.data.splits import SPLITS, dataset_name, hash_split, split_dataset, split_domains, split_pairs


def save(folder, *names, size=(8, 6)):
    """Write one-coloured images under these names."""
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (place, 100, 200)).save(folder / name)
    return folder


def numbered(count, prefix="", suffix="png"):
    return [f"{prefix}{n}.{suffix}" for n in range(count)]


def files(split):
    return [path for part in split.values() for path in part]


def real(paths):
    return {path.resolve() for path in paths}


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- one data set


def paths_of(count, prefix=""):
    return [Path(f"{prefix}{n}.jpg") for n in range(count)]


def test_subfolders_are_taken_as_they_are(tmp_path):
    save(tmp_path / "train", "b.png", "a.jpg")
    save(tmp_path / "val", "c.png")
    save(tmp_path / "test", "a.png", "d.png", "e.png")
    save(tmp_path, "stray.png")
    assert split_dataset(tmp_path) == {
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
        split_dataset(tmp_path)


def test_any_other_folder_is_split_by_hash(tmp_path):
    save(tmp_path, *(f"{n}.png" for n in range(40)))
    (tmp_path / "notes.txt").write_text("no image")
    split = split_dataset(str(tmp_path))
    assert split == hash_split([tmp_path / f"{n}.png" for n in range(40)])
    assert sum(map(len, split.values())) == 40


def test_the_splits_are_disjoint_and_cover_the_folder():
    for count in (3, 4, 10, 200):
        parts = hash_split(paths_of(count))
        assert tuple(parts) == SPLITS == ("train", "validation", "test")
        assert sorted(path for part in parts.values() for path in part) == sorted(paths_of(count))


def test_a_tenth_goes_to_the_test_and_a_tenth_to_the_validation():
    parts = hash_split(paths_of(2000))
    assert len(parts["test"]) == pytest.approx(200, abs=50)
    assert len(parts["validation"]) == pytest.approx(200, abs=50)


def test_added_images_move_none_that_were_there():
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
def test_from_three_images_on_every_split_has_one(count):
    for folder in range(300):
        sizes = {split: len(part) for split, part in hash_split(paths_of(count, f"{folder}-")).items()}
        assert min(sizes.values()) >= 1, f"{folder}-: {sizes}"


def test_names_that_are_not_utf_8_are_split_too(tmp_path):
    folder = save(tmp_path / os.fsdecode(b"caf\xe9"), "a.png", "b.png", os.fsdecode(b"caf\xe9.png"), "two\nlines.png")
    assert len(files(split_dataset(folder))) == 4
    assert dataset_name(folder) == r"caf\xe9"
    other = save(tmp_path / "other", "a.png", "b.png", os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"only\n\xe9.png"))
    pairs, unmatched = split_pairs(folder, other)
    assert sum(map(len, pairs.values())) == 3
    assert unmatched == [r"other/only\n\xe9.png", r"caf\xe9/two\nlines.png"]


@pytest.mark.parametrize("folder", ["~nosuchuser/x", Path("~nosuchuser/x")])
def test_the_home_of_nobody_is_a_folder_that_does_not_exist(tmp_path, folder):
    save(tmp_path, *numbered(3))
    assert dataset_name(folder) == "x"
    for split, arguments in ((split_dataset, [folder]), (split_domains, [folder, tmp_path]), (split_pairs, [folder])):
        with pytest.raises(ImageError, match=r"~nosuchuser/x: does not exist"):
            split(*arguments)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ImageError, match=re.escape(str(tmp_path / "absent"))):
        split_dataset(tmp_path / "absent")


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    save(tmp_path, "a.png")
    with pytest.raises(ImageError, match=re.escape(str(tmp_path / "a.png"))):
        split_dataset(tmp_path / "a.png")


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ImageError, match=re.escape(str(tmp_path))):
        split_dataset(tmp_path)


def test_two_images_are_too_few_to_split(tmp_path):
    save(tmp_path, "a.png", "b.png")
    with pytest.raises(ImageError, match=re.escape(str(tmp_path)) + ".* 2 "):
        split_dataset(tmp_path)


def test_a_data_set_is_called_by_its_folder(tmp_path, monkeypatch):
    (tmp_path / "faces").mkdir()
    assert dataset_name(tmp_path / "faces") == dataset_name(f"{tmp_path}/faces/") == "faces"
    monkeypatch.chdir(tmp_path / "faces")
    assert dataset_name(".") == "faces"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dataset_name("~/faces") == "faces"


def test_a_sample_data_set_keeps_its_name():
    assert dataset_name("samples") == "samples"
    assert dataset_name("samples/paintings") == "samples/paintings"


def test_of_coco_every_second_validation_image_is_for_the_test(tmp_path):
    train = save(tmp_path / "train2017", *numbered(3, "0000"))
    held_out = save(tmp_path / "val2017", *numbered(4, "0000"))
    assert split_dataset(tmp_path) == {
        "train": [train / name for name in numbered(3, "0000")],
        "validation": [held_out / "00000.png", held_out / "00002.png"],
        "test": [held_out / "00001.png", held_out / "00003.png"],
    }


@pytest.mark.parametrize("there", [("train",), ("train", "test"), ("val", "test")])
def test_a_folder_with_some_of_the_subfolders_is_refused(tmp_path, there):
    for name in there:
        save(tmp_path / name, *numbered(5))
    with pytest.raises(ImageError, match=f"{tmp_path}: has {' and '.join(there)}, but train, val and test are needed"):
        split_dataset(tmp_path)


# ---- two domains


def test_two_folders_are_split_each_by_itself(tmp_path):
    a, b = save(tmp_path / "a", *numbered(30)), save(tmp_path / "b", *numbered(12), "more/13.jpg")
    for split, folder, count in zip(split_domains(a, str(b)), (a, b), (30, 13), strict=True):
        assert list(split) == ["train", "validation", "test"]
        assert len(files(split)) == len(set(files(split))) == count
        assert all(folder in path.parents for path in files(split))
        assert all(split.values())


@pytest.mark.slow
def test_class_folders_hold_what_torchvision_finds(tmp_path):
    from torchvision.datasets import ImageFolder

    a = save(tmp_path / "a", "cats/1.png", "cats/deep/2.JPG", "cows/1.png", "cows/3.webp", "cows/4.TIFF", "cows/5.bmp")
    (a / "cats" / "notes.txt").write_text("no image")
    expected = {os.path.realpath(path) for path, _ in ImageFolder(a).samples}
    split, _ = split_domains(a, save(tmp_path / "b", *numbered(5)))
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
        split_domains(*(pair[::-1] if swap else pair))
    assert str(outer) in one_line(caught)


def test_folders_side_by_side_with_names_that_begin_alike_are_taken(tmp_path):
    a, b = save(tmp_path / "old", *numbered(5)), save(tmp_path / "old photographs", *numbered(5))
    for split, folder in zip(split_domains(a, b), (a, b), strict=True):
        assert {path.parent for path in files(split)} == {folder}


@pytest.mark.parametrize("part", ["samples/photographs", "samples/paintings"])
def test_all_samples_and_a_part_of_them_are_refused(part):
    for pair in (("samples", part), (part, "samples")):
        with pytest.raises(ImageError, match=f"{part} lies inside samples") as caught:
            split_domains(*pair)
        one_line(caught)


def test_photographs_and_paintings_are_two_domains():
    a, b = split_domains("samples/photographs", "samples/paintings")
    assert (len(files(a)), len(files(b))) == (32, 174)
    assert not set(files(a)) & set(files(b))


def test_one_set_on_both_sides_gives_every_second_image_to_either(tmp_path):
    folder = save(tmp_path / "one", *numbered(40))
    a, b = split_domains(folder, folder)
    assert (a["validation"], a["test"]) == (b["validation"], b["test"])
    held_out = {*a["validation"], *a["test"]}
    assert set(a["train"]) | set(b["train"]) == set(folder.iterdir()) - held_out
    ranked = sorted({*a["train"], *b["train"]}, key=lambda path: path.name)
    assert a["train"] == sorted(path for place, path in enumerate(ranked) if place % 2 == 0)
    assert b["train"] == sorted(path for place, path in enumerate(ranked) if place % 2 == 1)


@pytest.mark.parametrize("way", ["same", "slash", "relative", "link", "home", "dots", "samples"])
def test_one_set_on_both_sides_shares_no_training_image_however_it_is_written(tmp_path, monkeypatch, way):
    folder = save(tmp_path / "one", *numbered(20))
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    if way == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
    ways = {"slash": f"{folder}/", "relative": "one", "link": tmp_path / "link", "home": "~/one", "dots": "link/../one"}
    a, b = split_domains("samples", "samples") if way == "samples" else split_domains(folder, ways.get(way, folder))
    assert not real(a["train"]) & real(b["train"])
    assert not (real(a["train"]) | real(b["train"])) & real([*a["test"], *a["validation"]])


def test_the_halves_depend_on_names_alone(tmp_path):
    folder, moved = save(tmp_path / "one", *numbered(25, "x/"), *numbered(9, "y/")), tmp_path / "moved"
    shutil.copytree(folder, moved)
    for path in moved.rglob("*.png"):
        Image.new("RGB", (3, 3)).save(path)
    for one, other in zip(split_domains(folder, folder), split_domains(moved, moved), strict=True):
        assert [path.relative_to(folder) for path in one["train"]] == [
            path.relative_to(moved) for path in other["train"]
        ]


def test_one_training_image_cannot_be_divided(tmp_path):
    folder = save(tmp_path / "few", *numbered(3))
    with pytest.raises(ImageError, match="few: 1 training image") as caught:
        split_domains(folder, folder)
    one_line(caught)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("fault", ["empty", "absent", "two"])
def test_a_domain_without_enough_images_is_named(tmp_path, fault, swap):
    full, bad = save(tmp_path / "full", *numbered(5)), tmp_path / fault
    if fault != "absent":
        bad.mkdir()
    if fault == "two":
        save(bad, *numbered(2))
    with pytest.raises(ImageError, match=rf"/{fault}: ") as caught:
        split_domains(*((bad, full) if swap else (full, bad)))
    one_line(caught)


# ---- pairs


def test_pairs_are_the_names_that_both_folders_have_and_the_others_are_listed(tmp_path):
    clean = save(tmp_path / "clean", *numbered(12), "only.png", "sub/deep.png")
    damaged = save(tmp_path / "damaged", *numbered(12, suffix="jpg"), "unmatched.png", "sub/deep.jpg")
    parts, unmatched = split_pairs(clean, damaged)
    assert unmatched == ["damaged/unmatched.png", "clean/only.png"]
    pairs = files(parts)
    assert len(pairs) == 13 and all(one.stem == other.stem for one, other in pairs)
    assert {one.parent.name for one, _ in pairs} == {"damaged", "sub"}
    assert all(part == sorted(part, key=lambda pair: pair[1].stem) for part in parts.values())
    assert parts["train"] and parts["validation"] and parts["test"]


def test_the_clean_folder_says_which_split_a_pair_is_in(tmp_path):
    clean = save(tmp_path / "clean", "train/a.png", "val/b.png", "test/c.png", "test/only.png")
    damaged = save(tmp_path / "damaged", "a.png", "b.png", "c.png")
    parts, unmatched = split_pairs(clean, damaged)
    assert {part: [path.name for _, path in pairs] for part, pairs in parts.items()} == {
        "train": ["a.png"], "validation": ["b.png"], "test": ["c.png"]
    }  # fmt: skip
    assert unmatched == ["clean/test/only.png"]


def test_the_layout_of_humanface8000_is_recognised(tmp_path):
    save(tmp_path / "color", *numbered(6))
    save(tmp_path / "gray", *numbered(6))
    parts, unmatched = split_pairs(tmp_path)
    assert len(files(parts)) == 6 and not unmatched
    assert {(one.parent.name, other.parent.name) for one, other in files(parts)} == {("gray", "color")}


def test_without_a_damaged_folder_the_damage_is_drawn(tmp_path):
    parts, unmatched = split_pairs(save(tmp_path / "clean", *numbered(6)))
    assert not unmatched and {one for one, _ in files(parts)} == {None}


def test_folders_without_a_common_name_are_named(tmp_path):
    clean, damaged = save(tmp_path / "clean", *numbered(4)), save(tmp_path / "damaged", "x.png")
    with pytest.raises(ImageError, match=r"damaged and .*clean: 0 file names are in both, .* need 3 or more"):
        split_pairs(clean, damaged)


def test_two_files_of_one_name_are_named(tmp_path):
    clean = save(tmp_path / "clean", *numbered(4))
    damaged = save(tmp_path / "damaged", *numbered(4), "2.jpg")
    with pytest.raises(ImageError, match=r"damaged: 2\.jpg and 2\.png have the same name"):
        split_pairs(clean, damaged)


def test_folders_of_one_layout_are_paired_by_their_paths(tmp_path):
    layout = ["train/1.png", "val/1.png", "test/1.png"]
    clean, damaged = save(tmp_path / "clean", *layout), save(tmp_path / "damaged", *layout)
    parts, _ = split_pairs(clean, damaged)
    assert all(one.relative_to(damaged) == other.relative_to(clean) for one, other in files(parts))
    (damaged / "val" / "1.png").unlink()
    save(damaged, "train/2.png")
    save(clean, "train/2.png")
    with pytest.raises(ImageError, match=r"clean: no validation image has a partner in .*damaged"):
        split_pairs(clean, damaged)


def test_what_cannot_be_pairs_is_told(tmp_path):
    clean = save(tmp_path / "clean", *numbered(4))
    with pytest.raises(ImageError, match="is both the damaged and the clean folder"):
        split_pairs(clean, clean)
    for one, other in ((clean, tmp_path), (tmp_path, clean)):
        with pytest.raises(ImageError, match=f"{clean} lies inside {tmp_path}: give .* side by side"):
            split_pairs(one, other)
    with pytest.raises(ImageError, match="samples are samples, which have no damaged partners"):
        split_pairs("samples", clean)


def test_vintage_samples_are_no_clean_partners():
    parts, _ = split_pairs("samples")
    clean = {path for pairs in parts.values() for _, path in pairs}
    everything = {path for paths in split_dataset("samples").values() for path in paths}
    assert everything - clean == set(samples.vintage()) != set()
