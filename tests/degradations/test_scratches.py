"""Local damage: its mask against the pixels, its measures against geometry, overlays against what was laid."""

import math
import re

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.stats import binomtest, kstest
from skimage.morphology import skeletonize

from restoration_lib.degradations.scratches import KINDS, VISIBLE, _paint, damage_mask, scratch, scratched

GREY = torch.full((3, 200, 240), 0.4)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_is_where_the_image_changed_and_nowhere_else(kind):
    image = torch.rand(3, 90, 110, generator=draws()).mul(255).round() / 255
    damaged, mask = scratch(image, draws(), kinds=(kind,), opacity=(0.3, 1.0))
    assert damaged.shape == image.shape and mask.shape == (1, 90, 110) and mask.dtype == torch.bool
    assert mask.any() and not mask.all()
    change = (damaged - image).abs().amax(0, keepdim=True)
    assert torch.equal(change > 0, mask)
    assert change[mask].min() * 255 >= VISIBLE - 0.5
    assert damaged.min() >= 0 and damaged.max() <= 1


def test_the_mask_is_found_again_after_a_rounding_to_8_bits():
    image = torch.rand(2, 3, 64, 64, generator=draws()).mul(255).round() / 255
    damaged, mask = scratch(image, draws())
    assert torch.equal(damage_mask(damaged.mul(255).round() / 255, image), mask)


@pytest.mark.parametrize("least_damage", [1, 8, 24])
def test_the_mask_of_two_images_is_where_any_channel_differs_by_the_grey_levels_asked_for(least_damage):
    rng = np.random.default_rng(0)
    clean, shift = rng.integers(30, 226, (2, 3, 20, 24)), rng.integers(-30, 31, (2, 1, 20, 24))
    damaged = clean + shift * (rng.integers(0, 3, shift.shape) == np.arange(3)[:, None, None])  # of one channel each
    found = damage_mask(*(torch.from_numpy(side).float() / 255 for side in (damaged, clean)), least_damage)
    assert found.dtype == torch.bool and np.array_equal(found.numpy(), abs(shift) >= least_damage)


def test_the_same_generator_gives_the_same_damage_and_every_image_its_own():
    images = GREY.expand(3, -1, -1, -1)
    one, other = scratched(images, draws(1)), scratched(images, draws(1))
    assert torch.equal(one, other)
    assert not torch.equal(one[0], one[1]) and not torch.equal(one, scratched(images, draws(2)))
    assert torch.equal(images, GREY.expand(3, -1, -1, -1)), "the input was written to"


@pytest.mark.parametrize("coverage", [(0.05, 0.05), (0.2, 0.2), (0.4, 0.4), (0.04, 0.15)])
def test_the_damage_covers_what_was_asked_for(coverage):
    masks = scratch(GREY.expand(12, -1, -1, -1), draws(), coverage)[1]
    shares = masks.float().mean((1, 2, 3))
    piece = 0.04  # more than the largest stroke covers; a change that cannot be seen is left out again
    assert shares.min() > coverage[0] - 0.01 and shares.max() < coverage[1] + piece
    if coverage[0] < coverage[1]:
        assert shares.std() > 0.01


def test_a_large_image_is_covered_too():
    mask = scratch(torch.full((3, 800, 800), 0.4), draws(), (0.1, 0.1), kinds=("blotches",))[1]
    assert mask.float().mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("width", [3.0, 6.0, 9.0])
def test_strokes_are_as_wide_as_asked_for(width):
    """Width as an image analyst measures it: twice the distance to the border, on the skeleton."""
    widths = []
    for seed in range(6):
        mask = scratch(GREY, draws(seed), width=(width, width), number=(1, 1), kinds=("strokes",))[1][0].numpy()
        widths.append(2 * np.median(distance_transform_edt(mask)[skeletonize(mask)]))
    beads, rim = 0.8, 1  # the mean along a stroke, in widths; the pixels that it covers in part
    assert np.mean(widths) == pytest.approx(beads * width + rim, rel=0.2)


def test_hair_and_dust_are_thinner_than_strokes_and_blotches_thicker():
    def thickness(kind):
        mask = scratch(GREY, draws(), (0.1, 0.1), (6.0, 6.0), kinds=(kind,), tone=(1, 1))[1][0].numpy()
        return np.percentile(distance_transform_edt(mask), 100)

    assert thickness("hair") < thickness("dust") < thickness("strokes") < thickness("blotches")


