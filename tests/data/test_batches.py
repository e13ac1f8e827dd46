"""Training batches told by the pixels of made images: a pure function of seed and step."""

import importlib
from collections import Counter
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from torch.utils.data import DataLoader

from restoration_lib.data.batches import (
    CropBatches,
    MonochromeBatches,
    PairedBatches,
    UnpairedBatches,
    damaged_batches,
)
from restoration_lib.data.datasets import Images, PairedImages
from restoration_lib.data.files import ImageError, to_uint8
from restoration_lib.degradations import age, damage_mask, downscale, keep, pixel_shuffle, scratched

SHUFFLE = partial(pixel_shuffle, rate=1.0)


def noise(count, height, width, low=0, high=256):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(low, high, (height, width, 3), dtype=np.uint8) for _ in range(count)]
    return Images([f"{k}.png" for k in range(count)], arrays)


def mapped(count, height=9, width=11):
    """Images whose pixels tell where they are: red the row, green the column, blue the image."""
    rows, columns = np.mgrid[0:height, 0:width]
    arrays = [np.stack([rows, columns, np.full_like(rows, n)], axis=2).astype(np.uint8) for n in range(count)]
    return Images([f"{n}.png" for n in range(count)], arrays)


def levels(images):
    """Float images (N, 3, H, W) as the 8-bit levels they came from, (N, H, W, 3)."""
    return (images * 255).round().permute(0, 2, 3, 1).int().numpy()


def unchanged(images, generator):
    return images.clone()


def same(a, b):
    return set(a) == set(b) == {"input", "target"} and all(torch.equal(a[key], b[key]) for key in a)


def batches(images, degrade=SHUFFLE, crop=6, batch_size=3, steps=20, seed=0):
    return CropBatches(images, degrade, crop=crop, batch_size=batch_size, steps=steps, seed=seed)


def test_a_batch_is_a_pure_function_of_seed_and_step():
    images = mapped(5)
    one, other = batches(images), batches(images)
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
def test_each_epoch_shows_every_image_once(batch_size):
    count, epochs = 5, 21
    dataset = batches(mapped(count), unchanged, batch_size=batch_size, steps=count * epochs // batch_size)
    shown = [n for step in range(len(dataset)) for n in levels(dataset[step]["target"])[:, 0, 0, 2].tolist()]
    orders = [tuple(shown[k : k + count]) for k in range(0, len(shown), count)]
    assert len(orders) == epochs
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert len(set(orders)) > epochs / 2, "the order hardly changes"


def test_a_crop_is_a_part_of_its_image_or_the_mirror_of_one():
    images = mapped(3, height=9, width=11)
    dataset = batches(images, unchanged, crop=6, steps=150)
    corners, mirrored = [], 0
    for step in range(len(dataset)):
        for crop in levels(dataset[step]["target"]):
            if crop[0, 0, 1] > crop[0, -1, 1]:
                crop, mirrored = crop[:, ::-1], mirrored + 1
            row, column, n = crop[0, 0]
            np.testing.assert_array_equal(crop, images.arrays[n][row : row + 6, column : column + 6])
            corners.append((row, column))
    assert set(corners) == {(row, column) for row in range(4) for column in range(6)}, "not every position is drawn"
    assert mirrored == pytest.approx(len(corners) / 2, rel=0.2)


def test_a_crop_as_large_as_the_image_is_the_image():
    images = mapped(1, height=6, width=6)
    crops = levels(batches(images, unchanged, crop=6, batch_size=8)[0]["target"])
    for crop in crops:
        assert any(np.array_equal(crop, whole) for whole in (images.arrays[0], images.arrays[0][:, ::-1]))


def test_the_input_is_the_degraded_target():
    batch = batches(mapped(5), lambda images, generator: 1 - images)[3]
    assert batch["target"].shape == (3, 3, 6, 6)
    assert torch.equal(batch["input"], 1 - batch["target"])


def test_a_shuffled_input_holds_the_pixels_of_its_target():
    batch = batches(mapped(5), crop=9)[0]
    observed, target = (levels(batch[key]).reshape(3, -1, 3).tolist() for key in ("input", "target"))
    assert observed != target
    for one, other in zip(observed, target, strict=True):
        assert sorted(one) == sorted(other)


@pytest.mark.parametrize("name", ["crop", "batch_size"])
def test_a_batch_of_nothing_is_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"\A{name}: expected a number, 1 or more, got 0\Z"):
        batches(mapped(2), **{name: 0})


@pytest.mark.parametrize("turned", [False, True])
def test_an_image_smaller_than_the_crop_is_named(turned):
    images = Images(["a.png", "small.png"], [*noise(1, 30, 30).arrays, *noise(1, 30, 16).arrays])
    options = {"batch_size": 1, "steps": 3, "seed": 0, "turned": turned}
    with pytest.raises(ImageError, match=r"\Asmall\.png: 16 x 30 px is smaller than the 17 px needed; lower crop"):
        CropBatches(images, SHUFFLE, crop=17, **options)
    assert len(CropBatches(images, SHUFFLE, crop=16, **options)) == 3


