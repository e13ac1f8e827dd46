"""What tests of evaluation share: photographs, noise, a method known beforehand, and metrics worked out by hand."""

import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import torch
from torch import nn

from restoration_lib.methods.base import Method


class ByHand:
    """Metrics as their formulas say."""

    @staticmethod
    def psnr(target, image):
        error = ((target.astype(float) - image.astype(float)) ** 2).mean()
        return 10 * math.log10(255**2 / error)

    @staticmethod
    def ssim(target, image):
        """Equation 13 of Wang et al. 2004 per channel, windows of 11 pixels wholly inside, the mean of all."""
        channels = []
        for a, b in zip(np.moveaxis(target.astype(float), 2, 0), np.moveaxis(image.astype(float), 2, 0), strict=True):
            mean_a, mean_b, aa, bb, ab = (
                scipy.ndimage.gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5] for x in (a, b, a * a, b * b, a * b)
            )
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            above = (2 * mean_a * mean_b + c1) * (2 * (ab - mean_a * mean_b) + c2)
            below = (mean_a**2 + mean_b**2 + c1) * (aa - mean_a**2 + bb - mean_b**2 + c2)
            channels.append((above / below).mean())
        return np.mean(channels)

    @staticmethod
    def difference_of_greys(level, other):
        """CIEDE2000 of two greys of sRGB: only the term of the lightness is left of it."""
        one, two = (116 * np.cbrt(((grey / 255 + 0.055) / 1.055) ** 2.4) - 16 for grey in (level, other))  # CIE L*
        square = ((one + two) / 2 - 50) ** 2
        return abs(two - one) / (1 + 0.015 * square / math.sqrt(20 + square))


class Brighter(Method):
    """Adds `levels` of 255 to each pixel with a 1x1 convolution; 0 is the identity."""

    def __init__(self, levels=0):
        super().__init__()
        network = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            network.weight.copy_(torch.eye(3)[..., None, None])
            network.bias.fill_(levels / 255)
        self.networks["generator"] = network

    def restore(self, images):
        return self.apply(self.networks["generator"], images)


@pytest.fixture(scope="session")
def by_hand():
    return ByHand


@pytest.fixture(scope="session")
def brighter():
    return Brighter


@pytest.fixture(scope="session")
def photograph():
    """A function that cuts a photograph of a height and width."""
    return lambda height, width: skimage.data.astronaut()[40 : 40 + height, 180 : 180 + width].copy()


@pytest.fixture(scope="session")
def noisy():
    """A function that adds noise of a deviation in grey levels."""

    def add_noise(image, deviation=15):
        noise = np.random.default_rng(0).normal(0, deviation, image.shape)
        return (image + noise).round().clip(0, 255).astype(np.uint8)

    return add_noise