def test_opacity_and_tone_are_those_of_the_mixture():
    damaged, mask = scratch(GREY, draws(), number=(5, 5), coverage=(0, 0), opacity=(0.5, 0.5), tone=(0.8, 0.8),
                            kinds=("blotches",), width=(8, 8))  # fmt: skip
    assert damaged.max() <= 0.8 + 1e-6
    values = damaged[0][mask[0]]
    assert values.mode().values.item() == pytest.approx(0.4 + 0.5 * (0.8 - 0.4), abs=0.5 / 255)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_pieces_is_of_any_tone(share):
    """The tone of one opaque blotch is the level of the pixels that it changed most."""
    options = {"number": (1, 1), "coverage": (0, 0), "kinds": ("blotches",), "width": (8, 8), "opacity": (1, 1)}
    damaged = scratched(GREY[:, :24, :24].expand(400, -1, -1, -1), draws(), tone=(0.7, 1), any_tone=share, **options)
    levels = damaged[:, 0].flatten(1)
    tones = levels.gather(1, (levels - 0.4).abs().argmax(1, keepdim=True))[:, 0]
    assert binomtest(int((tones < 0.7 - 1 / 255).sum()), 400, 0.7 * share).pvalue > 1e-3
    if share == 1:
        assert kstest(tones[abs(tones - 0.4) > 0.1], lambda t: np.where(t < 0.4, t, t - 0.2) / 0.8).pvalue > 1e-3


def test_pieces_of_the_given_tone_alone_spend_no_draw_on_it():
    """The sum of the grey levels, and the draw that follows, are those of the time before there was `any_tone`."""
    for options in ({}, {"any_tone": 0.0}):
        generator = draws()
        assert scratched(GREY, generator, **options).double().sum().item() * 255 == pytest.approx(16164540, abs=20)
        assert torch.rand((), generator=generator).item() == pytest.approx(0.6694296002)


def test_the_number_of_pieces_has_a_least_and_a_largest():
    def one(number, coverage):
        return scratch(GREY, draws(), coverage, kinds=("blotches",), number=number)[1].float().mean()

    assert one((0, 400), (0, 0)) == 0
    assert 0 < one((1, 1), (0.9, 0.9)) < one((8, 8), (0, 0)) < 0.1


def test_a_share_of_the_images_stays_as_it_is():
    images = GREY[:, :40, :40].expand(200, -1, -1, -1)
    damaged, masks = scratch(images, draws(), share=0.5)
    whole = ~masks.any(dim=3).any(dim=2).any(dim=1)
    assert torch.equal(damaged[whole], images[whole])
    assert 70 < whole.sum() < 130
    assert torch.equal(scratched(images, draws(), share=0.0), images)


def test_an_overlay_covers_its_area_times_the_square_of_the_scale():
    overlay = torch.zeros(61, 61, dtype=torch.uint8)
    overlay[20:41, 20:41] = 255
    large = torch.zeros(3, 400, 400)
    for scale in (0.5, 1.0, 2.0):
        areas = []
        for seed in range(30):
            options = {"kinds": (), "overlay_masks": [overlay], "overlay_scale": (scale, scale), "number": (1, 1)}
            mask = scratch(large, draws(seed), (0.0, 1.0), tone=(1, 1), opacity=(1, 1), **options)[1]
            areas.append(mask.sum().item())
        side = 21 * scale + 1  # and the soft rim of half a pixel
        assert np.median(areas) == pytest.approx(side**2, rel=0.12)


@pytest.mark.parametrize("most", [0.05, 0.2])
def test_an_overlay_is_laid_smaller_than_it_is_rather_than_on_more_than_is_asked_for(most):
    stain = torch.ones(300, 300)
    options = {"kinds": (), "overlay_masks": [stain], "overlay_scale": (0.5, 1.5), "number": (1, 1)}
    shares = [scratch(GREY, draws(seed), (0.02, most), **options)[1].float().mean() for seed in range(20)]
    assert np.max(shares) == pytest.approx(most, rel=0.1)