def test_batches_are_turned_mirrored_and_repeatable():
    images, options = noise(1, 32, 32), {"crop": 32, "batch_size": 2, "steps": 40, "seed": 0, "turned": True}
    turned, again = (CropBatches(images, partial(downscale, scale=4), **options) for _ in range(2))
    assert torch.equal(turned[7]["target"], again[7]["target"])
    assert torch.equal(turned[7]["input"], downscale(turned[7]["target"], 4))
    views = [view.rot90(turns, (1, 2)) for view in (images[0], images[0].flip(2)) for turns in range(4)]
    crops = [crop for step in range(40) for crop in turned[step]["target"]]
    seen = Counter([torch.equal(crop, view) for view in views].index(True) for crop in crops)
    assert set(seen) == set(range(8))
    assert scipy.stats.chisquare(list(seen.values())).pvalue > 1e-4


# ---- pairs


@pytest.fixture
def pairs():
    clean = noise(5, 20, 24, high=128)
    return PairedImages(clean, Images(clean.names, [array + 100 for array in clean.arrays]))


@pytest.mark.parametrize("turned", [False, True])
def test_both_images_of_a_pair_are_cut_mirrored_and_turned_alike(pairs, turned):
    options = {"crop": 8, "batch_size": 3, "steps": 10, "seed": 0, "turned": turned}
    made = damaged_batches(pairs, keep, **options)
    assert isinstance(made, PairedBatches)
    for step in range(10):
        batch = made[step]
        assert batch["input"].shape == batch["target"].shape == (3, 3, 8, 8)
        assert torch.allclose(batch["input"] - batch["target"], torch.tensor(100 / 255))
    crops = CropBatches(pairs.clean, keep, **options)
    assert torch.equal(made[4]["target"], crops[4]["target"]), "the same images as without partners"


def test_without_partners_the_damage_is_drawn(pairs):
    options = {"crop": 8, "batch_size": 3, "steps": 10, "seed": 0}
    made = damaged_batches(PairedImages(pairs.clean, None), SHUFFLE, **options)
    assert len(made) == 10 and same(made[4], batches(pairs.clean, **options)[4])


# ---- two domains


def placed(count, mark, height=9, width=11):
    """Images whose pixels tell where they are: red the place in raster order, green the image, blue the domain."""
    places = np.arange(height * width).reshape(height, width)
    arrays = [np.stack([places, places * 0 + n, places * 0 + mark], axis=2).astype(np.uint8) for n in range(count)]
    return Images([f"{mark}-{n}.png" for n in range(count)], arrays)


def unpaired(a=None, b=None, degrade=keep, crop=6, batch_size=2, steps=300, seed=0):
    a, b = a or placed(5, 10), b or placed(7, 20)
    return UnpairedBatches(a, b, degrade, crop=crop, batch_size=batch_size, steps=steps, seed=seed)


