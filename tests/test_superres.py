"""Super-resolution: bicubic against Pillow and the literature, figures against scikit-image, LPIPS against a loop."""

import os
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restoration_lib import data, images, metrics, splits, superres
from restoration_lib.degradations import downscale, upscale
from restoration_lib.images import ImageError, to_uint8
from restoration_lib.lpips import distance, lpips
from restoration_lib.methods.srgan import SRGAN
from restoration_lib.samples import pip_download
from restoration_lib.weights import vgg16


def picture(height=48, width=64, seed=0):
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bilinear")[0]


def pillow(channels, height, width):
    resized = [Image.fromarray(c.numpy()).resize((width, height), Image.Resampling.BICUBIC) for c in channels]
    return torch.from_numpy(np.stack([np.asarray(channel) for channel in resized]))


# ---- bicubic


@pytest.mark.parametrize("scale", [2, 4])
def test_downscale_is_pillows_away_from_the_border_and_has_8_bits(scale):
    """The border differs: MATLAB mirrors the picture, Pillow leaves out what is not there."""
    whole = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0))
    small, expected = downscale(whole, scale), pillow(whole, 48 // scale, 64 // scale)
    inner = (..., slice(2, -2), slice(2, -2))
    assert (small - expected)[inner].abs().max() <= 0.5 / 255 + 1e-5
    assert torch.equal(small, (255 * small).round() / 255)


@pytest.mark.parametrize("scale", [2, 4])
def test_upscale_is_pillows_away_from_the_border(scale):
    small = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    expected = pillow(small, 12 * scale, 16 * scale).clamp(0, 1)
    inner = (..., slice(3 * scale, -3 * scale), slice(3 * scale, -3 * scale))
    assert (upscale(small, scale) - expected)[inner].abs().max() < 1e-5


def test_a_mirrored_picture_is_scaled_mirrored_and_a_flat_one_stays_flat():
    whole = picture()
    assert torch.allclose(downscale(whole.flip(2), 4), downscale(whole, 4).flip(2))
    assert torch.allclose(downscale(torch.full((3, 8, 8), 0.4), 2), torch.full((3, 4, 4), 0.4))


@pytest.mark.parametrize("scale", [2, 4])
def test_at_the_border_it_is_as_if_the_picture_went_on_mirrored(scale):
    whole, out = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0)), 4 * scale
    mirrored = torch.cat([whole[:, :out].flip(1), whole, whole[:, -out:].flip(1)], 1)
    mirrored = torch.cat([mirrored[..., :out].flip(2), mirrored, mirrored[..., -out:].flip(2)], 2)
    assert torch.equal(downscale(whole, scale), downscale(mirrored, scale)[:, 4:-4, 4:-4])


def test_bad_scales_and_sizes_are_named():
    with pytest.raises(ValueError, match="scale: expected one of 2, 4, got 3"):
        downscale(picture(), 3)
    with pytest.raises(ValueError, match="63 x 48 px are no multiple of the scale 4"):
        downscale(picture()[..., :63], 4)
    with pytest.raises(ValueError, match="crop: expected 32 px or more and a multiple of the scale 4, got 34"):
        superres.require_crop("crop", 34, 4)
    with pytest.raises(ValueError, match=r"test_crop: .* got 28"):
        superres.require_crop("test_crop", 28, 4)


LITERATURE = [  # PSNR and SSIM of Y (SRGAN, Ledig et al. 2017, and many others), and how near ours must be
    ("set5", 4, 28.42, 0.8104, 0.05, 0.003),
    ("set5", 2, 33.66, 0.9299, 0.05, 0.003),
    ("set14", 4, 26.00, 0.7027, 0.12, 0.004),
]


@pytest.mark.parametrize(("name", "scale", "psnr", "ssim", "near", "nearly"), LITERATURE)
def test_bicubic_has_the_figures_of_the_literature(name, scale, psnr, ssim, near, nearly):
    folder = Path(os.environ.get("RESTORATION_DATA", "no such folder"), name)
    if not folder.is_dir():
        pytest.skip(f"RESTORATION_DATA names no folder with {name}")
    figures = []
    for pair in superres.enlargement_pairs(data.load(images.list_images(folder)), scale):
        y, other = (superres.luma(to_uint8(p)[0], scale) for p in (pair.target, upscale(pair.input, scale)))
        figures.append((metrics.psnr(y, other), metrics.ssim(y, other)))
    found = np.mean(figures, 0)
    assert found[0] == pytest.approx(psnr, abs=near) and found[1] == pytest.approx(ssim, abs=nearly)


# ---- figures


@pytest.mark.slow
def test_luma_is_studio_range_and_its_figures_are_scikit_images():
    black, white = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8)
    assert set(superres.luma(black, 2).ravel()) == {16} and set(superres.luma(white, 2).ravel()) == {235}
    assert superres.luma(white, 2).shape == (16, 16)
    one = to_uint8(picture())
    other = np.roll(one, 1, 1)
    y, shifted = (superres.luma(p, 4) for p in (one, other))
    found = superres.figures_of(one, other, 4)
    assert found["psnr_y"] == pytest.approx(peak_signal_noise_ratio(y, shifted))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert found["ssim_y"] == pytest.approx(structural_similarity(y, shifted, **options))


@pytest.mark.slow
def test_lpips_is_0_for_equal_pictures_and_rises_with_blur():
    sharp = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    blurred = [sharp]
    for _ in range(3):
        blurred.append(F.avg_pool2d(blurred[-1], 3, 1, 1, count_include_pad=False))
    values = [lpips(to_uint8(sharp)[0], to_uint8(other)[0]) for other in blurred]
    assert values[0] == 0 and values == sorted(values) and values[1] > 0.05


