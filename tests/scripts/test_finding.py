"""What the card says of the finder, against loops over single pixels."""

import math

import numpy as np
import pytest

from restoration_lib.data import datasets


@pytest.fixture
def finding(load_script):
    return load_script("finding")


@pytest.fixture
def looked(finding):
    """Two made images: logits of every size, larger where there is damage."""
    rng = np.random.default_rng(0)

    def image():
        visible = rng.random((20, 30)) < 0.2
        logits = (4 * rng.standard_normal((20, 30)) + 5 * visible).astype(np.float16)
        return finding.Looked(logits, logits - 3, visible, visible & (rng.random((20, 30)) < 0.5))

    return [image(), image()]


def test_scores_are_means_over_images(finding, looked, monkeypatch):
    monkeypatch.setattr(finding, "found", lambda logits, threshold: logits > threshold)
    sums = dict.fromkeys((finding.UNDAMAGED, finding.RECALL, finding.F1), 0.0)
    for image in looked:
        alarms = hits = clear = there = claimed = both = 0
        for y in range(20):
            for x in range(30):
                mine = image.damaged[y, x] > 1
                alarms += image.undamaged[y, x] > 1
                clear += image.clear[y, x]
                hits += image.clear[y, x] and mine
                there += image.visible[y, x]
                claimed += mine
                both += image.visible[y, x] and mine
        precision, recall = both / claimed, both / there
        sums[finding.UNDAMAGED] += 100 * alarms / 600 / 2
        sums[finding.RECALL] += 100 * hits / clear / 2
        sums[finding.F1] += 2 * precision * recall / (precision + recall) / 2
    assert finding.scores(looked, 1) == pytest.approx(sums, abs=1e-3)


def test_what_is_sure_nowhere_is_not_found(finding):
    """As the command finds damage: areas of a logit above -1 that somewhere exceed 2.5."""
    logits = np.full((4, 9), -5.0)
    logits[1, 1:4], logits[1, 2], logits[2, 6:8] = 0, 3, 1
    damage = logits > -5
    row = finding.scores([finding.Looked(logits, logits, damage, damage)])
    assert row[finding.RECALL] == 60 and row[finding.UNDAMAGED] == pytest.approx(100 * 3 / 36, abs=1e-3)


def test_reliability_counts_damage_by_probability(finding, looked):
    made = finding.reliability({"a": looked})
    for place, mean in enumerate(made.index):
        seen = [
            image.visible[y, x]
            for image in looked for y in range(20) for x in range(30)
            if place / 10 <= 1 / (1 + math.exp(-image.damaged[y, x])) < (place + 1) / 10
        ]  # fmt: skip
        sure = [1 / (1 + math.exp(-image.damaged[y, x])) for image in looked for y in range(20) for x in range(30)]
        said = np.mean([probability for probability in sure if place / 10 <= probability < (place + 1) / 10])
        assert mean == pytest.approx(100 * said) == made["exact"].iloc[place]
        assert made["a"].iloc[place] == pytest.approx(100 * np.mean(seen))
    sure = [finding.Looked(*(np.full((2, 2), value) for value in (40.0, -40.0, True, True)))]
    assert np.isnan(finding.reliability({"sure": sure})["sure"].iloc[:-1]).all()


def test_tables_have_a_row_for_each_set_and_each_threshold(finding, looked):
    sets, thresholds = finding.tables({"one": looked[:1], "all": looked}).values()
    assert [row["images"] for row in sets] == ["one (1)", "all (2)"]
    assert [row["`--threshold`"] for row in thresholds] == list(finding.THRESHOLDS)
    shares = [row[finding.UNDAMAGED] for row in thresholds]
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1], "a higher threshold finds less"


def test_it_looks_at_an_image_with_damage_and_without(finding):
    class Brightness:
        def find(self, pixels):
            return pixels[..., 0].astype(np.float16)

    images = datasets.Images()
    images.names, images.arrays = ["grey"], [np.full((64, 64, 3), 100, np.uint8)]
    [image] = finding.look(Brightness(), images)
    assert (image.undamaged == 100).all()
    assert image.visible.any() and not image.visible.all() and (image.damaged[~image.visible] == 100).all()
    difference = np.abs(image.damaged.astype(int) - 100)  # of red; the other channels say more
    assert (difference[~image.clear] < finding.CLEAR).all() and (image.visible & ~image.clear).any()
    assert image.clear[difference >= finding.CLEAR].all() and image.clear.any()
