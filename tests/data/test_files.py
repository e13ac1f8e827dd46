"""Image files against Pillow and numpy: the kinds of file a photograph comes in, and how they fail."""

import os
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from restoration_lib.data.files import (
    SUFFIXES,
    ImageError,
    list_images,
    open_rgb,
    read_overlay_mask,
    to_tensor,
    to_uint8,
    write_image,
)


@pytest.fixture
def pixels():
    """A smooth uint8 image (24, 32, 3), so that JPEG keeps it nearly as it is."""
    rows, columns = np.mgrid[0:24, 0:32]
    return np.stack([rows * 10, columns * 7, rows * 4 + columns * 3], axis=2).astype(np.uint8)


def read_levels(path):
    """What `open_rgb` makes of a file, as levels 0 to 255 in (H, W, 3)."""
    image = to_tensor(open_rgb(path))
    assert image.dtype == torch.float32
    assert image.ndim == 3
    assert image.shape[0] == 3
    return image.permute(1, 2, 0).numpy() * 255


def test_read_gives_the_pixels_of_the_file(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_levels(tmp_path / "a.png"), pixels, atol=1e-4)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (3, lambda stored: stored[::-1, ::-1]),
        (6, lambda stored: np.rot90(stored, -1)),  # the camera's top is on the right: turn clockwise
        (8, lambda stored: np.rot90(stored, 1)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, pixels, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_allclose(read_levels(tmp_path / "a.png"), upright(pixels), atol=1e-4)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_cut_off(tmp_path, kind):
    stored = np.array([[0, 257, 1000], [32768, 65534, 65535]], dtype=np.uint16)
    path = tmp_path / f"a.{kind}"
    Image.fromarray(stored).save(path)
    expected = np.repeat((stored / 65535 * 255)[..., None], 3, axis=2)
    np.testing.assert_allclose(read_levels(path), expected, atol=0.5 + 1e-4)


def test_grey_in_32_bit_integers_is_read_as_16_bit(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.int32)).save(tmp_path / "a.tif")
    np.testing.assert_allclose(read_levels(tmp_path / "a.tif")[0, :, 1], [0, 128, 255], atol=0.5)


def test_grey_and_black_and_white(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_allclose(read_levels(tmp_path / "grey.png"), np.stack([grey] * 3, axis=2), atol=1e-4)
    Image.fromarray(grey > 100).save(tmp_path / "bits.png")
    np.testing.assert_allclose(read_levels(tmp_path / "bits.png")[..., 2], (grey > 100) * 255)


def test_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), "P")
    colours = np.array([[10, 20, 30], [200, 100, 0], [0, 255, 7]])
    image.putpalette(colours.flatten().tolist())
    image.save(tmp_path / "a.png")
    np.testing.assert_allclose(read_levels(tmp_path / "a.png"), colours[[[0, 1], [2, 1]]], atol=1e-4)


def test_cmyk(tmp_path):
    inks = np.zeros((16, 16, 4), dtype=np.uint8)
    inks[..., 0] = 255  # full cyan: no red light, all green and blue
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.jpg", quality=100)
    np.testing.assert_allclose(read_levels(tmp_path / "a.jpg")[8, 8], [0, 255, 255], atol=3)


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 128]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    share = rgba[..., 3:] / 255
    expected = rgba[..., :3] * share + 255 * (1 - share)
    np.testing.assert_allclose(read_levels(tmp_path / "a.png"), expected, atol=1)


def test_a_transparent_palette_colour_is_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_allclose(read_levels(tmp_path / "a.png"), [[[255] * 3, [200, 100, 0]]], atol=1e-4)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_16_bit_grey_whose_zero_is_white_is_no_negative(tmp_path, compression):
    stored = np.array([[0, 257, 1000], [32768, 65534, 65535]], dtype=np.uint16)
    min_is_white = {TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 0}
    Image.fromarray(stored).save(tmp_path / "a.tif", tiffinfo=min_is_white, compression=compression)
    expected = np.repeat(((65535 - stored) / 65535 * 255)[..., None], 3, axis=2)
    np.testing.assert_allclose(read_levels(tmp_path / "a.tif"), expected, atol=0.5 + 1e-4)


def test_the_transparent_grey_of_a_16_bit_png_is_white(tmp_path):
    stored = np.array([[0, 1000, 1001, 65535]], dtype=np.uint16)
    Image.fromarray(stored).save(tmp_path / "a.png", transparency=1000)
    np.testing.assert_allclose(read_levels(tmp_path / "a.png")[0, :, 1], [0, 255, 4, 255], atol=1e-4)
    np.testing.assert_array_equal(read_overlay_mask(tmp_path / "a.png").numpy(), [[255, 0, 255, 255]])


def write_truncated_jpeg(path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def write_truncated_png(path):
    Image.new("RGB", (300, 300), "red").save(path)
    path.write_bytes(path.read_bytes()[:60])


def write_float_tiff(path):
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(path)


def write_enormous_png(path):
    """Its header claims 60000 x 60000 px."""
    Image.new("L", (4, 4)).save(path)
    data = path.read_bytes()
    header = b"IHDR" + (60000).to_bytes(4, "big") * 2 + data[24:29]
    path.write_bytes(data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:])


