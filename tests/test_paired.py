"""Pairs of two folders, told by made pictures, and overlay pictures against their channels."""

import numpy as np
import pytest
import torch
from PIL import Image

from restoration_lib.data import CropBatches, Pictures, degraded_pairs, load
from restoration_lib.images import ImageError, read_cover
from restoration_lib.paired import (
    PairedBatches,
    PairedPictures,
    batches,
    fixed_pairs,
    load_pairs,
    split_overlays,
    split_pairs,
)
from restoration_lib.unpaired import keep


def save(folder, *names, size=(12, 10), colour=(10, 20, 30)):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(folder / name)
    return folder


def names(count, suffix="png"):
    return [f"{n:02}.{suffix}" for n in range(count)]


def flat(parts):
    return [pair for part in parts.values() for pair in part]


def test_pairs_are_the_names_that_both_folders_have_and_the_others_are_listed(tmp_path):
    clean = save(tmp_path / "clean", *names(12), "only.png", "sub/deep.png")
    damaged = save(tmp_path / "damaged", *names(12, "jpg"), "alone.png", "sub/deep.jpg")
    parts, alone = split_pairs(clean, damaged)
    assert alone == ["damaged/alone.png", "clean/only.png"]
    pairs = flat(parts)
    assert len(pairs) == 13 and all(one.stem == other.stem for one, other in pairs)
    assert {one.parent.name for one, _ in pairs} == {"damaged", "sub"}
    assert all(part == sorted(part, key=lambda pair: pair[1].stem) for part in parts.values())
    assert parts["train"] and parts["validation"] and parts["test"]


def test_the_clean_folder_says_which_split_a_pair_is_in(tmp_path):
    clean = save(tmp_path / "clean", "train/a.png", "val/b.png", "test/c.png", "test/only.png")
    damaged = save(tmp_path / "damaged", "a.png", "b.png", "c.png")
    parts, alone = split_pairs(clean, damaged)
    assert {part: [path.name for _, path in pairs] for part, pairs in parts.items()} == {
        "train": ["a.png"], "validation": ["b.png"], "test": ["c.png"]
    }  # fmt: skip
    assert alone == ["clean/test/only.png"]


def test_the_layout_of_humanface8000_is_recognised(tmp_path):
    save(tmp_path / "color", *names(6))
    save(tmp_path / "gray", *names(6))
    parts, alone = split_pairs(tmp_path)
    assert len(flat(parts)) == 6 and not alone
    assert {(one.parent.name, other.parent.name) for one, other in flat(parts)} == {("gray", "color")}


def test_without_a_damaged_folder_the_damage_is_drawn(tmp_path):
    parts, alone = split_pairs(save(tmp_path / "clean", *names(6)))
    assert not alone and {one for one, _ in flat(parts)} == {None}
    assert load_pairs(parts["train"]).damaged is None


def test_folders_without_a_common_name_are_named(tmp_path):
    clean, damaged = save(tmp_path / "clean", *names(4)), save(tmp_path / "damaged", "x.png")
    with pytest.raises(ImageError, match=r"damaged and .*clean: 0 file names are in both, .* need 3 or more"):
        split_pairs(clean, damaged)


def test_two_files_of_one_name_are_named(tmp_path):
    clean = save(tmp_path / "clean", *names(4))
    damaged = save(tmp_path / "damaged", *names(4), "02.jpg")
    with pytest.raises(ImageError, match=r"damaged: 02\.jpg and 02\.png have the same name"):
        split_pairs(clean, damaged)


def test_folders_of_one_layout_are_paired_by_their_paths(tmp_path):
    files = ["train/1.png", "val/1.png", "test/1.png"]
    clean, damaged = save(tmp_path / "clean", *files), save(tmp_path / "damaged", *files)
    parts, _ = split_pairs(clean, damaged)
    assert all(one.relative_to(damaged) == other.relative_to(clean) for one, other in flat(parts))
    (damaged / "val" / "1.png").unlink()
    save(damaged, "train/2.png"), save(clean, "train/2.png")
    with pytest.raises(ImageError, match=r"2 file names|no validation picture has a partner"):
        split_pairs(clean, damaged)


def test_what_cannot_be_pairs_is_told(tmp_path):
    clean = save(tmp_path / "clean", *names(4))
    with pytest.raises(ImageError, match="is both the damaged and the clean folder"):
        split_pairs(clean, clean)
    for one, other in ((clean, tmp_path), (tmp_path, clean)):
        with pytest.raises(ImageError, match=f"{clean} lies inside {tmp_path}: give .* side by side"):
            split_pairs(one, other)
    with pytest.raises(ImageError, match="samples are samples, which have no damaged partners"):
        split_pairs("samples", clean)


def test_a_pair_of_two_sizes_is_named_with_both(tmp_path):
    one, other = save(tmp_path / "d", "a.png") / "a.png", save(tmp_path / "c", "a.png", size=(24, 20)) / "a.png"
    with pytest.raises(ImageError, match=r"d/a\.png \(12 x 10 px\) and .*c/a\.png \(24 x 20 px\): .* the same size"):
        load_pairs([(one, other)], size=5)
    with pytest.raises(ValueError, match="size: expected 0 or more, got -5"):
        load_pairs([(one, one)], size=-5)