def test_thin_lines_of_a_large_overlay_stay_whole():
    """A line of 1600 x 8 px, laid on at a sixteenth of its size, is 100 x 0.5 px."""
    scan = torch.zeros(1600, 1600)
    scan[796:804] = 1
    options = {"overlay_masks": [scan], "overlay_scale": (1 / 16, 1 / 16), "number": (1, 1), "coverage": (0, 1)}
    options |= {"kinds": (), "tone": (1, 1), "opacity": (1, 1)}
    changes = []
    for seed in range(40):
        changes.append(scratched(torch.zeros(3, 300, 300), draws(seed), **options)[0].sum())
    assert np.median(changes) == pytest.approx(100 * 0.5, rel=0.1)


def test_overlays_of_8_bits_and_of_floats_are_one_and_an_empty_one_does_nothing():
    overlay = torch.randint(0, 256, (30, 40), generator=draws(), dtype=torch.uint8)
    one, other = (scratched(GREY, draws(), kinds=(), overlay_masks=[o]) for o in (overlay, overlay / 255))
    assert torch.allclose(one, other, atol=1.1 / 255) and not torch.equal(one, GREY)
    assert torch.equal(scratched(GREY, draws(), kinds=(), overlay_masks=[torch.zeros(9, 9)]), GREY)


def test_drawn_and_laid_damage_come_together():
    square = torch.ones(12, 12)
    both = scratch(GREY, draws(), (0.3, 0.3), kinds=("hair",), overlay_masks=[square])[1][0].numpy()
    assert distance_transform_edt(both).max() > 4, "no overlay"
    assert np.isin(distance_transform_edt(both)[skeletonize(both)], (1, math.sqrt(2))).mean() > 0.05, "no hair"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coverage": (0.2, 0.1)}, "coverage: expected a number from 0.2 to 1, got 0.1"),
        ({"coverage": (0.1, 1.1)}, "coverage: expected a number from 0.1 to 1, got 1.1"),
        ({"width": (-1, 2)}, "width: expected a number, 0 or more, got -1"),
        ({"opacity": (0, 2)}, "opacity: expected a number from 0 to 1, got 2"),
        ({"tone": (-0.5, 1)}, "tone: expected a number from 0 to 1, got -0.5"),
        ({"number": (5, 2)}, "number: expected a number, 5 or more, got 2"),
        ({"overlay_scale": (0, 1)}, "overlay_scale: expected a number above 0, got 0"),
        ({"share": 1.5}, "share: expected a number from 0 to 1, got 1.5"),
        ({"any_tone": -0.1}, "any_tone: expected a number from 0 to 1, got -0.1"),
        ({"kinds": ("strokes", "moths")}, f"kinds: expected any of {', '.join(KINDS)}, got 'moths'"),
        ({"kinds": ()}, f"kinds: name at least one of {', '.join(KINDS)}, or give overlay_masks"),
    ],
)
def test_an_argument_out_of_its_range_is_named(changes, message):
    with pytest.raises(ValueError, match=rf"\A{re.escape(message)}\Z"):
        scratch(GREY, draws(), **changes)


def test_what_is_no_colour_image_is_refused():
    with pytest.raises(ValueError, match=r"images: expected a float tensor .* got torch.uint8 \(3, 4, 4\)"):
        scratch(torch.zeros(3, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_dabs_cover_what_a_loop_over_all_pixels_says(kind):
    """Also those outside the image, of which nothing is covered, and thin ones."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width, count = (int(n) for n in rng.integers(1, 20, 3))
        y, x = (rng.uniform(-1.5 * side, 2.5 * side, count).astype(kind) for side in (height, width))
        radius = rng.uniform(0, 4, count).astype(kind)
        expected = np.zeros((height, width))
        for row in range(height):
            for column in range(width):
                away = np.hypot(row - y, column - x)
                cover = np.clip(np.maximum(radius, 0.5) + 0.5 - away, 0, 1) * np.minimum(2 * radius, 1)
                expected[row, column] = cover.max()
        place, cover = _paint(y, x, radius, height, width)
        layer = np.zeros(height * width)
        layer[place] = cover
        np.testing.assert_allclose(layer.reshape(height, width), expected, atol=1e-5)
        assert (cover > 0).all() and len(set(place)) == len(place)
