"""Tiles against the untiled network: every kind of network, sizes odd, tiny, thin; how far each sees, worked out."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.networks.fcn import ResidualFCN
from restoration_lib.networks.picker import Picker
from restoration_lib.networks.refined import Pyramid
from restoration_lib.networks.resnet import OldPhotoGenerator, ResnetGenerator
from restoration_lib.networks.srresnet import SRResNet
from restoration_lib.networks.unet import UNet
from restoration_lib.restore import tiles
from restoration_lib.restore.levels import images_of
from restoration_lib.restore.tiles import Reach, apply, reach, run, side_that_fits


class First(nn.Module):
    """Of a network that answers with a tuple, the first part."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)[0]


NETWORKS = {
    "fcn": lambda: ResidualFCN(8, 2),
    "picker": lambda: Picker(8, 2, window=5),
    "old_photo": lambda: OldPhotoGenerator(4, 1, "resize", "none", "colour"),
    "old_photo transposed": lambda: OldPhotoGenerator(4, 1, "transposed", "none", "tanh"),
    "old_photo batch": lambda: OldPhotoGenerator(4, 1, "resize", "batch", "tanh"),
    "resnet": lambda: ResnetGenerator(4, 1, "resize", "none", "tanh"),
    "srresnet 2": lambda: SRResNet(2, 4, 2, "none", True),
    "srresnet 4": lambda: SRResNet(4, 4, 1, "none", True),
    "srresnet batch": lambda: SRResNet(4, 4, 1, "batch"),
    "pyramid": lambda: Pyramid(3, 3, 4, 3),
    "unet": lambda: First(UNet(4, 3)),
    "bicubic": lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
    "pointwise": lambda: nn.Conv2d(3, 3, 1),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    """With weights of full size in each layer, so that what goes wrong anywhere shows."""
    torch.manual_seed(0)
    made = NETWORKS[request.param]().eval()
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, 0.2)
    return made


@pytest.mark.parametrize("shape", [(203, 131), (64, 300), (57, 57), (7, 5), (1, 1), (1, 400), (333, 1)])
def test_tiled_is_untiled(network, shape, monkeypatch):
    reached = reach(network)
    monkeypatch.setattr(tiles, "CPU_BYTES", reached.bytes * (2 * reached.margin + 48) ** 2)
    pixels = np.random.default_rng(0).integers(0, 65536, (*shape, 3), dtype=np.uint16)
    side = side_that_fits(network, reached)
    assert 16 < side <= 48, "there are many tiles"
    with torch.inference_mode():  # where it runs on so small an image, without any help
        try:
            untiled = network(images_of(pixels))
        except (RuntimeError, ValueError):
            untiled = run(network, reached, images_of(pixels))
    expected = untiled[0].movedim(0, 2).clamp(0, 1).numpy()
    assert 0.01 < expected.mean() < 0.99 or shape == (1, 1)
    tiled = apply(network, reached, pixels)
    assert tiled.dtype == np.uint16 and tiled.shape == expected.shape
    assert np.abs(tiled / 65535 - expected).max() < 1 / 2550


@pytest.mark.parametrize(
    ("make", "distance", "period", "scale"),
    [
        (lambda: nn.Conv2d(3, 3, 5, padding=2), 2, 1, 1),
        (lambda: nn.Conv2d(3, 3, 3, padding=4, dilation=4), 4, 1, 1),
        (lambda: nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(7))), 7, 1, 1),
        (lambda: nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, 48, 1), nn.PixelShuffle(4)), 0, 4, 1),
        (lambda: nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2)), 0, 2, 1),
        (lambda: nn.Conv2d(3, 3, (1, 9), padding=(0, 4)), 4, 1, 1),
        (lambda: nn.Conv2d(3, 3, (9, 1), padding=(4, 0)), 4, 1, 1),
        (lambda: SRResNet(4, 4, 3, "none"), 4 + 7 + 1 + 2, 1, 4),  # 1 of the half and 4 of the quarter pixels: 1.5
        (lambda: ResidualFCN(8, 3), 2 * (1 + 6) + 1, 2, 1),
    ],
)
def test_how_far_a_network_sees(make, distance, period, scale):
    torch.manual_seed(0)
    found = reach(make().eval())
    assert (found.period, found.scale) == (period, scale)
    assert found.margin == -(-distance // period) * period


def test_a_weight_of_zero_hides_nothing():
    layer = nn.Conv2d(3, 3, 9, padding=4)
    nn.init.zeros_(layer.weight)
    assert reach(layer).margin == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: OldPhotoGenerator(4, 1, "resize", "instance", "tanh"),
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Upsample(8)),
        lambda: nn.Conv2d(3, 3, (5001, 1), padding=(2500, 0)),
    ],
)
def test_what_sees_the_whole_image_is_refused(make):
    with pytest.raises(ValueError, match="cannot run in tiles"):
        reach(make().eval())


class Stripes(nn.Module):
    """Its columns are of three kinds."""

    def forward(self, images):
        return images * (torch.arange(images.shape[-1]) % 3 + 1)


def test_what_has_no_period_is_refused():
    with pytest.raises(ValueError, match="no convolution with a stride of up to 64"):
        reach(Stripes())


def test_tiles_cover_each_pixel_once_and_start_at_multiples():
    count = np.zeros((103, 57), int)
    for tile in tiles.tiles(103, 57, side=24, margin=8):
        count[tile.core] += 1
        seen, core = count[tile.seen], count[tile.core]
        assert seen[tile.inner].shape == core.shape
        assert np.shares_memory(seen[tile.inner], core) and seen[tile.inner].ctypes.data == core.ctypes.data
        assert all(side.start % 8 == 0 for side in tile.seen)
    assert (count == 1).all()


def test_the_memory_says_how_large_a_tile_is(monkeypatch):
    network, reached = nn.Conv2d(3, 3, 1), Reach(margin=16, period=8, scale=1, least=1, bytes=100)
    monkeypatch.setattr(tiles, "CPU_BYTES", 100 * 200**2)
    assert side_that_fits(network, reached) == 168
    monkeypatch.setattr(tiles, "CPU_BYTES", 2**60)
    assert side_that_fits(network, reached) == tiles.LARGEST - 32


def test_progress_adds_up_to_the_whole(monkeypatch):
    monkeypatch.setattr(tiles, "CPU_BYTES", 1)
    network, shares = nn.Conv2d(3, 3, 3, padding=1).eval(), []
    apply(network, reach(network), np.zeros((5, 7, 3), np.uint8), watch=shares.append)
    assert len(shares) > 1 and sum(shares) == pytest.approx(1)
