"""Data sets made here with Pillow: errors that name the culprit, pairs told by their pixels."""

import os
import re
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from restoration_lib.data.datasets import (
    Images,
    PairedImages,
    degraded_pairs,
    fixed_pairs,
    load,
    load_overlay_masks,
    load_pairs,
    load_sets,
)
from restoration_lib.data.files import ImageError, list_images, read_overlay_mask, to_tensor
from restoration_lib.degradations import downscale, keep, pixel_shuffle

SHUFFLE = partial(pixel_shuffle, rate=1.0)


def downscaled(scale):
    return partial(downscale, scale=scale)


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(folder, *names, size=(16, 12)):
    """Write noise under these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        Image.fromarray(noise(*size, place)).save(folder / name)
    return folder


def truncate(path):
    path.write_bytes(path.read_bytes()[:300])


def mapped(count, height=9, width=11):
    """Images whose pixels tell where they are: red the row, green the column, blue the image."""
    rows, columns = np.mgrid[0:height, 0:width]
    arrays = [np.stack([rows, columns, np.full_like(rows, n)], axis=2).astype(np.uint8) for n in range(count)]
    return Images([f"{n}.png" for n in range(count)], arrays)


def levels(images):
    """Float images (N, 3, H, W) as the 8-bit levels they came from, (N, H, W, 3)."""
    return (images * 255).round().permute(0, 2, 3, 1).int().numpy()


def test_images_are_read_in_order_as_they_are(tmp_path):
    save(tmp_path, "b.png", "a.png")
    images = load([tmp_path / "b.png", tmp_path / "a.png"])
    assert (len(images), images.names, images.skipped) == (2, ["b.png", "a.png"], [])
    for n, name in enumerate(images.names):
        pixels = np.asarray(Image.open(tmp_path / name))
        np.testing.assert_array_equal(images.arrays[n], pixels)
        assert images[n].shape == (3, 12, 16)
        np.testing.assert_allclose(images[n].permute(1, 2, 0).numpy(), pixels / 255, atol=1e-6)


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
    save(tmp_path, "a.png", size=(width, height))
    assert load([tmp_path / "a.png"], size).arrays[0].shape == (*expected, 3)


def test_reducing_keeps_the_mean_colour(tmp_path):
    save(tmp_path, "a.png", size=(60, 40))
    before, after = (load([tmp_path / "a.png"], size).arrays[0] for size in (0, 10))
    np.testing.assert_allclose(after.mean((0, 1)), before.mean((0, 1)), atol=4)


def test_images_of_one_file_name_get_names_of_their_own(tmp_path):
    """Otherwise the tables, which tell images by their names, would lose one."""
    save(tmp_path, "a.png")
    assert load([tmp_path / "a.png"] * 3).names == ["a.png", "a.png #2", "a.png #3"]


def test_limit_takes_the_first_images(tmp_path):
    save(tmp_path, "a.png", "b.png", "c.png")
    paths = sorted(tmp_path.glob("*.png"))
    assert load(paths, limit=2).names == ["a.png", "b.png"]
    assert load(paths, limit=9).names == load(paths).names == ["a.png", "b.png", "c.png"]


def test_a_truncated_jpeg_is_named_skipped_and_listed(tmp_path):
    save(tmp_path, "a.png", "bad.jpg", "c.png")
    truncate(tmp_path / "bad.jpg")
    with pytest.warns(UserWarning, match=r"skipped: .*bad\.jpg: cannot be read") as caught:
        images = load(sorted(tmp_path.iterdir()))
    assert len(caught) == 1
    assert images.names == ["a.png", "c.png"]
    assert len(images) == len(images.arrays) == 2
    [line] = images.skipped
    assert "bad.jpg: cannot be read" in line
    assert str(tmp_path) not in line, "records are shared: no one's folders in them"


def test_names_that_cannot_be_printed_are_shown_with_backslashes(tmp_path):
    """In tables, records and messages; the file itself keeps its name."""
    names = [os.fsdecode(name) for name in (b"caf\xe9.png", b"two\nlines.png", b"bad\xff\n.jpg", b"text\xff.png")]
    save(tmp_path, *names)
    truncate(tmp_path / names[2])
    (tmp_path / names[3]).write_text("no image")
    with pytest.warns(UserWarning, match=r"skipped: bad\\xff\\n\.jpg: cannot be read as an image"):
        images = load([tmp_path / name for name in names])
    assert images.names == [r"caf\xe9.png", r"two\nlines.png"]
    bad, text = images.skipped
    assert bad.startswith(r"bad\xff\n.jpg: cannot be read") and text.startswith(r"text\xff.png: cannot be read")
    assert "/" not in bad + text, "records are shared: no one's folders in them"
    assert [pair.name for pair in degraded_pairs(images, SHUFFLE)] == images.names


def test_links_that_lead_nowhere_are_skipped_with_a_line_each(tmp_path):
    save(tmp_path, "a.png")
    for name, target in {"b.png": "gone.png", "c.png": "c.png", "more": "/gone/more"}.items():
        (tmp_path / name).symlink_to(target)
    with pytest.warns(UserWarning, match="skipped: "):
        images = load(list_images(tmp_path))
    assert images.names == ["a.png"]
    assert [line.partition(":")[0] for line in images.skipped] == ["b.png", "c.png", "more"]


def test_a_folder_of_unreadable_images_is_named(tmp_path):
    save(tmp_path, "a.jpg", "b.jpg")
    for path in tmp_path.iterdir():
        truncate(path)
    with warnings.catch_warnings(action="ignore"), pytest.raises(ImageError, match=re.escape(str(tmp_path)) + ".* 2 "):
        load(sorted(tmp_path.iterdir()))


@pytest.mark.parametrize("name", ["size", "limit"])
def test_a_negative_number_is_refused_by_name(tmp_path, name):
    save(tmp_path, "a.png")
    with pytest.raises(ValueError, match=rf"\A{name}: expected a number, 0 or more, got -1\Z"):
        load([tmp_path / "a.png"], **{name: -1})


def test_every_kind_of_file_is_loaded_as_upright_rgb(tmp_path):
    half = np.zeros((6, 8), dtype=np.uint8)
    half[:3] = 255  # the upper half is white, the lower one black
    white_above = Image.fromarray(half)
    white_above.save(tmp_path / "grey.png")
    Image.fromarray(half.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    white_above.convert("RGB").convert("CMYK").save(tmp_path / "inks.tif")
    white_above.convert("1").save(tmp_path / "bits.png")
    white_above.convert("P").save(tmp_path / "palette.bmp")
    Image.fromarray(np.dstack([half * 0] * 3 + [255 - half])).save(
        tmp_path / "alpha.png"
    )  # black, clear in the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn anticlockwise
    Image.fromarray(np.rot90(half)).convert("RGB").save(tmp_path / "turned.png", exif=exif)
    images = load(list_images(tmp_path))
    assert len(images) == 7 and not images.skipped
    for name, array in zip(images.names, images.arrays, strict=True):
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, np.dstack([half] * 3), err_msg=name)


def test_images_smaller_than_the_side_asked_for_are_skipped_and_listed(tmp_path):
    save(tmp_path, "a.png", size=(50, 20))
    save(tmp_path, "b.png", "c.png", size=(50, 40))
    loaded = load(list_images(tmp_path), limit=1, min_side=32)
    assert loaded.names == ["b.png"]
    assert loaded.skipped == ["a.png: 50 x 20 px is smaller than the 32 px needed"]
    assert load(list_images(tmp_path), min_side=40).names == ["b.png", "c.png"]
    with pytest.raises(ImageError, match=r"none of the 3 images .* the last: c.png: 50 x 40 px is smaller"):
        load(list_images(tmp_path), min_side=64)


def test_min_side_counts_after_the_reduction(tmp_path):
    save(tmp_path, "a.png", size=(50, 40))
    assert load([tmp_path / "a.png"], size=20, min_side=20).arrays[0].shape == (20, 25, 3)
    with pytest.raises(ImageError, match=r"a.png: 25 x 20 px is smaller than the 32 px needed"):
        load([tmp_path / "a.png"], size=20, min_side=32)


def test_without_paths_nothing_can_be_loaded():
    with pytest.raises(ImageError, match="none of the 0 images can be used"):
        load([])


# ---- pairs given


def test_a_pair_of_two_sizes_is_named_with_both(tmp_path):
    one, other = save(tmp_path / "d", "a.png", size=(12, 10)), save(tmp_path / "c", "a.png", size=(24, 20))
    with pytest.raises(ImageError, match=r"d/a\.png \(12 x 10 px\) and .*c/a\.png \(24 x 20 px\): .* the same size"):
        load_pairs([(one / "a.png", other / "a.png")], size=5)
    with pytest.raises(ValueError, match=r"\Asize: expected a number, 0 or more, got -5\Z"):
        load_pairs([(one / "a.png", one / "a.png")], size=-5)


def test_a_pair_with_an_unreadable_file_is_skipped_and_counted(tmp_path):
    for folder in ("d", "c"):
        save(tmp_path / folder, "a.png", "b.png", "e.png")
    (tmp_path / "d" / "b.png").write_bytes(b"not an image")
    (tmp_path / "c" / "e.png").write_bytes(b"neither")
    files = [(tmp_path / "d" / name, tmp_path / "c" / name) for name in ("a.png", "b.png", "e.png")]
    with pytest.warns(UserWarning, match="skipped: [be].png"):
        pairs = load_pairs(files)
    assert len(pairs) == 1
    assert pairs.clean.names == pairs.damaged.names == ["a.png"]
    assert [line.split(":")[0] for line in pairs.clean.skipped] == ["b.png", "e.png"]
    with pytest.warns(UserWarning), pytest.raises(ImageError, match="none of the 2 pairs can be used"):
        load_pairs(files[1:])


def test_without_damaged_files_the_damage_is_to_be_drawn(tmp_path):
    clean = list_images(save(tmp_path, "a.png", "b.png"))
    pairs = load_pairs([(None, path) for path in clean])
    assert pairs.damaged is None and len(pairs) == 2
    assert all(np.array_equal(one, other) for one, other in zip(pairs.clean.arrays, load(clean).arrays, strict=True))


def test_size_reduces_both_alike(tmp_path):
    one, other = (save(tmp_path / folder, "a.png", size=(12, 10)) / "a.png" for folder in ("d", "c"))
    pairs = load_pairs([(one, other)], size=5)
    assert pairs.damaged.arrays[0].shape == pairs.clean.arrays[0].shape == (5, 6, 3)
    assert load([other], 5).arrays[0].shape == (5, 6, 3)


def test_pairs_smaller_than_the_crop_are_skipped_and_counted(tmp_path):
    files = []
    for name, side in (("a.png", 12), ("b.png", 6), ("c.png", 9)):
        files.append(tuple(save(tmp_path / folder, name, size=(20, side)) / name for folder in ("d", "c")))
    for given in (files, [(None, path) for _, path in files]):
        pairs = load_pairs(given, min_side=9)
        assert pairs.clean.names == ["a.png", "c.png"]
        assert pairs.damaged is None or pairs.damaged.names == pairs.clean.names
        assert pairs.clean.skipped == ["b.png: 20 x 6 px is smaller than the 9 px needed"]
    with pytest.raises(
        ImageError,
        match=r"none of the 3 (images|pairs) can be used; the last: c\.png: 20 x 9 px is smaller than the 15",
    ):
        load_pairs(files, min_side=15)


@pytest.fixture
def pairs():
    rng, names = np.random.default_rng(0), [f"{n}.png" for n in range(5)]
    clean = [rng.integers(0, 128, (20, 24, 3), dtype=np.uint8) for _ in range(5)]
    return PairedImages(Images(names, clean), Images(names, [array + 100 for array in clean]))


def test_fixed_pairs_are_the_central_pixels(pairs):
    [pair, *rest] = fixed_pairs(pairs, keep, 10)
    assert len(rest) == 4 and pair.name == "0.png"
    middle = pairs.damaged.arrays[0][5:15, 7:17]
    assert np.array_equal(pair.input[0].permute(1, 2, 0).mul(255).round().numpy(), middle)
    assert torch.allclose(pair.input - pair.target, torch.tensor(100 / 255))
    assert fixed_pairs(pairs, keep)[0].input.shape == (1, 3, 20, 24)
    drawn = fixed_pairs(PairedImages(pairs.clean, None), keep, 10)
    assert torch.equal(drawn[2].input, degraded_pairs(pairs.clean, keep, 10)[2].input)


@pytest.mark.parametrize("given", [True, False])
def test_the_first_pairs_are_the_same_of_both_sides(pairs, given):
    if not given:
        pairs = PairedImages(pairs.clean, None)
    for count, kept in ((2, 2), (9, 5), (0, 5)):
        few = pairs.first(count)
        assert len(few) == kept and few.clean.names == pairs.clean.names[:kept]
        assert all(one is other for one, other in zip(few.clean.arrays, pairs.clean.arrays, strict=False))
        assert (few.damaged is not None) == given
        assert not given or few.damaged.names == few.clean.names
    assert len(pairs) == 5


def test_overlays_are_split_after_reading(tmp_path):
    for k in range(12):
        Image.new("L", (8, 5), k).save(tmp_path / f"{k}.png")
    whole, unread = load_overlay_masks(str(tmp_path))
    assert not unread and sum(map(len, whole.values())) == 12 and all(whole.values())
    [mask, *_] = whole["test"]
    assert torch.equal(mask, read_overlay_mask(tmp_path / f"{mask.max()}.png"))
    assert load_overlay_masks("") == ({"train": [], "validation": [], "test": []}, [])
    for name in [f"{mask.max()}.png" for mask in whole["validation"]]:
        (tmp_path / name).write_bytes(b"no")
    with pytest.warns(UserWarning, match="skipped: "):
        masks, unread = load_overlay_masks(tmp_path)
    assert len(unread) == len(whole["validation"]) and masks["validation"] and masks["test"]
    assert all(mask.dtype == torch.uint8 and mask.shape == (5, 8) for part in masks.values() for mask in part)
    for path in list(tmp_path.glob("*.png"))[2:]:
        path.write_bytes(b"no")
    with pytest.warns(UserWarning), pytest.raises(ImageError, match="too few"):
        load_overlay_masks(tmp_path)


# ---- pairs made


def test_the_damage_of_a_pair_depends_on_its_name_and_the_seed_alone():
    images = mapped(4)
    pairs = {pair.name: pair for pair in degraded_pairs(images, SHUFFLE, seed=3)}
    turned = Images(images.names[:0:-1], images.arrays[:0:-1])  # three of them, the last one first
    torch.manual_seed(1)
    for pair in degraded_pairs(turned, SHUFFLE, seed=3):
        assert torch.equal(pair.input, pairs[pair.name].input)
        assert torch.equal(pair.target, pairs[pair.name].target)
    for pair in degraded_pairs(images, SHUFFLE, seed=4):
        assert not torch.equal(pair.input, pairs[pair.name].input)


def test_names_tell_the_damage_of_equal_images():
    array = mapped(1).arrays[0]
    first, second = degraded_pairs(Images(["a.png", "b.png"], [array, array]), SHUFFLE)
    assert torch.equal(first.target, second.target)
    assert not torch.equal(first.input, second.input)


def test_a_pair_holds_the_whole_image_and_its_damage():
    images = mapped(2)
    pairs = degraded_pairs(images, lambda images, generator: images / 2)
    assert [pair.name for pair in pairs] == ["0.png", "1.png"]
    for pair, array in zip(pairs, images.arrays, strict=True):
        np.testing.assert_array_equal(levels(pair.target)[0], array)
        assert torch.equal(pair.input, pair.target / 2)


def test_further_draws_are_new_damage_of_the_same_image_and_change_no_first_one():
    images = mapped(3)
    once, thrice = (degraded_pairs(images, SHUFFLE, seed=3, draws=draws) for draws in (1, 3))
    assert [pair.name for pair in thrice] == [f"{n}.png{draw}" for n in range(3) for draw in ("", " (2)", " (3)")]
    for n, first in enumerate(once):
        drawn = thrice[3 * n : 3 * n + 3]
        assert all(torch.equal(pair.target, first.target) for pair in drawn)
        assert torch.equal(drawn[0].input, first.input)
        assert len({tuple(pair.input.flatten().tolist()) for pair in drawn}) == 3


@pytest.mark.parametrize("given", [True, False])
def test_a_negative_crop_is_refused_by_name(pairs, given):
    makers = [lambda crop: fixed_pairs(pairs if given else PairedImages(pairs.clean, None), keep, crop)]
    makers += [
        lambda crop: degraded_pairs(pairs.clean, keep, crop),
        lambda crop: degraded_pairs(pairs.clean, downscaled(2), crop, multiple=2),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=r"\Acrop: expected a number, 0 or more, got -1\Z"):
            make(-1)


# ---- super-resolution


def test_pairs_are_cut_to_a_multiple_of_the_scale():
    images = Images(["a.png", "b.png"], [noise(66, 49, seed) for seed in range(2)])
    pairs = degraded_pairs(images, downscaled(4), multiple=4)
    assert [pair.name for pair in pairs] == ["a.png", "b.png"]
    for pair, array in zip(pairs, images.arrays, strict=True):
        assert torch.equal(pair.target, to_tensor(array[:48, :64])[None])
        assert pair.input.shape == (1, 3, 12, 16)
        assert torch.equal(pair.input, downscale(pair.target, 4))
    cut = degraded_pairs(images, downscaled(2), 32, multiple=2)[0].target
    assert torch.equal(cut, to_tensor(images.arrays[0][8:40, 17:49])[None])


def test_test_sets_are_called_by_names_that_can_be_printed(tmp_path):
    save(tmp_path / os.fsdecode(b"caf\xe9"), "a.png", "small.png")
    Image.new("RGB", (2, 2)).save(tmp_path / os.fsdecode(b"caf\xe9") / "small.png")
    sets, skipped = load_sets(str(tmp_path), min_side=4)
    assert list(sets) == [r"caf\xe9"]
    assert skipped == [r"caf\xe9/small.png: 2 x 2 px is smaller than the 4 px needed"]


def test_test_sets_are_the_subfolders(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        Image.fromarray(noise(64, 48)).convert("L").save(tmp_path / name / "grey.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "b" / "small.png")
    (tmp_path / ".hidden").mkdir()
    found, skipped = load_sets(str(tmp_path), 32)
    assert skipped == ["b/small.png: 20 x 20 px is smaller than the 32 px needed"]
    assert list(found) == ["a", "b"] and [found[name].names for name in "ab"] == [["grey.png"]] * 2
    assert degraded_pairs(found["a"], downscaled(4), multiple=4)[0].target.shape == (1, 3, 48, 64)
    assert load_sets(str(tmp_path), 20)[1] == []
    assert load_sets(str(tmp_path), 20, size=24)[0]["b"].arrays[0].shape == (24, 32, 3)
    assert load_sets("", 32) == ({}, [])
    with pytest.raises(ImageError, match="no test sets; give a folder with a subfolder for each"):
        load_sets(str(tmp_path / "a"), 32)
    with pytest.raises(ImageError, match="b: the data set's own test images have this name"):
        load_sets(str(tmp_path), 32, "b")
