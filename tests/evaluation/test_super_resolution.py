"""Metrics of enlarged images against scikit-image."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restoration_lib.data.datasets import Images, Pair, degraded_pairs
from restoration_lib.data.files import to_tensor, to_uint8
from restoration_lib.degradations import downscale, upscale
from restoration_lib.evaluation import super_resolution
from restoration_lib.evaluation.baselines import BICUBIC
from restoration_lib.evaluation.lpips import lpips
from restoration_lib.evaluation.measure import measure, restored, validator
from restoration_lib.methods.srgan import SRGAN

LOSSES = {"content": 1.0, "adversarial": 1e-3}


def smooth(height=48, width=64, seed=0):
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bilinear")[0]


@pytest.fixture
def images():
    found = Images()
    for k in range(3):
        found.add(f"{k}.png", Image.fromarray(to_uint8(smooth(49, 66, k))))
    return found


def test_the_luma_is_studio_range_and_loses_the_border():
    black, white = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8)
    assert set(super_resolution.y_channel(black, 2).ravel()) == {16}
    assert set(super_resolution.y_channel(white, 2).ravel()) == {235}
    framed = np.where(np.pad(np.ones((16, 16, 1), bool), ((2, 2), (2, 2), (0, 0))), white, black)
    assert super_resolution.y_channel(framed, 2).shape == (16, 16)
    assert set(super_resolution.y_channel(framed, 2).ravel()) == {235}


def test_metrics_are_scikit_images():
    one = to_uint8(smooth())
    other = np.roll(one, 1, 1)
    y, shifted = (super_resolution.y_channel(image, 4) for image in (one, other))
    pair = Pair("one", to_tensor(one)[None], to_tensor(one)[None])
    found = super_resolution.score(4, "psnr_y", "ssim_y", "psnr", "ssim")(pair, to_tensor(other)[None])
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert found == {
        "psnr_y": pytest.approx(peak_signal_noise_ratio(y, shifted)),
        "ssim_y": pytest.approx(structural_similarity(y, shifted, **options)),
        "psnr": pytest.approx(peak_signal_noise_ratio(one, other)),
        "ssim": pytest.approx(structural_similarity(one, other, channel_axis=2, **options)),
    }


@pytest.mark.slow
def test_a_score_without_names_has_all_even_of_the_smallest_image():
    side = super_resolution.SMALLEST
    target = smooth(side, side)[None]
    found = super_resolution.score(4)(Pair("one", target, target), target.roll(1, 3))
    assert tuple(found) == super_resolution.NAMES == ("psnr_y", "ssim_y", "psnr", "ssim", "lpips")
    assert found["lpips"] == lpips(*(to_uint8(image)[0] for image in (target, target.roll(1, 3)))) > 0
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.slow
def test_rows_of_a_method_and_of_bicubic_beside_it(images):
    method = SRGAN(pretraining_steps=1, adversarial_steps=0, features=4, blocks=1, residual=True, losses=LOSSES)
    for parameter in method.networks["generator"].last.parameters():
        torch.nn.init.zeros_(parameter)  # what is left is the enlargement that the network adds to
    pairs = degraded_pairs(images, partial(downscale, scale=4), multiple=4)
    restorers = {"restored": partial(restored, method), BICUBIC: lambda pair: upscale(pair.input, 4)}
    rows = measure(restorers, pairs, super_resolution.score(4))
    assert list(rows["method"]) == ["restored", "bicubic"] * 3
    assert set(rows) == {"image", "method", "psnr_y", "ssim_y", "psnr", "ssim", "lpips"}
    means = rows.groupby("method")["psnr_y"].mean()
    assert means["restored"] == pytest.approx(means["bicubic"], abs=0.3)
    assert set(validator(pairs, super_resolution.score(4, "psnr_y", "lpips"))(method)) == {"psnr_y", "lpips"}