def write_tall_tiff(path):
    """Its header claims 2 x 40,000,000 px, of which it has four: Pillow alone makes up the others."""
    Image.new("L", (2, 2)).save(path)
    height = struct.pack("<HHLL", TiffImagePlugin.IMAGELENGTH, 4, 1, 2)
    assert height in path.read_bytes()
    path.write_bytes(
        path.read_bytes().replace(height, struct.pack("<HHLL", TiffImagePlugin.IMAGELENGTH, 4, 1, 4 * 10**7))
    )


def test_a_large_image_of_one_colour_is_read(tmp_path):
    Image.new("RGB", (5000, 4000), "red").save(tmp_path / "a.png")
    assert open_rgb(tmp_path / "a.png").size == (5000, 4000)


@pytest.mark.parametrize("fault", [AssertionError("no"), RecursionError(), MemoryError(), SyntaxError("broken PNG")])
def test_whatever_pillow_raises_is_an_image_error(tmp_path, monkeypatch, fault):
    def fail(image):
        raise fault

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "has_transparency_data", property(fail))
    for read in (open_rgb, read_overlay_mask):
        with pytest.raises(ImageError, match=re.escape(str(tmp_path / "a.png"))):
            read(tmp_path / "a.png")


def test_a_lost_palette_is_no_assertion(tmp_path):
    """Pillow asserts that the palette is there when it is asked whether anything is transparent."""
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 0, 0, 255, 7])
    image.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    start = data.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    (tmp_path / "a.png").write_bytes(data[:start] + data[end:])
    for read in (open_rgb, read_overlay_mask):
        with pytest.raises(ImageError, match="cannot be read as an image"):
            read(tmp_path / "a.png")


def test_a_name_that_cannot_be_printed_is_shown_with_backslashes_on_one_line(tmp_path):
    path = tmp_path / os.fsdecode(b"two\nlines caf\xe9.png")
    path.write_bytes(b"no image")
    for read in (open_rgb, read_overlay_mask):
        with pytest.raises(ImageError) as caught:
            read(path)
        assert str(caught.value).startswith(rf"{tmp_path}/two\nlines caf\xe9.png: cannot be read as an image")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("short.jpg", write_truncated_jpeg),
        ("short.png", write_truncated_png),
        ("text.jpg", lambda path: path.write_text("no image\n")),
        ("empty.png", lambda path: path.write_bytes(b"")),
        ("folder.png", lambda path: path.mkdir()),
        ("absent.jpg", lambda path: None),
        ("float.tif", write_float_tiff),
        ("bomb.png", write_enormous_png),
        ("tall.tif", write_tall_tiff),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, name, write):
    write(tmp_path / name)
    for read in (open_rgb, read_overlay_mask):
        with pytest.raises(ImageError, match="cannot be read as an image") as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_open_rgb_is_loaded_and_survives_its_file(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = open_rgb(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_to_tensor_and_back_is_exact():
    levels = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    for image in (levels, Image.fromarray(levels)):
        tensor = to_tensor(image)
        assert tensor.shape == (3, 16, 16)
        assert tensor.is_contiguous()
        np.testing.assert_array_equal(tensor.numpy(), levels.transpose(2, 0, 1).astype(np.float32) / 255)
        np.testing.assert_array_equal(to_uint8(tensor), levels)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)])
def test_to_tensor_refuses_other_arrays(wrong):
    with pytest.raises(ValueError, match="uint8 array"):
        to_tensor(wrong)


def test_to_uint8_clamps_and_rounds_to_nearest():
    values = torch.tensor([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 7.0])
    levels = to_uint8(values.expand(3, 1, 7))
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels[0, :, 0], [0, 0, 0, 1, 254, 255, 255])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_to_uint8_takes_batches_of_any_float_type(dtype):
    batch = torch.zeros(2, 3, 4, 5, dtype=dtype, requires_grad=True) + 0.5
    levels = to_uint8(batch)
    assert levels.shape == (2, 4, 5, 3)
    assert set(levels.flatten()) == {128}


