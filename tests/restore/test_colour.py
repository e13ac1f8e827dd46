"""Colour measured on a reduced copy: against the whole network where nothing is reduced, and worked out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.networks.resnet import OldPhotoGenerator
from restoration_lib.restore import colour
from restoration_lib.restore.levels import images_of


class Gain(nn.Module):
    """Each pixel times a map: what `measure` returns for an image as a whole."""

    def __init__(self, maps):
        super().__init__()
        self.maps, self.seen = maps, []

    def measure(self, images):
        self.seen.append(images)
        return self.maps

    def adjust(self, images, maps):
        assert maps.shape[2:] in (images.shape[2:], (1, 1))
        return images * maps


def test_nothing_reduced_it_is_the_network_itself(of_chance, monkeypatch):
    monkeypatch.setattr(colour, "TILE", 24)
    network = of_chance("faded")
    assert isinstance(network, OldPhotoGenerator)
    pixels = np.random.default_rng(0).integers(0, 65536, (63, 50, 3), dtype=np.uint16)
    with torch.inference_mode():
        expected = network(images_of(pixels))[0].movedim(0, 2).clamp(0, 1).numpy()
    assert np.abs(colour.adjust(network, pixels, side=60) / 65535 - expected).max() < 1 / 2550


def test_one_number_for_the_whole_photograph():
    pixels = np.full((40, 30, 3), 100, np.uint8)
    network = Gain(torch.full((1, 1, 1, 1), 1.5))
    np.testing.assert_array_equal(colour.adjust(network, pixels, side=8), pixels + 50)
    np.testing.assert_array_equal(colour.adjust(network, pixels, side=8, strength=0.5), pixels + 25)
    np.testing.assert_array_equal(colour.adjust(network, pixels, side=8, strength=0), pixels)
    [seen, *_] = network.seen
    assert seen.shape == (1, 3, 40 // 3, 10)


def test_maps_lie_where_they_were_measured(monkeypatch):
    """Rows of factor 1 and 3 of a photograph of 64: between their centres, at 15.5 and 47.5, in a straight line."""
    monkeypatch.setattr(colour, "TILE", 10)
    network = Gain(torch.tensor([1.0, 3.0]).view(1, 1, 2, 1))
    pixels = np.full((64, 64, 3), 60, np.uint8)
    found = colour.adjust(network, pixels, side=16)
    expected = 60 * np.interp(np.arange(64), [15.5, 47.5], [1, 3])
    assert np.abs(found - expected[:, None, None]).max() <= 0.51


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_stays_grey(of_chance, channels):
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 50, 1), dtype=np.uint8), channels, axis=2)
    adjusted = colour.adjust(of_chance("faded"), pixels, side=20, grey=True)
    assert adjusted.shape == pixels.shape and (adjusted != pixels).any()
    assert np.ptp(adjusted, axis=2).max() == 0