@pytest.mark.slow
def test_the_heads_are_those_of_the_lpips_package(tmp_path):
    fault = pip_download(tmp_path, "lpips-0.1.4-py3-none-any.whl", "lpips==0.1.4")
    if fault:
        pytest.skip(f"lpips 0.1.4 cannot be fetched: {fault}")
    with zipfile.ZipFile(tmp_path / "lpips-0.1.4-py3-none-any.whl") as wheel:
        wheel.extract("lpips/weights/v0.1/vgg.pth", tmp_path)
    theirs = torch.load(tmp_path / "lpips/weights/v0.1/vgg.pth", "cpu", weights_only=True)
    ours = vgg16()
    for k in range(5):
        assert torch.equal(ours[f"head{k}"], theirs[f"lin{k}.model.1.weight"].flatten())


def test_distance_is_that_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    maps, others = ([torch.rand(1, c, 3, 2, generator=generator) for c in (4, 5)] for _ in range(2))
    heads = [torch.rand(c, generator=generator) for c in (4, 5)]
    expected = 0.0
    for one, other, head in zip(maps, others, heads, strict=True):
        for y in range(3):
            for x in range(2):
                a, b = one[0, :, y, x], other[0, :, y, x]
                expected += float(((a / a.norm() - b / b.norm()) ** 2 * head).sum()) / 6
    assert distance(maps, others, heads).item() == pytest.approx(expected, rel=1e-5)


# ---- data


@pytest.fixture
def pictures():
    found = data.Pictures()
    for k in range(3):
        found.add(f"{k}.png", Image.fromarray(to_uint8(picture(49, 66, k))))
    return found


def test_pairs_are_cut_to_a_multiple_of_the_scale(pictures):
    [pair, *_] = superres.enlargement_pairs(pictures, 4)
    assert pair.target.shape == (1, 3, 48, 64) and pair.input.shape == (1, 3, 12, 16)
    assert torch.equal(pair.input, downscale(pair.target, 4))
    assert superres.enlargement_pairs(pictures, 2, 32)[0].target.shape == (1, 3, 32, 32)


def test_batches_are_turned_mirrored_and_repeatable():
    pictures = data.Pictures()
    pictures.add("square.png", Image.fromarray(to_uint8(picture(32, 32))))
    batches, again = (
        superres.TurnedBatches(pictures, partial(downscale, scale=4), 32, 2, 40, seed=0) for _ in range(2)
    )
    assert torch.equal(batches[7]["target"], again[7]["target"])
    assert torch.equal(batches[7]["input"], downscale(batches[7]["target"], 4))
    views = [view.rot90(turns, (1, 2)) for view in (pictures[0], pictures[0].flip(2)) for turns in range(4)]
    crops = [crop for step in range(40) for crop in batches[step]["target"]]
    seen = [[torch.equal(crop, view) for view in views].index(True) for crop in crops]
    assert set(seen) == set(range(8))


def test_a_picture_smaller_than_the_crop_is_named(pictures):
    with pytest.raises(ImageError, match=r"0.png: 66 x 49 px is smaller than the 64 px needed"):
        superres.TurnedBatches(pictures, lambda p, generator: p, 64, 2, 4, seed=0)


def test_test_sets_are_the_subfolders(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        Image.fromarray(to_uint8(picture())).convert("L").save(tmp_path / name / "grey.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "b" / "small.png")
    (tmp_path / ".hidden").mkdir()
    found, skipped = superres.test_sets(str(tmp_path), 4)
    assert skipped == ["b/small.png: 20 x 20 px is smaller than the 32 px needed"]
    assert list(found) == ["a", "b"] and found["a"][0].target.shape == (1, 3, 48, 64)
    assert superres.test_sets("", 4) == ({}, [])
    with pytest.raises(ImageError, match="no test sets; give a folder with a subfolder for each"):
        superres.test_sets(str(tmp_path / "a"), 4)
    with pytest.raises(ImageError, match="b: the data set's own test pictures have this name"):
        superres.test_sets(str(tmp_path), 4, "b")


@pytest.mark.slow
def test_measure_has_a_row_for_the_method_and_for_bicubic(pictures):
    method = SRGAN(1, 0, features=4, blocks=1, residual=True)
    for parameter in method.networks["generator"].last.parameters():
        torch.nn.init.zeros_(parameter)  # what is left is the enlargement that the network adds to
    rows = superres.measure(method, superres.enlargement_pairs(pictures, 4), 4)
    assert list(rows["method"]) == ["restored", "bicubic"] * 3
    assert set(rows) == {"picture", "method", "psnr_y", "ssim_y", "psnr", "ssim", "lpips"}
    means = rows.groupby("method")["psnr_y"].mean()
    assert means["restored"] == pytest.approx(means["bicubic"], abs=0.3)
    pairs = superres.enlargement_pairs(pictures, 4)
    assert set(superres.validator(pairs, 4)(method)) == {"psnr_y", "lpips"}


def test_coco_and_least(tmp_path):
    for folder, count in (("train2017", 3), ("val2017", 4)):
        (tmp_path / folder).mkdir()
        for k in range(count):
            side = 20 if k == 0 else 40
            Image.new("RGB", (50, side)).save(tmp_path / folder / f"{k:012}.jpg")
    split = splits.split_paths(tmp_path)
    assert [len(split[part]) for part in splits.SPLITS] == [3, 2, 2]
    loaded = data.load(split["train"], limit=1, least=32)
    assert loaded.names == ["000000000001.jpg"]
    assert loaded.skipped == ["000000000000.jpg: 50 x 20 px is smaller than the 32 px needed"]
    with pytest.raises(
        ImageError, match=r"none of the 3 pictures .* the last: 000000000002.jpg: 50 x 40 px is smaller"
    ):
        data.load(split["train"], least=64)
