"""A photograph from file to file: what each model may change, and what none may."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from restoration_lib.data.files import ImageError
from restoration_lib.restore import photo, restore_photo, weights
from restoration_lib.restore.levels import images_of
from restoration_lib.restore.photograph import Photograph, read, write
from restoration_lib.restore.weights import WeightsError

ALL = ["scratches", "faded", "shuffled", "enlarge-2x", "enlarge-4x"]
SCALES = {"enlarge-2x": 2, "enlarge-4x": 4}


@pytest.fixture
def folder(tmp_path, models):
    return tmp_path


def restored(folder, photograph, models, suffix="png", **options):
    """The photograph that comes back, and the words."""
    write(photograph, folder / f"in.{suffix}")
    words = restore_photo(folder / f"in.{suffix}", folder / f"out.{suffix}", models, **options)
    return read(folder / f"out.{suffix}"), words


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_depth_channels_alpha_and_size_stay(folder, levels, name, channels, dtype, kind):
    pixels = levels[..., :channels].astype(dtype) * (257 if dtype == np.uint16 else 1)
    alpha = None if channels == 1 else pixels[..., 0]
    found, _ = restored(folder, Photograph(pixels, kind, alpha), name, "png" if kind == "PNG" else "tif")
    scale = SCALES.get(name, 1)
    assert found.pixels.dtype == dtype and found.format == kind
    assert found.pixels.shape == (61 * scale, 83 * scale, channels)
    if scale == 1:
        assert (found.pixels != pixels).any()
        assert alpha is None or np.array_equal(found.alpha, alpha)
    elif alpha is not None:
        expected = torch.nn.functional.interpolate(images_of(pixels[..., :1]), scale_factor=scale, mode="bicubic")
        assert np.abs(found.alpha / np.iinfo(dtype).max - expected[0, 0].clamp(0, 1).numpy()).max() < 1 / 255


@pytest.mark.parametrize("name", ALL)
def test_a_grey_photograph_stored_in_colour_is_never_tinted(folder, levels, name):
    found, _ = restored(folder, Photograph(np.repeat(levels[..., :1], 3, axis=2), "PNG"), name)
    assert found.pixels.shape[2] == 3 and np.ptp(found.pixels, axis=2).max() == 0
    found, _ = restored(folder, Photograph(levels, "PNG"), name)
    assert np.ptp(found.pixels, axis=2).max() > 0


def test_a_sepia_print_is_not_tinted(folder, levels):
    sepia = (levels[..., :1] * np.array([1, 0.92, 0.75])).round().astype(np.uint8)
    found, words = restored(folder, Photograph(sepia, "PNG"), "faded")
    assert np.ptp(found.pixels, axis=2).max() == 0 and "a monochrome print, in grey" in words[-1]


def test_auto_keeps_the_tone_of_a_faded_print(folder, levels, monkeypatch):
    nothing = np.zeros(levels.shape[:2], bool)
    monkeypatch.setattr(photo.Restoration, "_find", lambda self, name, share, threshold: nothing)
    printed = (levels[..., :1] / 2 + 60).astype(np.uint8)
    for tone, kept in (((1, 0.92, 0.75), True), ((1, 1, 1), False)):
        toned = (printed * np.array(tone)).round().astype(np.uint8)
        found, words = restored(folder, Photograph(toned, "PNG"), "auto")
        assert "a toned print, in its tone" in words[-1] if kept else "in grey" in words[-1]
        before, after = (pixels.astype(int) - pixels[..., 1:2] for pixels in (toned, found.pixels))
        whole = (found.pixels.min(2) > 0) & (found.pixels.max(2) < 255)  # what is cut off at black and white is not
        assert np.abs(after - before)[whole].max() <= 1 and whole.mean() > 0.1 and (found.pixels != toned).any()


def test_auto_takes_the_stains_out_of_a_grey_print_and_leaves_its_tones(folder, monkeypatch):
    stained = np.linspace(0, 255, 300, dtype=np.uint8)[:, None, None].repeat(400, 1).repeat(3, 2)
    stained[270:, 360:, 2] -= 40
    nothing = np.zeros(stained.shape[:2], bool)
    monkeypatch.setattr(photo.Restoration, "_find", lambda self, name, share, threshold: nothing)
    found, words = restored(folder, Photograph(stained, "PNG"), "auto")
    assert words[-1] == "faded: tones at strength 0, a monochrome print, in grey"
    luma = stained @ np.array([0.299, 0.587, 0.114])
    assert np.abs(found.pixels - luma[..., None]).max() <= 0.51


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pixels_outside_the_mask_are_the_inputs_bit_for_bit(folder, levels, suffix):
    kind = "PNG" if suffix == "png" else "TIFF"
    found, words = restored(folder, Photograph(levels, kind), "scratches", suffix, mask_target=folder / "m.png")
    mask = np.asarray(Image.open(folder / "m.png"))
    assert set(np.unique(mask)) == {0, 255} and mask.shape == (61, 83)
    np.testing.assert_array_equal(found.pixels[mask == 0], levels[mask == 0])
    assert (found.pixels[mask > 0] != levels[mask > 0]).any()
    assert words == [f"scratches: {100 * (mask > 0).mean():.2g} % of the pixels painted"]


def test_a_mask_given_back_and_corrected_is_all_that_changes(folder, levels):
    mask = np.zeros((61, 83), np.uint8)
    mask[10:20, 30:60] = 255
    Image.fromarray(mask).save(folder / "m.png")
    for models in ("scratches", "auto"):
        found, words = restored(folder, Photograph(levels, "PNG"), models, mask=folder / "m.png")
        if "faded" not in " ".join(words):
            np.testing.assert_array_equal(found.pixels[mask == 0], levels[mask == 0])
            assert (found.pixels[mask > 0] != levels[mask > 0]).mean() > 0.5
    assert "a mask was given" in " ".join(words)


def test_a_mask_of_another_size_or_without_use_is_refused(folder, levels):
    write(Photograph(levels[:9], "PNG"), folder / "m.png")
    with pytest.raises(ImageError, match="the mask has 83 x 9 px, and the photograph 83 x 61"):
        restored(folder, Photograph(levels, "PNG"), "scratches", mask=folder / "m.png")
    with pytest.raises(ValueError, match="mask: no use for one in shuffled"):
        restored(folder, Photograph(levels, "PNG"), "shuffled", mask=folder / "m.png")
    assert not (folder / "out.png").exists()


def test_a_higher_threshold_finds_less_and_strength_0_changes_nothing(folder, levels):
    shares = []
    for threshold in (-100, 0, 5, 100):
        restored(folder, Photograph(levels, "PNG"), "scratches", threshold=threshold, mask_target=folder / "m.png")
        shares.append((np.asarray(Image.open(folder / "m.png")) > 0).mean())
    assert shares[0] == 1 and shares[-1] == 0 and shares == sorted(shares, reverse=True)
    found, _ = restored(folder, Photograph(levels, "PNG"), "faded", strength=0.0)
    np.testing.assert_array_equal(found.pixels, levels)


def test_several_models_in_a_row_are_each_after_the_other(folder, levels):
    at_once, words = restored(folder, Photograph(levels, "PNG"), "scratches,faded,enlarge-2x")
    assert [word.partition(":")[0] for word in words] == ["scratches", "faded", "enlarge-2x"]
    one = Photograph(levels, "PNG")
    for name in ("scratches", "faded", "enlarge-2x"):
        one, _ = restored(folder, one, name)
    np.testing.assert_array_equal(at_once.pixels, one.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_the_upright_photograph_that_is_restored(folder, levels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(levels).save(folder / "in.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(folder / "in.png")))
    restore_photo(folder / "in.png", folder / "out.png", "shuffled")
    expected, _ = restored(folder, Photograph(np.ascontiguousarray(upright), "PNG"), "shuffled")
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "out.png")), expected.pixels)
    assert (Image.open(folder / "out.png").getexif().get(0x0112, 1)) == 1


def test_auto_copies_to_the_byte_what_lacks_nothing(folder, register, levels):
    quiet = weights.load("scratches")
    torch.nn.init.zeros_(quiet.finder.last.weight)
    register("scratches", quiet)
    pixels = levels.copy()
    pixels[:5], pixels[5:8] = 0, 255
    Image.fromarray(pixels).save(folder / "in.jpg", quality=50, comment=b"as it is")
    words = restore_photo(folder / "in.jpg", folder / "out" / "in.jpg")
    assert words == ["nothing found to restore, copied"]
    assert (folder / "out" / "in.jpg").read_bytes() == (folder / "in.jpg").read_bytes()


def test_auto_leaves_little_damage_and_says_so(folder, levels, monkeypatch):
    found = np.zeros(levels.shape[:2], bool)
    found[0, :6] = True
    monkeypatch.setattr(photo.Restoration, "_find", lambda self, name, share, threshold: found)
    _, words = restored(folder, Photograph(levels, "PNG"), "auto")
    assert words[0] == "0.12 % of the pixels may be damaged, too few to be sure: the model scratches would paint them"
    assert not any(word.startswith("scratches") for word in words)


def test_auto_says_what_it_does_and_why(folder, levels):
    found, words = restored(folder, Photograph(levels // 2 + 50, "PNG"), "auto")
    assert any(word.startswith("faded, for its contrast is") for word in words)
    assert any(word.startswith("faded: tones") for word in words) and (found.pixels != levels // 2 + 50).any()


def test_auto_leaves_out_what_is_not_shipped(tmp_path, register, levels):
    register("shuffled")
    _, words = restored(tmp_path, Photograph(levels // 2 + 50, "PNG"), "auto")
    assert words == ["nothing found to restore, copied"]


def test_before_and_after_side_by_side(folder, levels):
    for name in ("shuffled", "enlarge-2x"):
        found, _ = restored(folder, Photograph(levels, "PNG"), name, compare_target=folder / "c.jpg")
        height, width = found.pixels.shape[:2]
        shown = np.asarray(Image.open(folder / "c.jpg"))
        assert shown.shape == (height, 2 * width + 8, 3)
        assert np.abs(shown[:, -width:].astype(int) - found.pixels).mean() < 4
        before = np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.BILINEAR))
        assert np.abs(shown[:, :width].astype(int) - before).mean() < 4


def test_the_input_is_never_overwritten(folder, levels):
    write(Photograph(levels, "PNG"), folder / "in.png")
    (folder / "link.png").symlink_to(folder / "in.png")
    (folder / "hard.png").hardlink_to(folder / "in.png")
    before = (folder / "in.png").read_bytes()
    for target in ("in.png", "link.png", "hard.png"):
        with pytest.raises(ImageError, match="is the photograph itself"):
            restore_photo(folder / "in.png", folder / target, "shuffled")
    assert (folder / "in.png").read_bytes() == before


def test_what_would_be_too_large_is_refused_before_the_work(folder, levels, monkeypatch):
    monkeypatch.setattr(photo, "MOST_PIXELS", 61 * 83 * 10)
    restored(folder, Photograph(levels, "PNG"), "enlarge-2x")
    monkeypatch.setattr(photo, "MOST_WRITTEN", 61 * 83 * 15)
    with pytest.raises(ImageError, match=r"out\.png: would have 332 x 244 px, and 0 million are the most"):
        restored(folder, Photograph(levels, "PNG"), "enlarge-2x,enlarge-2x")
    monkeypatch.setattr(photo, "MOST_WRITTEN", 61 * 83 * 20)
    restored(folder, Photograph(levels, "PNG"), "enlarge-2x,enlarge-2x")
    for names, kind in (("enlarge-4x", "BMP"), ("enlarge-4x,shuffled", "PNG"), ("enlarge-4x,scratches", "PNG")):
        with pytest.raises(ImageError, match=r"make it smaller first, to 0\.00316 million"):
            restored(folder, Photograph(levels, kind), names)
    with pytest.raises(ImageError, match="WEBP holds no 20000 x 4 px"):
        restored(folder, Photograph(np.zeros((1, 5000, 3), np.uint8), "WEBP"), "enlarge-4x", "webp")


def test_wrong_arguments_are_named(folder, levels):
    for options, message in (
        ({"models": "scratched"}, "model: expected any of .* did you mean scratches"),
        ({"models": "shuffled", "strength": 2}, "strength: expected a number from 0 to 1, got 2"),
        ({"models": "shuffled", "device": "tpu2"}, "device: expected auto, cpu or cuda"),
    ):
        with pytest.raises(ValueError, match=message):
            restored(folder, Photograph(levels, "PNG"), **options)


def test_damaged_weights_are_one_line(folder, models, levels):
    (models / "shuffled.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="the weights of shuffled are damaged"):
        restored(folder, Photograph(levels, "PNG"), "shuffled")


@pytest.mark.parametrize("names", ["scratches", "scratches,faded,enlarge-2x"])
def test_progress_adds_up_to_the_whole(folder, levels, names):
    shares = []
    restored(folder, Photograph(levels, "PNG"), names, watch=shares.append)
    assert sum(shares) == pytest.approx(1)
