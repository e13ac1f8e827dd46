"""Batches of scanned prints: labels against a loop over pixels, shares counted, crops told by their pixels."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from restoration_lib.data import damage
from restoration_lib.data.damage import PrintBatches, contrast, damaged, labels
from restoration_lib.data.datasets import Images
from restoration_lib.data.files import ImageError
from restoration_lib.degradations.monochrome import SEPIA

OVERLAY = torch.zeros(30, 30, dtype=torch.uint8)
OVERLAY[10:14] = 255


def images(*arrays):
    return Images([f"{k}.png" for k in range(len(arrays))], list(arrays))


def mapped(height, width):
    """An image whose pixels tell where they are: red the row, green the column."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)


def of_colour(height, width, *levels):
    return np.tile(np.uint8(levels), (height, width, 1))


def noise(height=60, width=70, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def batches(*arrays, overlay_masks=(OVERLAY,), **changes):
    options = {"crop": 16, "batch_size": 2, "steps": 200, "seed": 0}
    return PrintBatches(images(*arrays or (noise(),)), overlay_masks, **(options | changes))


def crops(made, name="input"):
    return [crop for batch in (made[step] for step in range(len(made))) for crop in batch[name]]


@pytest.fixture
def shares(monkeypatch):
    """Set the shares that are named, and all others to 0."""

    def shares(**chosen):
        for name in damage.SHARES:
            monkeypatch.setitem(damage.SHARES, name, chosen.get(name, 0.0))

    return shares


def same(a, b):
    return set(a) == set(b) == {"input", "target", "mask", "sure"} and all(torch.equal(a[key], b[key]) for key in a)


# ---- batches


def test_a_batch_is_a_pure_function_of_seed_and_step():
    arrays = [noise(seed=seed) for seed in range(3)]
    one, other = batches(*arrays), batches(*arrays, steps=300)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    forward = [one[step] for step in range(6)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    backward = [other[step] for step in reversed(range(6))][::-1]
    assert all(map(same, forward, backward))
    assert not any(same(forward[0], batch) for batch in [*forward[1:], batches(*arrays, seed=1)[0]])


@pytest.mark.parametrize(("crop", "batch_size"), [(4, 1), (16, 3), (60, 2)])
def test_sizes_types_and_range(crop, batch_size):
    made = batches(crop=crop, batch_size=batch_size, steps=12)
    assert len(made) == 12
    for step in range(12):
        batch = made[step]
        assert set(batch) == {"input", "target", "mask", "sure"}
        assert batch["input"].shape == (batch_size, 3, crop, crop) and batch["input"].dtype == torch.float32
        assert batch["input"].min() >= 0 and batch["input"].max() <= 1
        for name in ("mask", "sure"):
            assert batch[name].shape == (batch_size, 1, crop, crop) and batch[name].dtype == torch.bool
        assert not (batch["mask"] & ~batch["sure"]).any(), "damage that is not certain"


def test_shares_of_undamaged_and_of_monochrome_crops(monkeypatch):
    """Blue images with all of them damaged, by a light that leaves them blue."""
    monkeypatch.setattr(damage, "damaged", lambda clean, *_: (clean + 0.3).clamp(0, 1))
    made = batches(of_colour(40, 50, 40, 90, 160))
    hurt = sum(mask.any().item() for mask in crops(made, "mask"))
    grey = sum((crop[0] - crop[2]).median().item() > -0.05 for crop in crops(made))
    for found, share in ((hurt, 0.7), (grey, 0.5)):
        assert binomtest(found, 400, share).pvalue > 1e-3


def test_undamaged_crops_have_an_empty_mask_and_are_certain_everywhere(monkeypatch):
    monkeypatch.setitem(damage.SHARES, "undamaged", 1.0)
    made = batches(steps=60)
    assert not any(mask.any() for mask in crops(made, "mask")) and all(sure.all() for sure in crops(made, "sure"))


def test_the_mask_is_that_of_the_damage(shares):
    """Of images of one colour it is known what they were."""
    shares(fold=0.5)
    made = batches(of_colour(40, 50, 100, 100, 100), crop=32, steps=20)
    hurt = 0
    for scan, mask, sure in zip(crops(made), crops(made, "mask"), crops(made, "sure"), strict=True):
        expected = labels(scan, torch.full_like(scan, 100 / 255))
        assert torch.equal(mask, expected[0]) and torch.equal(sure, expected[1])
        hurt += mask.any().item()
    assert all((target * 255 - 100).abs().max() < 1e-3 for target in crops(made, "target"))
    assert hurt > 30


def test_grain_and_jpeg_are_no_damage(shares):
    options = {"batch_size": 1, "steps": 20}
    shares(monochrome=0.5)
    before = batches(**options)
    before = {name: crops(before, name) for name in ("input", "target", "mask", "sure")}
    shares(monochrome=0.5, grain=1.0, jpeg=1.0)
    after = batches(**options)
    for name in ("target", "mask", "sure"):
        assert all(map(torch.equal, before[name], crops(after, name)))
    assert not any(map(torch.equal, before["input"], crops(after)))


def test_a_monochrome_crop_is_a_print_of_its_own_tone(shares):
    shares(undamaged=1.0, monochrome=1.0)
    tones = []
    for crop in crops(batches(steps=40)):
        assert (crop[0] >= crop[1]).all() and (crop[1] >= crop[2]).all()
        tones.append((crop[2].sum() / crop[0].sum()).item())
    brownest = SEPIA[2]
    assert brownest - 0.01 < min(tones) < brownest + 0.05 and 0.95 < max(tones) <= 1


def test_a_crop_is_a_part_of_its_image_mirrored_and_turned(shares, monkeypatch):
    shares(undamaged=1.0)
    monkeypatch.setattr(damage, "LARGEST_REDUCTION", 1.0)
    array, views = mapped(12, 14), set()
    for crop in crops(batches(array, crop=8, steps=100)):
        levels = (crop * 255).round().int().permute(1, 2, 0).numpy()
        for view in range(8):
            back = np.rot90(levels, -(view % 4))
            back = back[:, ::-1] if view > 3 else back
            row, column, _ = back[0, 0]
            if np.array_equal(back, array[row : row + 8, column : column + 8]):
                views.add(view)
                break
        else:
            pytest.fail("no part of the image")
    assert views == set(range(8))


def test_images_are_reduced_up_to_three_times_and_no_further_than_they_are_large(shares):
    shares(undamaged=1.0)

    def reductions(height, width):
        found = []
        for crop in crops(batches(mapped(height, width), steps=60)):
            steps = [(crop[0].diff(dim=axis) * 255).abs().median().item() for axis in (0, 1)]  # of the rows' numbers
            found.append(max(steps))
        return min(found), max(found)

    assert reductions(80, 90) == (pytest.approx(1, abs=0.1), pytest.approx(3, abs=0.2))
    assert reductions(32, 90) == (pytest.approx(1, abs=0.1), pytest.approx(2, abs=0.2))
    assert reductions(16, 16) == (pytest.approx(1), pytest.approx(1))


def test_busy_crops_are_those_of_most_contrast(shares):
    half = np.concatenate([noise(60, 60), of_colour(60, 60, 100, 100, 100)], axis=1)
    means = []
    for busy in (0.0, 1.0):
        shares(undamaged=1.0, busy=busy)
        means.append(np.mean([contrast((crop * 255).byte().permute(1, 2, 0).numpy()) for crop in crops(batches(half))]))
    assert means[1] > 1.3 * means[0]


def test_contrast_is_the_mean_difference_of_every_third_pixel():
    array, sums = noise(20, 26), [[], []]
    for y in range(0, 20, 3):
        for x in range(0, 26, 3):
            if y + 3 < 20:
                sums[0].append(abs(int(array[y + 3, x, 1]) - int(array[y, x, 1])))
            if x + 3 < 26:
                sums[1].append(abs(int(array[y, x + 3, 1]) - int(array[y, x, 1])))
    assert contrast(array) == pytest.approx(np.mean(sums[0]) + np.mean(sums[1]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 3}, r"\Acrop: expected a number, 4 or more, got 3\Z"),
        ({"batch_size": 0}, r"\Abatch_size: expected a number, 1 or more, got 0\Z"),
    ],
    ids=str,
)
def test_a_size_out_of_its_range_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        batches(**changes)


