"""Translations by generators that add known levels, against metrics worked out by hand."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from restoration_lib.data.datasets import Images, Pair, degraded_pairs
from restoration_lib.degradations import keep
from restoration_lib.evaluation import translation
from restoration_lib.methods.cyclegan import CycleGAN

LOSSES = {"adversarial": 1.0, "cycle": 10.0, "identity": 5.0}


def grey(level):
    return torch.full((1, 3, 12, 15), level / 255)


def pairs(**levels):
    return [Pair(f"{name}.png", grey(level), grey(level)) for name, level in levels.items()]


@pytest.fixture
def translator(brighter):
    """Generator A takes 10 levels off, generator B adds 30."""
    method = CycleGAN(steps=1, features=4, blocks=0, losses=LOSSES)
    for domain, levels in (("a", -10), ("b", 30)):
        method.networks[f"average_{domain}"] = brighter(levels).networks["generator"]
    return method


def test_translation_is_measured_in_both_directions(translator, by_hand):
    domains = {"a": pairs(x=100), "b": pairs(y=150, z=255)}
    rows = translation.measure_translation(translator.translate, domains).set_index("image")
    assert rows["domain"].to_dict() == {"a/x.png": "a", "b/y.png": "b", "b/z.png": "b"}
    assert set(rows["method"]) == {"restored"}
    levels = {  # there and back, into its own domain; and what it was and became
        "a/x.png": (20, 10, (100, 130)),
        "b/y.png": (20, 30, (150, 140)),
        "b/z.png": (0, 0, (255, 245)),  # clipped at white
    }
    for image, (back, same, shift) in levels.items():
        row = rows.loc[image]
        for name, error in (("round_trip", back), ("identity", same)):
            assert row[name] == (pytest.approx(20 * math.log10(255 / error)) if error else math.inf), (image, name)
        assert row["colour_shift"] == pytest.approx(by_hand.difference_of_greys(*shift), abs=0.01)


def test_translation_validator_takes_the_mean_over_all_images(translator, by_hand):
    means = translation.validator({"a": pairs(x=100), "b": pairs(y=150, z=50)})(translator)
    shifts = [by_hand.difference_of_greys(*levels) for levels in ((100, 130), (150, 140), (50, 40))]
    identities = [20 * math.log10(255 / levels) for levels in (10, 30, 30)]
    assert means == {
        "round_trip": pytest.approx(20 * math.log10(255 / 20)),
        "identity": pytest.approx(np.mean(identities)),
        "colour_shift": pytest.approx(np.mean(shifts), abs=0.01),
    }


@pytest.mark.parametrize(("domain", "levels"), [("a", (130, 120, 90)), ("b", (90, 120, 130))])
def test_the_way_of_an_image_goes_there_and_back_and_through_its_own_generator(translator, domain, levels):
    way = translation.way(translator.translate, domain, *pairs(x=100))
    for image, level in zip(way, levels, strict=True):
        np.testing.assert_allclose(255 * image, np.full((1, 3, 12, 15), level), atol=1e-3)


def test_the_judge_is_a_linear_discriminant_between_the_domains(tmp_path):
    """Of features that are the colours themselves, against the formula with NumPy's correlations."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, (2, 40, 1)) * [1, 1, 0] + rng.normal(0, 0.05, (2, 40, 3))
    colours = np.clip(np.array([[[0.4, 0.5, 0.5]], [[0.6, 0.4, 0.5]]]) + shared, 0, 1)
    images = torch.tensor(colours, dtype=torch.float32)[..., None, None].expand(-1, -1, -1, 4, 6)
    domains = {name: [Pair("", x[None], x[None]) for x in domain] for name, domain in zip("ab", images, strict=True)}
    judge = translation.Judge(lambda image, depth: [None] * (depth - 1) + [image], domains, tmp_path / "kept")
    within = (colours - colours.mean(1, keepdims=True)).reshape(80, 3)
    mixed = np.diag(within.std(0)) @ (np.corrcoef(within.T) + np.eye(3)) @ np.diag(within.std(0))
    weights = np.linalg.inv(mixed) @ (colours[1].mean(0) - colours[0].mean(0))
    start, end = colours.mean(1) @ weights
    found = np.array([[judge(x[None]) for x in domain] for domain in images])
    np.testing.assert_allclose(found, (colours @ weights - start) / (end - start), atol=1e-4)
    assert (found[0] < 0.5).mean() > 0.9 and (found[1] > 0.5).mean() > 0.9
    taken = translation.untouched(domains, judge)
    assert taken == {"a": 100 * (found[0] > 0.5).mean(), "b": 100 * (found[1] < 0.5).mean()}
    again = translation.Judge(None, domains, tmp_path / "kept")
    np.testing.assert_array_equal(again.weights, judge.weights)
    with pytest.raises(TypeError):  # of other images it has to look
        translation.Judge(None, {"a": domains["b"], "b": domains["a"]}, tmp_path / "kept")


def test_how_far_translations_go_is_what_the_judge_says(translator):
    domains = {"a": pairs(x=51, w=153), "b": pairs(y=204, z=129)}  # to 81, 183, and 194, 119
    rows = translation.measure_translation(translator.translate, domains, lambda x: float(x.mean())).set_index("image")
    assert rows["taken"].to_dict() == {"a/x.png": 0, "a/w.png": 100, "b/y.png": 0, "b/z.png": 100}
    expected = {"a/x.png": 30, "a/w.png": 30, "b/y.png": 10, "b/z.png": 10}
    assert rows["moved"].to_dict() == pytest.approx({name: 100 * step / 255 for name, step in expected.items()}, 1e-3)


def test_images_of_a_domain_are_their_own_targets():
    images = Images()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 26, 3), dtype=np.uint8)
    images.add("x.png", Image.fromarray(pixels))
    [whole], [cut] = degraded_pairs(images, keep), degraded_pairs(images, keep, 12)
    assert whole.name == "x.png" and torch.equal(whole.input, whole.target)
    np.testing.assert_array_equal((255 * whole.input[0]).round().permute(1, 2, 0), pixels)
    assert torch.equal(cut.input, whole.input[..., 4:16, 7:19]) and torch.equal(cut.input, cut.target)