def test_a_batch_depends_on_seed_and_step_alone():
    one, other = unpaired(degrade=age), unpaired(degrade=age, steps=10)
    assert (len(one), len(other)) == (300, 10)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    forward = [one[step] for step in range(6)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    backward = [other[step] for step in reversed(range(6))][::-1]
    for first, second in zip(forward, backward, strict=True):
        assert list(first) == ["a", "b", "original"]
        for name in first:
            assert first[name].shape == (2, 3, 6, 6)
            assert torch.equal(first[name], second[name])
    for name in ("a", "b"):
        assert not torch.equal(forward[0][name], unpaired(degrade=age, seed=1)[0][name])
        assert not torch.equal(forward[0][name], forward[1][name])


def test_only_domain_a_is_degraded_and_each_crop_comes_from_its_domain():
    a, b = placed(5, 10), placed(7, 20)
    plain, negative = unpaired(a, b), unpaired(a, b, lambda images, generator: 1 - images)
    for step in range(30):
        assert torch.equal(negative[step]["a"], 1 - plain[step]["a"])
        assert torch.equal(negative[step]["b"], plain[step]["b"])
        assert torch.equal(negative[step]["original"], plain[step]["a"])
        for name, images, mark in (("a", a, 10), ("b", b, 20)):
            for crop in levels(plain[step][name]):
                crop = crop if crop[0, 0, 0] < crop[0, -1, 0] else crop[:, ::-1]
                place, number, blue = crop[0, 0]
                assert blue == mark
                row, column = divmod(place, 11)
                expected = images.arrays[number][row : row + 6, column : column + 6]
                np.testing.assert_array_equal(crop, expected)


def test_each_domain_shows_all_its_images_each_epoch_whatever_the_other_holds():
    dataset = unpaired(steps=35)  # 14 epochs of the 5 images of A, 10 of the 7 of B
    for name, count in (("a", 5), ("b", 7)):
        shown = [n for step in range(35) for n in levels(dataset[step][name])[:, 0, 0, 1].tolist()]
        for first in range(0, 70, count):
            assert sorted(shown[first : first + count]) == list(range(count))


def test_the_domains_are_drawn_independently():
    dataset = unpaired(placed(4, 10), placed(4, 20), steps=500)
    images, places = Counter(), 0
    for step in range(500):
        a, b = (levels(dataset[step][name])[:, 0, 0] for name in ("a", "b"))
        images.update(zip(a[:, 1].tolist(), b[:, 1].tolist(), strict=True))
        places += (a[:, 0] == b[:, 0]).sum()
    assert len(images) == 16
    assert scipy.stats.chisquare(list(images.values())).pvalue > 1e-4
    assert places < 100, "crops lie in the same place in both domains"


@pytest.mark.parametrize("small", ["a", "b"])
def test_an_image_of_a_domain_smaller_than_the_crop_is_named(small):
    sides = {"a": placed(2, 10), "b": placed(2, 20)}
    sides[small].arrays[1] = sides[small].arrays[1][:5]
    mark = {"a": 10, "b": 20}[small]
    with pytest.raises(ImageError, match=rf"\A{mark}-1\.png: 11 x 5 px .* 6 px.*\Z"):
        unpaired(**sides)
    assert len(unpaired(**sides, crop=5)) == 300


@pytest.mark.parametrize("step", [-1, 300])
def test_a_step_beyond_the_training_is_refused(step):
    with pytest.raises(IndexError, match=str(step)):
        unpaired()[step]


# ---- monochrome prints


@pytest.fixture
def images():
    return noise(5, 20, 24)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("given", [False, True])
def test_a_share_of_the_pairs_is_monochrome_on_both_sides(images, monkeypatch, gamma, given):
    """The red channel of a print is a curve of its luma, the others are at most that, and in one proportion."""
    module = importlib.import_module("restoration_lib.degradations.monochrome")
    monkeypatch.setattr(module, "GAMMA", (gamma, gamma))
    pairs = PairedImages(images, Images(images.names, [255 - a for a in images.arrays]) if given else None)
    options = {"crop": 8, "batch_size": 4, "steps": 25, "seed": 0}
    plain, half = (damaged_batches(pairs, keep, monochrome=share, **options) for share in (0.0, 0.5))
    assert len(half) == 25
    turned = 0
    for before, after in zip(plain, half, strict=True):
        for k in range(4):
            same = [torch.equal(before[side][k], after[side][k]) for side in ("input", "target")]
            assert all(same) or not any(same)
            turned += not any(same)
            tones = []
            for side in () if same[0] else ("input", "target"):
                colours, print_ = (to_uint8(batch[side][k]).astype(float) for batch in (before, after))
                luma = colours @ (0.299, 0.587, 0.114)
                assert np.abs(print_[..., 0] - 255 * (luma / 255) ** gamma).max() < 0.6
                assert (np.diff(print_) <= 0).all()
                tones.append(print_.sum((0, 1)) / print_[..., 0].sum())
            if tones:
                assert tones[0] == pytest.approx(tones[1], abs=0.01)
    assert 35 <= turned <= 65


def test_damage_that_no_longer_shows_on_a_print_is_none(images):
    options = {"crop": 20, "batch_size": 5, "steps": 1, "seed": 0}
    made = damaged_batches(PairedImages(images, None), scratched, monochrome=1.0, **options)[0]
    changed = (made["input"] != made["target"]).any(1, keepdim=True)
    assert changed.any() and torch.equal(changed, damage_mask(made["input"], made["target"]))


def test_damage_that_was_given_stays_as_it_is_on_a_print():
    """A target at every grey level from 20 to 219, and its partner one level above: no damage that would be drawn."""
    clean = noise(3, 20, 24, low=20, high=220)
    pairs = PairedImages(clean, Images(clean.names, [array + 1 for array in clean.arrays]))
    batch = damaged_batches(pairs, keep, monochrome=1.0, crop=20, batch_size=3, steps=1, seed=0)[0]
    assert (batch["input"] != batch["target"]).any(1).float().mean() > 0.3
    assert not damage_mask(batch["input"], batch["target"]).any()


def test_prints_are_a_pure_function_of_seed_and_step(images):
    options = {"crop": 8, "batch_size": 4, "steps": 9}
    first, again, other = (
        damaged_batches(PairedImages(images, None), scratched, monochrome=0.5, seed=seed, **options)
        for seed in (0, 0, 1)
    )
    forward = [first[step] for step in range(9)]
    before = torch.get_rng_state()
    backward = [again[step] for step in reversed(range(9))][::-1]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(same, forward, backward)) and not same(forward[0], other[0])


@pytest.mark.parametrize("share", [1.5, -0.5])
def test_a_share_outside_0_to_1_is_refused(images, share):
    options = {"crop": 8, "batch_size": 4, "steps": 25, "seed": 0}
    message = rf"\Amonochrome: expected a number from 0 to 1, got {share}\Z"
    with pytest.raises(ValueError, match=message):
        damaged_batches(PairedImages(images, None), keep, monochrome=share, **options)
    with pytest.raises(ValueError, match=message):
        MonochromeBatches(CropBatches(images, keep, **options), share, drawn=True)
