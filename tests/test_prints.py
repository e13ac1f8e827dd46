"""Prints against curves of the luma, worked out pixel by pixel."""

import numpy as np
import pytest
import torch

from restoration_lib import prints
from restoration_lib.data import Pictures
from restoration_lib.degradations import damage_mask, scratched
from restoration_lib.images import to_uint8
from restoration_lib.paired import PairedPictures, batches
from restoration_lib.unpaired import keep


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (20, 24, 3), dtype=np.uint8) for _ in range(5)]
    return Pictures([f"{k}.png" for k in range(5)], arrays)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("given", [False, True])
def test_a_share_of_the_pairs_is_monochrome_on_both_sides(pictures, monkeypatch, gamma, given):
    """The red channel of a print is a curve of its luma, the others are at most that, and in one proportion."""
    monkeypatch.setattr(prints, "GAMMA", (gamma, gamma))
    pairs = PairedPictures(pictures, Pictures(pictures.names, [255 - a for a in pictures.arrays]) if given else None)
    plain, half = (batches(pairs, keep, 8, 4, 25, 0, share) for share in (0.0, 0.5))
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


def test_damage_that_no_longer_shows_on_a_print_is_none(pictures):
    made = batches(PairedPictures(pictures, None), scratched, 20, 5, 1, 0, 1.0)[0]
    changed = (made["input"] != made["target"]).any(1, keepdim=True)
    assert changed.any() and torch.equal(changed, damage_mask(made["input"], made["target"]))


def test_a_share_above_1_is_refused(pictures):
    with pytest.raises(ValueError, match=r"monochrome: expected a share between 0 and 1, got 1\.5"):
        batches(PairedPictures(pictures, None), keep, 8, 4, 25, 0, 1.5)