def test_an_image_smaller_than_the_crop_and_a_step_beyond_the_training_are_refused():
    with pytest.raises(ImageError, match=r"\A1\.png: 70 x 15 px is smaller than the 16 px needed"):
        batches(noise(), noise(15))
    for step in (-1, 200):
        with pytest.raises(IndexError, match=str(step)):
            batches()[step]


# ---- damage and labels


def test_half_of_the_damage_has_overlays_and_half_of_that_nothing_else(monkeypatch):
    given, generator = [], torch.Generator().manual_seed(0)
    monkeypatch.setattr(damage, "scratch", lambda clean, generator, **options: given.append(options) or (clean, None))
    for overlay_masks in ([OVERLAY], []):
        for _ in range(400):
            damaged(torch.zeros(3, 4, 4), overlay_masks, False, generator)
    first, without = given[:400], given[400:]
    assert binomtest(sum("overlay_masks" in options for options in first), 400, 0.5).pvalue > 1e-3
    assert binomtest(sum("kinds" in options for options in first), 400, 0.25).pvalue > 1e-3
    assert all("overlay_masks" in options and options["kinds"] == () for options in first if "kinds" in options)
    assert all(options == damage.PRINT_DAMAGE for options in without)


def test_labels_equal_a_loop_over_the_pixels():
    """What is clear counts, what is faint counts only beside that, other faint damage is uncertain."""
    rng = np.random.default_rng(0)
    clean = rng.integers(40, 200, (3, 16, 18))
    change = rng.choice([0, 3, 7, 8, 12, 19, 20, 40], (16, 18), p=[0.4, 0.1, 0.1, 0.13, 0.12, 0.12, 0.02, 0.01])
    channel = rng.integers(0, 3, (16, 18)) == np.arange(3)[:, None, None]
    scan = clean + channel * change * rng.choice([-1, 1], (16, 18))
    mask, sure = np.zeros((2, 1, 16, 18), dtype=bool)
    for y in range(16):
        for x in range(18):
            around = [change[v, u] for v in range(16) for u in range(18) if max(abs(v - y), abs(u - x)) <= 2]
            beside = max(around) >= 20
            mask[0, y, x] = change[y, x] >= 8 and beside
            sure[0, y, x] = change[y, x] < 8 or beside
    found = labels(*(torch.from_numpy(levels).float() / 255 for levels in (scan, clean)))
    assert mask.any() and not sure.all()
    for one, other in zip(found, (mask, sure), strict=True):
        assert one.dtype == torch.bool
        np.testing.assert_array_equal(one, other)
