"""Degradations by name: each is the function that it is called after, with the options given."""

from functools import partial

import pytest
import torch

from restoration_lib.degradations import DEGRADATIONS, degradation, keep
from restoration_lib.degradations.ageing import age
from restoration_lib.degradations.downscale import downscale
from restoration_lib.degradations.monochrome import monochrome
from restoration_lib.degradations.pixel_shuffle import pixel_shuffle
from restoration_lib.degradations.scratches import scratch, scratched

CHOSEN = {
    "none": ({}, lambda images, generator: images),
    "pixel_shuffle": ({"rate": 0.7, "window": 3}, partial(pixel_shuffle, rate=0.7, window=3)),
    "ageing": ({"strength": 0.6}, partial(age, strength=0.6)),
    "scratches": (
        {"coverage": (0.1, 0.1), "kinds": ("hair",), "width": (5.0, 6.0)},
        lambda images, generator: scratch(images, generator, (0.1, 0.1), (5.0, 6.0), kinds=("hair",))[0],
    ),
    "downscale": ({"scale": 4}, partial(downscale, scale=4)),
    "monochrome": ({}, monochrome),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape):
    return torch.rand(shape, generator=seeded(99)).mul(255).round() / 255


def test_each_of_them_is_tested_here():
    assert list(DEGRADATIONS) == list(CHOSEN), "give a new one its line in CHOSEN"


@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.parametrize("shape", [(3, 32, 40), (2, 3, 40, 32)])
def test_a_degradation_is_its_function_with_the_options(name, shape):
    options, function = CHOSEN[name]
    images = noise(*shape)
    assert torch.equal(degradation(name, **options)(images, generator=seeded(3)), function(images, generator=seeded(3)))


@pytest.mark.parametrize("name", CHOSEN)
def test_a_degradation_leaves_its_input_alone_and_is_the_same_for_the_same_generator(name):
    degrade = degradation(name, **CHOSEN[name][0])
    images, before = noise(2, 3, 32, 40), noise(2, 3, 32, 40)
    first, again, other = (degrade(images, generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(images, before) and torch.equal(first, again)
    assert first.dtype == images.dtype and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, other) == (name in ("none", "downscale")), "the generator draws all that is random"


def test_keep_gives_what_it_was_given():
    images = noise(2, 3, 5, 6)
    assert keep(images) is images and keep(images, generator=seeded()) is images


def test_an_unknown_name_is_named_with_the_accepted_ones():
    with pytest.raises(ValueError, match=rf"\Adegradation: expected one of {', '.join(DEGRADATIONS)}, got 'sepia'\Z"):
        degradation("sepia")


@pytest.mark.parametrize(
    ("name", "option", "accepted"),
    [
        ("pixel_shuffle", "rates", "rate, window"),
        ("ageing", "strenght", "strength"),
        ("scratches", "overlays", ".*coverage, width, .*overlay_masks, overlay_scale, share, any_tone"),
        ("downscale", "crop", "scale"),
        ("none", "rate", ""),
        ("monochrome", "images", ""),
        ("ageing", "generator", "strength"),
    ],
)
def test_an_option_that_it_does_not_take_is_named_with_the_accepted_ones(name, option, accepted):
    message = rf"\Adegradation {name}: takes {accepted or 'no options'}, got {option}(; did you mean \w+\?)?\Z"
    with pytest.raises(ValueError, match=message):
        degradation(name, **{option: 1})


@pytest.mark.parametrize(("name", "missing"), [("downscale", "scale")])
def test_an_option_that_it_needs_is_named_where_it_is_missing(name, missing):
    with pytest.raises(ValueError, match=rf"\Adegradation {name}: give the options {missing}\Z"):
        degradation(name)


def test_a_value_out_of_its_range_is_refused_where_it_is_used():
    degrade = degradation("pixel_shuffle", rate=2)
    with pytest.raises(ValueError, match="rate: expected a number from 0 to 1, got 2"):
        degrade(noise(3, 8, 8), generator=seeded())


def test_all_options_of_scratches_are_taken():
    options = {"coverage": (0.1, 0.2), "width": (3, 4), "opacity": (1, 1), "tone": (1, 1), "number": (1, 9)}
    options |= {"kinds": ("dust",), "overlay_masks": [torch.ones(5, 5)], "overlay_scale": (1, 2), "share": 1}
    images = noise(3, 32, 40)
    made = degradation("scratches", **options)(images, generator=seeded())
    assert torch.equal(made, scratched(images, seeded(), **options)) and not torch.equal(made, images)
