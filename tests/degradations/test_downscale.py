"""Bicubic interpolation against Pillow and against the values of the literature."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restoration_lib.data.datasets import degraded_pairs, load
from restoration_lib.data.files import list_images, to_uint8
from restoration_lib.degradations.downscale import downscale, upscale
from restoration_lib.evaluation.metrics import psnr, ssim
from restoration_lib.evaluation.super_resolution import y_channel


def noise(height=48, width=64):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))


def pillow(channels, height, width):
    resized = [Image.fromarray(c.numpy()).resize((width, height), Image.Resampling.BICUBIC) for c in channels]
    return torch.from_numpy(np.stack([np.asarray(channel) for channel in resized]))


@pytest.mark.parametrize("scale", [2, 4])
def test_downscale_is_pillows_away_from_the_border_and_has_8_bits(scale):
    """The border differs: MATLAB mirrors the image, Pillow leaves out what is not there."""
    whole = noise()
    small, expected = downscale(whole, scale), pillow(whole, 48 // scale, 64 // scale)
    inner = (..., slice(2, -2), slice(2, -2))
    assert (small - expected)[inner].abs().max() <= 0.5 / 255 + 1e-5
    assert torch.equal(small, (255 * small).round() / 255)


@pytest.mark.parametrize("scale", [2, 4])
def test_upscale_is_pillows_away_from_the_border(scale):
    small = noise(12, 16)
    expected = pillow(small, 12 * scale, 16 * scale).clamp(0, 1)
    inner = (..., slice(3 * scale, -3 * scale), slice(3 * scale, -3 * scale))
    assert (upscale(small, scale) - expected)[inner].abs().max() < 1e-5


def test_a_mirrored_image_is_scaled_mirrored_and_a_flat_one_stays_flat():
    whole = noise()
    assert torch.allclose(downscale(whole.flip(2), 4), downscale(whole, 4).flip(2))
    assert torch.allclose(downscale(torch.full((3, 8, 8), 0.4), 2), torch.full((3, 4, 4), 0.4))


@pytest.mark.parametrize("scale", [2, 4])
def test_at_the_border_it_is_as_if_the_image_went_on_mirrored(scale):
    whole, out = noise(24, 32), 4 * scale
    mirrored = torch.cat([whole[:, :out].flip(1), whole, whole[:, -out:].flip(1)], 1)
    mirrored = torch.cat([mirrored[..., :out].flip(2), mirrored, mirrored[..., -out:].flip(2)], 2)
    assert torch.equal(downscale(whole, scale), downscale(mirrored, scale)[:, 4:-4, 4:-4])


@pytest.mark.parametrize("resize", [downscale, upscale])
def test_a_batch_is_its_images_one_by_one_and_the_input_is_not_touched(resize):
    batch = torch.stack([noise(8, 12), noise(8, 12).flip(1)])
    before = batch.clone()
    assert torch.equal(resize(batch, 4), torch.stack([resize(image, 4) for image in batch]))
    assert torch.equal(batch, before)


@pytest.mark.parametrize("resize", [downscale, upscale])
def test_another_scale_is_named(resize):
    with pytest.raises(ValueError, match=r"\Ascale: expected one of 2, 4, got 3\Z"):
        resize(noise(), 3)


@pytest.mark.parametrize(("height", "width"), [(48, 63), (47, 64)])
def test_sides_that_the_scale_does_not_divide_are_named(height, width):
    with pytest.raises(ValueError, match=f"{width} x {height} px are no multiple of the scale 4"):
        downscale(noise(height, width), 4)


LITERATURE = [  # PSNR and SSIM of Y (SRGAN, Ledig et al. 2017, and many others), and how near ours must be
    ("set5", 4, 28.42, 0.8104, 0.05, 0.003),
    ("set5", 2, 33.66, 0.9299, 0.05, 0.003),
    ("set14", 4, 26.00, 0.7027, 0.12, 0.004),
]


@pytest.mark.parametrize(("name", "scale", "expected_psnr", "expected_ssim", "near", "nearly"), LITERATURE)
def test_bicubic_has_the_metrics_of_the_literature(name, scale, expected_psnr, expected_ssim, near, nearly):
    folder = Path(os.environ.get("RESTORATION_DATA", "no such folder"), name)
    if not folder.is_dir():
        pytest.skip(f"RESTORATION_DATA names no folder with {name}")
    metrics = []
    for pair in degraded_pairs(load(list_images(folder)), partial(downscale, scale=scale), multiple=scale):
        y, other = (y_channel(to_uint8(p)[0], scale) for p in (pair.target, upscale(pair.input, scale)))
        metrics.append((psnr(y, other), ssim(y, other)))
    found = np.mean(metrics, 0)
    assert found[0] == pytest.approx(expected_psnr, abs=near) and found[1] == pytest.approx(expected_ssim, abs=nearly)
