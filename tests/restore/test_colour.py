"""Colour measured on a reduced copy: against the whole network where nothing is reduced, and worked out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.restore import colour
from restoration_lib.restore.levels import images_of


class Gain(nn.Module):
    """Each pixel times what `measure` returns for an image as a whole."""

    def __init__(self, gain):
        super().__init__()
        self.gain, self.seen = torch.full((1, 1, 1, 1), gain), []

    def measure(self, images):
        self.seen.append(images)
        return self.gain

    def adjust(self, images, gain):
        return images * gain


def test_nothing_reduced_it_is_the_network_itself(of_chance, monkeypatch):
    monkeypatch.setattr(colour, "TILE", 24)
    network = of_chance("faded")
    pixels = np.random.default_rng(0).integers(0, 65536, (63, 50, 3), dtype=np.uint16)
    with torch.inference_mode():
        expected = network(images_of(pixels))[0].movedim(0, 2).clamp(0, 1).numpy()
    assert np.abs(colour.adjust(network, pixels, side=60) / 65535 - expected).max() < 1 / 2550


def test_one_number_for_the_whole_photograph():
    pixels = np.full((40, 30, 3), 100, np.uint8)
    network = Gain(1.5)
    np.testing.assert_array_equal(colour.adjust(network, pixels, side=8), pixels + 50)
    np.testing.assert_array_equal(colour.adjust(network, pixels, side=8, strength=0.5), pixels + 25)
    np.testing.assert_array_equal(colour.adjust(network, pixels, side=8, strength=0), pixels)
    [seen, *_] = network.seen
    assert seen.shape == (1, 3, 40 // 3, 10)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_stays_grey(of_chance, channels):
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 50, 1), dtype=np.uint8), channels, axis=2)
    adjusted = colour.adjust(of_chance("faded"), pixels, side=20, grey=True)
    assert adjusted.shape == pixels.shape and (adjusted != pixels).any()
    assert np.ptp(adjusted, axis=2).max() == 0


def test_a_tone_that_is_kept_is_the_difference_from_grey():
    pixels = np.full((40, 30, 3), (120, 100, 60), np.uint8)
    luma = pixels[0, 0] @ np.array([0.299, 0.587, 0.114])
    adjusted = colour.adjust(Gain(1.5), pixels, side=8, keep_tone=True)
    assert np.abs(adjusted - (pixels + luma / 2)).max() <= 0.5
