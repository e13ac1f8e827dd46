"""The U-Net of Pix2Pix: its layers against the paper, and images of any size."""

import pytest
import torch
from torch import nn

from restoration_lib.networks.unet import UNet


def test_the_unet_has_the_layers_of_the_paper():
    """C64-C128-C256-C512 x 5 down (Isola et al. 2017, section 6.1.1); 54.41 million parameters as in its own code."""
    network = UNet()
    down = [layer for part in network.down for layer in part if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in down] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert {(layer.kernel_size, layer.stride) for layer in down} == {((4, 4), (2, 2))}
    up = [layer for part in network.up for layer in part if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.in_channels for layer in up] == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    dropouts = [[layer.p for layer in part if isinstance(layer, nn.Dropout)] for part in network.up]
    assert dropouts == [[0.5]] * 3 + [[]] * 5
    norms = [sum(isinstance(layer, nn.BatchNorm2d) for layer in part) for part in network.down]
    assert norms == [0, 1, 1, 1, 1, 1, 1, 0]
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(54.414e6, abs=1e3)


@pytest.mark.parametrize("shape", [(64, 64), (65, 40), (17, 99), (8, 8)])
def test_an_image_of_any_size_comes_back_at_its_size_and_in_range(shape):
    torch.manual_seed(0)
    restored, damage = UNet(4, 4).eval()(torch.rand(2, 3, *shape))
    assert restored.shape == (2, 3, *shape) and restored.isfinite().all() and damage is None
    assert restored.min() >= 0 and restored.max() <= 1


@pytest.mark.parametrize("depth", [-1, 0, 1])
def test_a_depth_without_a_skip_connection_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth: expected a number, 2 or more, got {depth}"):
        UNet(4, depth)