@pytest.mark.parametrize("wrong", [torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(1, 4, 4), torch.zeros(4, 4)])
def test_to_uint8_refuses_other_tensors(wrong):
    with pytest.raises(ValueError, match="float tensor"):
        to_uint8(wrong)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path, pixels, suffix):
    path = tmp_path / "new" / "folder" / f"a{suffix.upper()}"
    write_image(torch.from_numpy(pixels).permute(2, 0, 1) / 255, path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    tolerance = 6 if suffix in (".jpg", ".jpeg", ".webp") else 0
    with Image.open(path) as stored:
        np.testing.assert_allclose(np.asarray(stored).astype(int), pixels.astype(int), atol=tolerance)
    np.testing.assert_allclose(read_levels(path), pixels, atol=tolerance + 1e-4)


@pytest.mark.parametrize("name", ["a.gif", "a"])
def test_an_unknown_suffix_is_named_before_anything_is_written(tmp_path, name):
    with pytest.raises(ImageError, match=name) as caught:
        write_image(torch.zeros(3, 4, 4), tmp_path / "new" / name)
    assert ".png" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def save_half(image, path, *args, **options):
    path.write_bytes(b"half an image")
    raise OSError("disk full")


def refuse(*args):
    raise PermissionError("not allowed")


@pytest.mark.parametrize(("owner", "name", "failure"), [(Image.Image, "save", save_half), (os, "replace", refuse)])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, owner, name, failure):
    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(owner, name, failure)
    with pytest.raises(OSError, match=r"disk full|not allowed"):
        write_image(torch.zeros(3, 4, 4), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_list_images_is_recursive_sorted_and_skips_what_is_hidden(tmp_path):
    for name in [
        "b.JPG",
        "a/z.png",
        "a.webp",
        "c/d/e.tiff",
        "note.txt",
        ".hidden.png",
        ".cache/f.png",
        "a/.g/h.bmp",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = list_images(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "a.webp",
        "a/z.png",
        "b.JPG",
        "c/d/e.tiff",
    ]


def test_list_images_works_below_a_hidden_folder(tmp_path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.png").touch()
    assert list_images(tmp_path / ".cache") == [tmp_path / ".cache" / "a.png"]


def test_linked_folders_are_searched_each_real_one_once(tmp_path):
    for name in ("own/b/in.png", "other/more/deep.png", "other/out.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    links = {"a": "b", "c": "../other", "d": "../other", "e": "../other/more", "other-b": "b", "up": "..", "self": "."}
    links |= {".hidden": "../other", "b/back": ".."}
    for name, target in links.items():
        (tmp_path / "own" / name).symlink_to(target)
    found = [path.relative_to(tmp_path / "own").as_posix() for path in list_images(tmp_path / "own")]
    assert found == ["b/in.png", "c/more/deep.png", "c/out.png"], "a folder's own path is before a link's"
    (tmp_path / "link").symlink_to("own")
    assert list_images(tmp_path / "link")[0] == tmp_path / "link" / "b" / "in.png"


def test_links_that_lead_nowhere_are_listed_and_told_by_who_opens_them(tmp_path):
    (tmp_path / "a.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "to a pipe.png").symlink_to("pipe.png")  # to open it would wait for ever
    for name, target in {"b.png": "gone.png", "c.png": "c.png", "folder": "/gone/folder", ".lock": "nobody"}.items():
        (tmp_path / name).symlink_to(target)
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.png", "c.png", "folder"]
    for name, reason in {"b.png": "No such file", "c.png": "Too many levels of symbolic links"}.items():
        with pytest.raises(ImageError, match=rf"{name}: cannot be read as an image \({reason}"):
            open_rgb(tmp_path / name)


def test_the_home_of_nobody_is_a_folder_that_does_not_exist():
    with pytest.raises(ImageError, match="~nosuchuser/x: does not exist"):
        list_images("~nosuchuser/x")


@pytest.mark.parametrize(
    ("name", "fault"), [("absent", "does not exist"), ("file.png", "not a folder"), ("empty", "no images")]
)
def test_list_images_names_the_folder_and_the_suffixes(tmp_path, name, fault):
    (tmp_path / "file.png").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=fault) as caught:
        list_images(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert ", ".join(SUFFIXES) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_overlay_mask_is_the_alpha_or_the_luminance(tmp_path):
    alpha = np.arange(40, dtype=np.uint8).reshape(5, 8)
    Image.fromarray(np.dstack([np.full((5, 8, 3), 255, np.uint8), alpha])).save(tmp_path / "alpha.png")
    found = read_overlay_mask(tmp_path / "alpha.png")
    assert found.dtype == torch.uint8 and np.array_equal(found.numpy(), alpha)
    opaque = np.dstack([np.dstack([alpha] * 3), np.full((5, 8), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    Image.fromarray(alpha).save(tmp_path / "grey.png")
    Image.fromarray(255 - alpha).save(tmp_path / "dark.png")
    for name in ("opaque", "grey", "dark"):
        assert np.array_equal(read_overlay_mask(tmp_path / f"{name}.png").numpy(), alpha), name


def test_an_overlay_mask_is_the_way_up_that_exif_says(tmp_path):
    alpha = np.arange(40, dtype=np.uint8).reshape(5, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera's top is on the right: turn clockwise
    Image.fromarray(np.dstack([np.full((5, 8, 3), 255, np.uint8), alpha])).save(tmp_path / "alpha.png", exif=exif)
    Image.fromarray(alpha).save(tmp_path / "grey.png", exif=exif)
    for name in ("alpha.png", "grey.png"):
        assert np.array_equal(read_overlay_mask(tmp_path / name).numpy(), np.rot90(alpha, -1)), name
