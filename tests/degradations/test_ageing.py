"""Ageing: draws replayed by hand, scipy, scikit-image and naive loops against the effects; what their words promise."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from skimage.color import rgb2lab

from restoration_lib.degradations import ageing
from restoration_lib.degradations.ageing import EFFECTS, age, blur, cast, creases, dust, fade, grain, scratches, stains

ALL = {name: effect for name, (effect, _, _) in EFFECTS.items()} | {"age": age}
SPOTS = {"dust": dust, "scratches": scratches, "creases": creases, "stains": stains}  # these leave most pixels alone
each = pytest.mark.parametrize("effect", ALL.values(), ids=ALL)
each_spot = pytest.mark.parametrize("effect", SPOTS.values(), ids=SPOTS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, dtype=torch.float32):
    return torch.rand(shape, generator=seeded(99), dtype=dtype)


def plain(level, *size):
    return torch.full((3, *size), level)


def drawn(generator, low, high):
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def change(effect, image, seed, strength=1.0):
    """How far the damage moves each pixel, (H, W)."""
    return (effect(image, strength, seeded(seed)) - image).abs().amax(0).numpy()


def lab(image):
    return rgb2lab(image.permute(1, 2, 0).numpy())


# ---- what holds for every effect


@each
def test_strength_0_gives_a_copy(effect):
    for images in (noise(3, 8, 9), noise(2, 3, 8, 9)):
        aged = effect(images, 0.0, seeded())
        assert torch.equal(aged, images)
        assert aged.untyped_storage().data_ptr() != images.untyped_storage().data_ptr()


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "shape", [(3, 33, 47), (2, 3, 47, 33), (3, 5, 9), (3, 9, 5), (3, 1, 20), (3, 20, 1), (3, 1, 1)]
)
@pytest.mark.filterwarnings("error")
def test_shape_type_and_range_stay_and_the_input_is_not_touched(effect, shape, dtype):
    for images in (noise(*shape, dtype=dtype), torch.zeros(shape, dtype=dtype), torch.ones(shape, dtype=dtype)):
        before = images.clone()
        for seed in range(3):
            aged = effect(images, 1.0, seeded(seed))
            assert (aged.shape, aged.dtype) == (images.shape, dtype)
            assert ((aged >= 0) & (aged <= 1)).all(), "out of range, or not a number"
            assert torch.equal(images, before), "the input was changed"


@each
def test_the_generator_state_alone_decides_and_the_global_one_is_left_alone(effect):
    image, generator = noise(3, 40, 56), seeded()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = (effect(image, 1.0, generator) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(effect(image, 1.0, seeded()), first)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(effect(image, 1.0), first), "without a generator, torch's own is drawn from"


@each
def test_a_batch_is_its_images_made_one_after_the_other(effect):
    batch, generator = noise(3, 3, 160, 176), seeded(7)
    one_by_one = torch.stack([effect(image, 0.9, generator) for image in batch])
    assert torch.equal(effect(batch, 0.9, seeded(7)), one_by_one)
    first, second = effect(batch[:1].expand(2, -1, -1, -1), 1.0, seeded(7))
    assert not torch.equal(first, second)


@each
def test_float64_gets_the_damage_of_float32(effect):
    image = noise(3, 40, 56)
    difference = effect(image.double(), 1.0, seeded(3)) - effect(image, 1.0, seeded(3))
    assert difference.abs().max() < 1e-3


@each
def test_the_layout_in_memory_does_not_matter(effect):
    batch = noise(2, 3, 16, 24)
    laid_out = batch.to(memory_format=torch.channels_last)
    assert torch.allclose(effect(laid_out, 1.0, seeded()), effect(batch, 1.0, seeded()), atol=1e-6)


@each
def test_more_strength_is_more_damage(effect):
    image = noise(3, 160, 176) * 0.8
    means = [np.mean([change(effect, image, seed, strength) for seed in range(12)]) for strength in (0.2, 0.6, 1.0)]
    assert means[0] < means[1] < means[2]


@each
@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_strength_outside_0_to_1_is_refused(effect, strength):
    with pytest.raises(ValueError, match=rf"\Astrength: expected a number from 0 to 1, got {strength}\Z"):
        effect(noise(3, 4, 4), strength)


@each
def test_what_is_no_colour_image_is_refused(effect):
    wrong = [noise(1, 8, 8), noise(8, 8), noise(2, 1, 8, 8), noise(1, 1, 3, 8, 8), noise(8, 8, 3), torch.tensor(0.5)]
    for images in [*wrong, torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8, dtype=torch.int64)]:
        for strength in (0.0, 0.5):
            with pytest.raises(ValueError, match=r"\Aimages: .*\Z"):
                effect(images, strength)


# ---- tone and sharpness


def test_fade_lifts_the_blacks_and_lowers_contrast():
    image = noise(3, 40, 56)
    for seed in range(20):
        faded = fade(image, 0.7, seeded(seed))
        assert faded.quantile(0.01) > image.quantile(0.01) + 0.05
        assert faded.std() < 0.95 * image.std()


def test_fade_is_one_rising_curve_within_the_documented_ends():
    ramp = torch.linspace(0, 1, 101, dtype=torch.float64).expand(3, 1, -1)
    middles = []
    for seed in range(40):
        red, green, blue = fade(ramp, 1.0, seeded(seed))[:, 0]
        assert torch.allclose(red, green) and torch.allclose(red, blue)
        assert (red.diff() > 0).all()
        assert 0 < red[0] <= 0.3 and 0.8 <= red[-1] < 1
        middles.append((red[50] - red[0]) / (red[-1] - red[0]) - 0.5)
    assert min(middles) < -0.05 and max(middles) > 0.05, "mid-tones move either way"


def test_cast_weakens_colours_and_yellows_white_paper():
    image = noise(3, 40, 56)
    for seed in range(20):
        before, after = lab(image), lab(cast(image, 0.7, seeded(seed)))
        assert np.hypot(*after[..., 1:].T).mean() < 0.8 * np.hypot(*before[..., 1:].T).mean()
        white, black = (lab(cast(plain(level, 4, 4), 0.7, seeded(seed))) for level in (1.0, 0.0))
        assert white[..., 2].min() > 3, "white does not turn yellow"
        assert black[..., 1:].min() > 0 and black[..., 0].min() > 0, "black does not turn reddish brown"


def test_blur_agrees_with_scipy():
    image = noise(3, 400, 300, dtype=torch.float64)
    for seed in range(3):
        sigma = 1.8 * 0.9 * drawn(seeded(seed), 0.4, 1) * 300 / 512
        expected = scipy.ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma), mode="mirror", truncate=8)
        np.testing.assert_allclose(blur(image, 0.9, seeded(seed)).numpy(), expected, atol=3e-3)


def test_grain_is_grey_gaussian_noise_of_the_documented_size():
    sizes = []
    for seed in range(20):
        moved = grain(plain(0.5, 96, 128), 1.0, seeded(seed)) - 0.5
        assert (moved[0] - moved[1:]).abs().max() < 1e-6
        assert abs(moved.mean()) < 0.002, "the mean is not kept"
        half = grain(plain(0.5, 96, 128), 0.5, seeded(seed)) - 0.5
        assert torch.allclose(half * 2, moved, atol=1e-6)
        generator = seeded(seed)
        white, sigma = torch.randn(96, 128, generator=generator), 0.8 * drawn(generator, 0.5, 1.2)
        clumped = scipy.ndimage.gaussian_filter(white.double().numpy(), sigma, mode="mirror", truncate=8)
        assert np.corrcoef(clumped.flatten(), moved[0].flatten())[0, 1] > 0.999
        sizes.append(moved.std().item())
        assert sizes[-1] == pytest.approx(0.04 * drawn(generator, 0.4, 1), rel=0.01)
    assert 0.035 < max(sizes) < 0.0404


def test_grain_is_strongest_in_the_midtones():
    for seed in range(5):
        dark, middle, bright = (grain(plain(level, 48, 64), 1.0, seeded(seed)).std() for level in (0.2, 0.5, 0.8))
        assert middle > 1.2 * max(dark, bright)


# ---- spots and lines


@each_spot
def test_only_a_part_of_the_image_changes(effect):
    shares = [(change(effect, plain(0.6, 128, 192), seed) > 1 / 255).mean() for seed in range(10)]
    assert 0 < np.mean(shares) < 0.5


@each_spot
@pytest.mark.parametrize("side", [128, 1024])
def test_the_damage_of_an_image_is_about_that_of_its_512_px_version(effect, side):
    small, large = (
        np.mean([change(effect, plain(0.4, size, size), seed) for seed in range(6)]) for size in (side, 512)
    )
    assert small == pytest.approx(large, rel=0.3)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (300, 220), (520, 512)])
def test_dust_equals_whole_specks_drawn_one_by_one(height, width):
    image, scale = noise(3, height, width, dtype=torch.float64), min(height, width) / 512
    generator = seeded(4)
    count = round(100 * 0.4 * drawn(generator, 0.3, 1) * max(height, width) / min(height, width))
    covers = np.zeros((2, height, width))  # dark, bright
    for y, x, size, stretch, turn, opacity, tone in torch.rand(7, count, generator=generator).double().T.numpy():
        down, across = np.arange(height)[:, None] - y * height, np.arange(width) - x * width
        along = (down * np.sin(turn * np.pi) + across * np.cos(turn * np.pi)) / (1 + 1.5 * stretch)
        beside = down * np.cos(turn * np.pi) - across * np.sin(turn * np.pi)
        radius = (0.6 + 1.4 * size) * scale
        paler = min(1, radius / 0.6) ** 2  # what is smaller than a pixel
        cover = (max(0.6, radius) + 0.5 - np.hypot(along, beside)).clip(0, 1) * (0.4 + 0.6 * opacity) * paler
        kind = int(tone < 2 / 3)
        covers[kind] = np.maximum(covers[kind], cover)
    expected = image.numpy() + covers[1] * (0.95 - image.numpy())
    expected = expected + covers[0] * (0.08 - expected)
    np.testing.assert_allclose(dust(image, 0.4, seeded(4)).numpy(), expected, atol=1e-5)


def test_two_thirds_of_the_dust_is_bright():
    moved = torch.stack([dust(plain(0.5, 256, 256), 1.0, seeded(seed))[0] - 0.5 for seed in range(20)])
    bright, dark = (moved > 0.1).sum().item(), (moved < -0.1).sum().item()
    assert bright / (bright + dark) == pytest.approx(2 / 3, abs=0.06)


def test_scratches_are_thin_and_bright():
    for seed in range(4):
        moved = scratches(plain(0.2, 512, 512), 1.0, seeded(seed)) - 0.2
        assert moved.min() > -1e-6 and moved.max() > 0.2
        seen = moved[0].numpy() > 1 / 255
        assert scipy.ndimage.binary_erosion(seen, np.ones((4, 4))).sum() < 0.02 * seen.sum(), "wider than 3 px"


def test_a_crease_is_a_white_line_between_shadow_and_light_across_the_print():
    for seed in range(6):
        creased = creases(plain(0.5, 256, 320), 1.0, seeded(seed))[0].numpy()
        assert creased.max() > 0.68 and creased.min() < 0.42
        seen = abs(creased - 0.5) > 0.05
        assert sum(edge.any() for edge in (seen[0], seen[-1], seen[:, 0], seen[:, -1])) >= 2


def test_stains_are_brown_and_few():
    for seed in range(8):
        red, green, blue = 1 - stains(plain(1.0, 128, 128), 1.0, seeded(seed))
        assert (red >= 0).all() and (green >= red).all() and (blue >= green).all()
        assert blue.max() > 0.05 or not (blue > 0).any()


def test_a_stain_is_darker_at_its_rim_than_in_its_middle():
    for seed in range(6):
        darkness = change(stains, plain(1.0, 256, 256), seed, strength=0.4)  # one stain at most
        inside = scipy.ndimage.distance_transform_edt(np.pad(darkness > 0.3 * darkness.max(), 1, mode="edge"))[
            1:-1, 1:-1
        ]
        if inside.max() > 12:
            assert darkness.max() > 1.05 * np.median(darkness[inside > 0.6 * inside.max()])


# ---- all of them


def test_age_is_every_effect_in_turn_with_strengths_of_its_own():
    batch, generator = noise(2, 3, 60, 80), seeded(11)
    order = {"blur": blur, "cast": cast, "fade": fade, "grain": grain, "stains": stains}
    order |= {"scratches": scratches, "creases": creases, "dust": dust}
    assert list(EFFECTS) == list(order)
    expected = []
    for image in batch:
        for name, effect in order.items():
            image = effect(image, 0.8 * drawn(generator, *EFFECTS[name][1:]), generator)
        expected.append(image)
    assert torch.equal(age(batch, 0.8, seeded(11)), torch.stack(expected))


def test_age_draws_each_strength_uniformly_from_its_range(monkeypatch):
    drawn_for = {name: [] for name in EFFECTS}
    for name, (_, low, high) in list(EFFECTS.items()):

        def record(image, strength, generator, name=name):
            drawn_for[name].append(strength)
            return image

        monkeypatch.setitem(ageing.EFFECTS, name, (record, low, high))
    age(noise(300, 3, 2, 2), 0.5, seeded())
    for name, (_, low, high) in EFFECTS.items():
        spread = scipy.stats.uniform(0.5 * low, 0.5 * (high - low))
        assert scipy.stats.kstest(drawn_for[name], spread.cdf).pvalue > 1e-3
