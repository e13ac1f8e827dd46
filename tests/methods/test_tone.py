"""The tone restorer: its loss against scikit-image's PSNR, what it learns, the running mean."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from restoration_lib.methods.tone import ToneRestorer
from restoration_lib.networks import tone


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def without_dropout(monkeypatch):
    monkeypatch.setattr(tone, "DROPOUT", 0.0)


def restorer(**changes):
    return ToneRestorer(**({"steps": 60} | changes))


def batch(count=3, side=40):
    """Images and faded ones of low contrast and a cast."""
    target = torch.rand(count, 3, side, side)
    return {"input": 0.3 + 0.5 * target * torch.tensor([1.0, 0.9, 0.6]).view(3, 1, 1), "target": target}


def test_the_loss_is_the_mean_psnr_of_the_images():
    method, given = restorer().train(), batch()
    with torch.no_grad():
        made = method.networks["generator"](given["input"])
    psnr = [
        peak_signal_noise_ratio(target.numpy(), image.numpy(), data_range=1)
        for target, image in zip(given["target"], made, strict=True)
    ]
    loss = method.step(given)["generator"].item()
    assert -10 / math.log(10) * loss == pytest.approx(sum(psnr) / len(psnr), abs=0.02)


@pytest.mark.slow
def test_it_learns_to_undo_a_cast():
    method, given = restorer(learning_rate=1e-2, ema_decay=0.5).train(), batch()
    for _ in range(60):
        method.train().step(given)
    error = (method.restore(given["input"]) - given["target"]).abs().mean()
    assert error < (given["input"] - given["target"]).abs().mean() / 5


def test_what_restores_is_the_running_mean():
    method, given = restorer(ema_decay=1.0).train(), batch()
    before = method.restore(given["input"])
    method.train()
    for _ in range(3):
        method.step(given)
    now = method.networks["generator"].eval()(given["input"]).clamp(0, 1)
    assert not torch.allclose(method.restore(given["input"]), now, atol=1e-4)
    assert before.shape == given["input"].shape and 0 <= before.min() <= before.max() <= 1


def test_tiles_by_the_tones_of_the_whole_image_are_the_image():
    method, image = restorer(), torch.rand(1, 3, 70, 50)
    network = method.networks["average"].module.eval()
    with torch.no_grad():
        tones = network.measure(image)
        tiles = torch.cat([network.adjust(tile, tones) for tile in image.split(33, dim=2)], 2).clamp(0, 1)
    torch.testing.assert_close(tiles, method.restore(image))


@pytest.mark.parametrize("changes", [{"steps": 0}, {"ema_decay": 2.0}], ids=str)
def test_an_argument_out_of_its_range_is_refused_by_name(changes):
    with pytest.raises(ValueError, match=rf"\A{next(iter(changes))}: "):
        restorer(**changes)