def test_a_pair_with_an_unreadable_file_is_skipped_and_counted(tmp_path):
    for folder in ("d", "c"):
        save(tmp_path / folder, "a.png", "b.png", "e.png")
    (tmp_path / "d" / "b.png").write_bytes(b"not a picture")
    (tmp_path / "c" / "e.png").write_bytes(b"neither")
    files = [(tmp_path / "d" / name, tmp_path / "c" / name) for name in ("a.png", "b.png", "e.png")]
    with pytest.warns(UserWarning, match="skipped: [be].png"):
        pairs = load_pairs(files)
    assert pairs.clean.names == pairs.damaged.names == ["a.png"]
    assert [line.split(":")[0] for line in pairs.clean.skipped] == ["b.png", "e.png"]
    with pytest.warns(UserWarning), pytest.raises(ImageError, match="none of the 2 pairs can be read"):
        load_pairs(files[1:])


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    clean = [rng.integers(0, 128, (20, 24, 3), dtype=np.uint8) for _ in range(5)]
    return PairedPictures(Pictures(names(5), clean), Pictures(names(5), [picture + 100 for picture in clean]))


def test_both_pictures_of_a_pair_are_cut_and_mirrored_alike(pairs):
    made = batches(pairs, keep, 8, 3, 10, 0)
    assert isinstance(made, PairedBatches)
    for step in range(10):
        batch = made[step]
        assert batch["input"].shape == batch["target"].shape == (3, 3, 8, 8)
        assert torch.allclose(batch["input"] - batch["target"], torch.tensor(100 / 255))
    crops = CropBatches(pairs.clean, keep, 8, 3, 10, 0)
    assert torch.equal(made[4]["target"], crops[4]["target"]), "the same pictures as without partners"


def test_fixed_pairs_are_the_central_pixels(pairs):
    [pair, *rest] = fixed_pairs(pairs, keep, 10)
    assert len(rest) == 4 and pair.name == "00.png"
    middle = pairs.damaged.arrays[0][5:15, 7:17]
    assert np.array_equal(pair.input[0].permute(1, 2, 0).mul(255).round().numpy(), middle)
    assert torch.allclose(pair.input - pair.target, torch.tensor(100 / 255))
    assert fixed_pairs(pairs, keep)[0].input.shape == (1, 3, 20, 24)
    drawn = fixed_pairs(PairedPictures(pairs.clean, None), keep, 10)
    assert torch.equal(drawn[2].input, degraded_pairs(pairs.clean, keep, 10)[2].input)


def test_size_reduces_both_alike(tmp_path):
    one, other = save(tmp_path / "d", "a.png") / "a.png", save(tmp_path / "c", "a.png") / "a.png"
    pairs = load_pairs([(one, other)], size=5)
    assert pairs.damaged.arrays[0].shape == pairs.clean.arrays[0].shape == (5, 6, 3)
    assert load([other], 5).arrays[0].shape == (5, 6, 3)


def test_pairs_smaller_than_the_crop_are_skipped_and_counted(tmp_path):
    files = []
    for name, side in (("a.png", 12), ("b.png", 6), ("c.png", 9)):
        files.append(tuple(save(tmp_path / folder, name, size=(20, side)) / name for folder in ("d", "c")))
    for given in (files, [(None, path) for _, path in files]):
        pairs = load_pairs(given, least=9)
        assert pairs.clean.names == ["a.png", "c.png"]
        assert pairs.damaged is None or pairs.damaged.names == pairs.clean.names
        assert pairs.clean.skipped == ["b.png: 20 x 6 px is smaller than the 9 px needed"]
    with pytest.raises(
        ImageError, match=r"c\.png: 20 x 9 px is smaller than the 15 px needed, and no other .* lower crop"
    ):
        load_pairs(files, least=15)


def test_an_overlay_is_its_alpha_or_its_luminance(tmp_path):
    alpha = np.arange(40, dtype=np.uint8).reshape(5, 8)
    Image.fromarray(np.dstack([np.full((5, 8, 3), 255, np.uint8), alpha])).save(tmp_path / "alpha.png")
    assert np.array_equal(read_cover(tmp_path / "alpha.png").numpy(), alpha)
    opaque = np.dstack([np.dstack([alpha] * 3), np.full((5, 8), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    Image.fromarray(alpha).save(tmp_path / "grey.png")
    Image.fromarray(255 - alpha).save(tmp_path / "dark.png")
    for name in ("opaque", "grey", "dark"):
        assert np.array_equal(read_cover(tmp_path / f"{name}.png").numpy(), alpha), name


def test_overlays_are_split_after_reading(tmp_path):
    for k in range(12):
        Image.new("L", (8, 5), k).save(tmp_path / f"{k}.png")
    whole, unread = split_overlays(str(tmp_path))
    assert not unread and sum(map(len, whole.values())) == 12 and all(whole.values())
    assert split_overlays("") == ({"train": [], "validation": [], "test": []}, [])
    for name in [f"{cover.max()}.png" for cover in whole["validation"]]:
        (tmp_path / name).write_bytes(b"no")
    with pytest.warns(UserWarning, match="skipped: "):
        covers, unread = split_overlays(tmp_path)
    assert len(unread) == len(whole["validation"]) and covers["validation"] and covers["test"]
    assert all(cover.dtype == torch.uint8 and cover.shape == (5, 8) for part in covers.values() for cover in part)
    for path in list(tmp_path.glob("*.png"))[2:]:
        path.write_bytes(b"no")
    with pytest.warns(UserWarning), pytest.raises(ImageError, match="too few"):
        split_overlays(tmp_path)
