"""What is kept between runs, and what must never be."""

import json
from functools import partial

import pandas as pd
import pytest
import torch

from restoration_lib.data.datasets import Pair
from restoration_lib.degradations import damage_mask
from restoration_lib.evaluation import kept, measure, scratches, super_resolution
from restoration_lib.evaluation.baselines import AGEING_BASELINES, RESTORED, SHUFFLE_BASELINES, median_filter

SCORE = measure.image_score("psnr")


class Network:
    """Restores to a grey of its own, and counts."""

    def __init__(self, grey: float):
        self.grey, self.calls = grey, 0

    def restore(self, images):
        self.calls += 1
        return torch.full_like(images, self.grey)


@pytest.fixture
def pairs():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, 1, 3, 24, 24), generator=generator) / 255
    return [Pair("one.png", images[0], images[1]), Pair("two.png", images[2], images[3])]


def test_functions_partials_and_plain_values_are_described_and_differ():
    said = [kept.described(value) for value in (
        measure.as_it_is, partial(measure.as_it_is), median_filter, partial(median_filter, side=3),
        partial(median_filter, side=5), partial(median_filter, 5), (1, 2), (1, "2"), (1, ("2",)), None, 1, 1.0, True,
    )]  # fmt: skip
    assert None not in said and len(set(said)) == len(said)
    assert said[2] == "restoration_lib.evaluation.baselines.median_filter"


def test_what_may_have_a_network_in_it_is_not_described():
    network = Network(0.5)

    def closure(pair):
        return network.restore(pair.input)

    for value in (lambda pair: pair.input, closure, network.restore, partial(measure.restored, network), network, [1]):
        assert kept.described(value) is None
        assert kept.described(partial(median_filter, value)) is None
        assert kept.described(partial(median_filter, side=value)) is None
        assert kept.described((1, value)) is None


def test_all_classical_baselines_and_scores_of_the_project_are_described():
    mask = partial(damage_mask, least_damage=24)
    filters = measure.restorers(Network(0.5), SHUFFLE_BASELINES | AGEING_BASELINES)
    of_scratches = scratches.restorers(lambda image: (image, None), mask)
    restorers = {**filters, **of_scratches, "bicubic": super_resolution.bicubic(4)}
    left_out = {name for name, restore in restorers.items() if kept.described(restore) is None}
    assert left_out == {RESTORED, "biharmonic, found mask"}
    through = scratches.through(of_scratches, 64)
    assert {name for name in through if kept.described(through[name]) is None} == left_out
    for score in (SCORE, scratches.score(mask), super_resolution.score(4)):
        assert kept.described(score)


def test_the_second_run_reads_the_baselines_and_measures_its_own_network(pairs, tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    plain = [measure.measure(measure.restorers(Network(grey), SHUFFLE_BASELINES), pairs, SCORE) for grey in (0.2, 0.7)]
    first = measure.measure(measure.restorers(Network(0.2), SHUFFLE_BASELINES), pairs, SCORE, folder)
    files = sorted(folder.iterdir())
    assert len(files) == 1 + len(SHUFFLE_BASELINES) and all(path.suffix == ".json" for path in files)

    def never(*arguments):
        raise AssertionError("measured twice")

    monkeypatch.setattr(measure, "filtered", never)
    second = measure.measure(measure.restorers(Network(0.7), {}), pairs, SCORE, folder)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(first, plain[0], check_exact=True)
    assert second.equals(plain[1][plain[1]["method"].isin(["input", RESTORED])].reset_index(drop=True))
    network = Network(0.7)
    before = {path: path.stat().st_mtime_ns for path in files}
    third = measure.measure(measure.restorers(network, SHUFFLE_BASELINES), pairs, SCORE, folder)
    pd.testing.assert_frame_equal(third, plain[1], check_exact=True)
    assert network.calls == len(pairs) and {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_kept_values_are_those_that_are_read(pairs, tmp_path):
    measure.measure({"input": measure.as_it_is}, pairs, SCORE, tmp_path)
    [path] = tmp_path.iterdir()
    path.write_text(json.dumps([{"psnr": 12.5}, None]))
    rows = measure.measure({"input": measure.as_it_is}, pairs, SCORE, tmp_path)
    assert rows.to_dict("records") == [{"image": "one.png", "method": "input", "psnr": 12.5}]


def test_another_image_name_score_filter_or_code_is_measured_anew(pairs, tmp_path, monkeypatch):
    def count(restore=measure.as_it_is, pairs=pairs, score=SCORE):
        measure.measure({"any": restore}, pairs, score, tmp_path)
        return len(list(tmp_path.iterdir()))

    brighter = [Pair(pair.name, pair.input, pair.target + 1 / 255) for pair in pairs]
    assert count() == count() == 1
    assert count(pairs=brighter) == 2
    assert count(pairs=pairs[:1]) == 3
    assert count(pairs=[Pair("other.png", *(pairs[0].input, pairs[0].target))]) == 4
    assert count(score=measure.image_score("psnr", "ssim")) == 5
    assert count(restore=partial(measure.filtered, partial(median_filter, side=3))) == 6
    assert count(restore=partial(measure.filtered, partial(median_filter, side=5))) == 7
    monkeypatch.setattr(kept, "digest_of_code", lambda *_: "another version")
    assert count() == 8
