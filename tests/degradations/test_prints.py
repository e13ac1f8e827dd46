"""Scanned prints: draws replayed by hand, scipy and Pillow against the effects; what their words promise."""

import io

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from restoration_lib.data.files import to_tensor, to_uint8
from restoration_lib.degradations.prints import fold, grain, jpeg, margin, soften


def soften_one(image, generator=None):
    return soften([image], generator)[0]


EFFECTS = {"fold": fold, "margin": margin, "soften": soften_one, "grain": grain, "jpeg": jpeg}
each = pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, dtype=torch.float32):
    return torch.rand(shape, generator=seeded(99), dtype=dtype)


def plain(level, *size):
    return torch.full((3, *size), level)


def drawn(generator, low, high):
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


# ---- what holds for every effect


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 33, 47), (3, 9, 5), (3, 1, 20), (3, 20, 1)])
@pytest.mark.filterwarnings("error")
def test_shape_type_and_range_stay_and_the_input_is_not_touched(effect, shape, dtype):
    for image in (noise(*shape, dtype=dtype), torch.zeros(shape, dtype=dtype), torch.ones(shape, dtype=dtype)):
        before = image.clone()
        for seed in range(4):
            made = effect(image, seeded(seed))
            assert (made.shape, made.dtype) == (image.shape, dtype)
            rounding = 1e-6 if effect is soften_one else 0
            assert ((made >= 0) & (made <= 1 + rounding)).all(), "out of range, or not a number"
            assert torch.equal(image, before), "the input was changed"


@each
def test_the_generator_state_alone_decides_and_the_global_one_is_left_alone(effect):
    image, generator = noise(3, 40, 56), seeded()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = (effect(image, generator) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(effect(image, seeded()), first) and not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(effect(image), first), "without a generator, torch's own is drawn from"


@each
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 3, 8, 8), r"\Aimage: expected one image \(3, H, W\), got \(2, 3, 8, 8\)\Z"),
        (torch.zeros(1, 8, 8), r"\Aimages: expected a float tensor .*\Z"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"\Aimages: .* got torch.uint8 \(3, 8, 8\)\Z"),
    ],
    ids=["batch", "grey", "uint8"],
)
def test_what_is_no_colour_image_is_refused(effect, image, message):
    with pytest.raises(ValueError, match=message):
        effect(image)


# ---- folds


def test_a_fold_equals_one_worked_out_from_the_same_draws():
    image, dark = noise(3, 60, 90, dtype=torch.float64), 0
    for seed in range(12):
        generator = seeded(seed)
        y, x, turn = drawn(generator, 0, 60), drawn(generator, 0, 90), drawn(generator, 0, np.pi)
        frequency, phase = drawn(generator, 2, 6), drawn(generator, 0, 2 * np.pi)
        width, tone = drawn(generator, 0.8, 3), drawn(generator, 0.7, 1)
        if drawn(generator, 0, 1) < 0.3:
            tone, dark = drawn(generator, 0, 0.4), dark + 1
        shade, breaks, whole = drawn(generator, -0.2, 0.1), drawn(generator, 5, 40), drawn(generator, 0.4, 2)
        opacity = drawn(generator, 0.5, 1)
        rows, columns = np.mgrid[0:60, 0:90]
        along = ((rows - y) * np.sin(turn) + (columns - x) * np.cos(turn)) / 45
        distance = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
        distance = distance - 0.02 * 45 * np.sin(frequency * along + phase)
        expected = image.numpy() + np.where(distance > 0, shade * np.exp(-distance / 2 / width), 0)
        cover = (max(1, width) / 2 + 0.5 - abs(distance)).clip(0, 1) * min(1, width)
        cover = cover * (np.sin(breaks * along) + whole).clip(0, 1) * opacity
        expected = (1 - cover) * expected.clip(0, 1) + cover * tone
        np.testing.assert_allclose(fold(image, seeded(seed)), expected, atol=1e-9)
    assert 0 < dark < 8


def test_a_fold_is_one_connected_band_from_border_to_border_and_the_rest_stays():
    for seed in range(30):
        moved = (fold(plain(0.5, 200, 240), seeded(seed)) - 0.5).abs()
        assert (moved[0] == moved[1:]).all(), "not grey"
        changed = moved[0].numpy() > 0
        pieces = scipy.ndimage.label(changed, np.ones((3, 3)))[0]
        largest = pieces == np.bincount(pieces[changed]).argmax()
        assert changed.sum() - largest.sum() <= 2, "more than the last bit of a fading shade"
        places = np.argwhere(largest)
        axis = np.linalg.svd(places - places.mean(0), full_matrices=False)[2][0]
        for end in (places[(places @ axis).argmin()], places[(places @ axis).argmax()]):
            assert (end == 0).any() or (end == (199, 239)).any(), "ends inside the image"


def test_what_a_fold_changes_by_more_than_its_shade_is_thin_and_nearly_straight():
    lines = 0
    for seed in range(30):
        moved = (fold(plain(0.2, 200, 240), seeded(seed)) - 0.2)[0].numpy()
        places = np.argwhere(abs(moved) > 0.21)
        if len(places) < 30:  # a dark one, on a dark image
            continue
        lines += 1
        centred = places - places.mean(0)
        across = np.linalg.svd(centred, full_matrices=False)[2][1]
        swing, half_width = 0.02 * 120, 3 / 2 + 0.5
        assert abs(centred @ across).max() < 2 * swing + 2 * half_width
    assert lines > 15


# ---- margins


def sides_of(covered):
    """Widths of the strips along the four sides of an image that make up what is covered, (H, W) bool."""
    rows, columns = covered.all(1), covered.all(0)
    widths = [int(np.logical_and.accumulate(lines).sum()) for lines in (rows, rows[::-1], columns, columns[::-1])]
    top, bottom, left, right = widths
    strips = np.zeros_like(covered)
    strips[:top] = strips[strips.shape[0] - bottom :] = True
    strips[:, :left] = strips[:, strips.shape[1] - right :] = True
    np.testing.assert_array_equal(covered, strips)
    return widths


def test_a_margin_covers_one_side_or_two_adjacent_ones_with_paper_and_the_rest_stays():
    image, seen, widths = noise(3, 100, 140), set(), []
    for seed in range(120):
        made = margin(image, seeded(seed))
        covered = (made != image).any(0)
        found = sides_of(covered.numpy())
        sides = tuple(name for name, width in zip("tblr", found, strict=True) if width)
        seen.add(sides)
        widths += [width for width in found if width]
        red, green, blue = paper = made[:, covered][:, 0]
        assert (made[:, covered] == paper[:, None]).all()
        assert red == green and 0.75 <= red <= 1 and 0.85 * red - 1e-6 <= blue <= red
    assert seen == {("t",), ("b",), ("l",), ("r",), ("t", "l"), ("t", "r"), ("b", "l"), ("b", "r")}
    assert min(widths) in (3, 4) and max(widths) in (19, 20)


# ---- softness, grain, JPEG


def test_images_that_belong_together_are_softened_alike_and_as_scipy_does_it():
    images = noise(2, 3, 70, 90, dtype=torch.float64)
    for seed in range(8):
        sigma = drawn(seeded(seed), 0.3, 1.2)
        radius = int(np.ceil(3 * sigma))
        for image, soft in zip(images, soften(list(images), seeded(seed)), strict=True):
            expected = scipy.ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma), mode="mirror", radius=radius)
            np.testing.assert_allclose(soft, expected, atol=1e-9)


def test_grain_is_grey_gaussian_noise_of_the_documented_size_around_the_image():
    sizes = []
    for seed in range(20):
        moved = grain(plain(0.5, 96, 128), seeded(seed)) - 0.5
        assert (moved[0] - moved[1:]).abs().max() < 1e-6
        generator = seeded(seed)
        white, sigma = torch.randn(96, 128, generator=generator), drawn(generator, 0, 1)
        sizes.append(moved[0].std().item())
        assert sizes[-1] == pytest.approx(drawn(generator, 0, 12 / 255), rel=0.01)
        assert abs(moved.mean()) < 0.05 * sizes[-1], "the mean is not kept"
        clumped = scipy.ndimage.gaussian_filter(white.double().numpy(), sigma, mode="mirror", truncate=8)
        assert np.corrcoef(clumped.flatten(), moved[0].flatten())[0, 1] > 0.999
    assert 9 / 255 < max(sizes) < 12.1 / 255 and min(sizes) < 3 / 255


def test_jpeg_is_the_round_trip_of_pillow():
    coarse = Image.fromarray(to_uint8(noise(3, 7, 9))).resize((75, 53), Image.Resampling.BICUBIC)
    image, qualities = to_tensor(coarse), []
    for seed in range(12):
        file = io.BytesIO()
        qualities.append(round(drawn(seeded(seed), 50, 95)))
        coarse.save(file, "JPEG", quality=qualities[-1])
        assert torch.equal(jpeg(image, seeded(seed)), to_tensor(Image.open(file)))
    assert max(qualities) - min(qualities) > 20
