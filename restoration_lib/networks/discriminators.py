"""The discriminators: images (N, 3, H, W) in [0, 1] to logits that they are real."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoration_lib.checks import check
from restoration_lib.networks.layers import convolution


def _layer(inputs: int, outputs: int, side: int, norm: str, stride: int) -> list[nn.Module]:
    """Convolution, norm, LeakyReLU(0.2), as all three have them."""
    convolved = convolution(inputs, outputs, side, norm, padding_mode="zeros", stride=stride, padding=1)
    return [*convolved, nn.LeakyReLU(0.2, True)]


class PatchGAN(nn.Module):
    """Patch discriminator (Pix2Pix, Isola et al. 2017, section 3.2.2), conditioned on the input or not.

    Each logit judges a patch: 16, 34 or 70 pixels wide with 1, 2 or 3 halvings. InstanceNorm, so that the
    logits of an image do not depend on which others are judged with it.

    Args:
        features: channels of the first layer; doubled by each halving, up to eight times as many.
        halvings: number of stride-2 convolutions, 1 or more.
        images: how many it judges together: 2, input and candidate (Pix2Pix), or 1, the candidate (CycleGAN).
    """

    def __init__(self, features: int = 32, halvings: int = 2, images: int = 2):
        super().__init__()
        check("halvings", halvings, 1)
        widths = [min(2**level, 8) * features for level in range(halvings + 1)]
        layers = _layer(3 * images, features, 4, "none", stride=2)
        for level, (width, wider) in enumerate(pairwise(widths), start=1):
            layers += _layer(width, wider, 4, "instance", stride=2 if level < halvings else 1)
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, *images: Tensor) -> Tensor:
        """Logits (N, 1, h, w) that the last of the images, each (N, 3, H, W) in [0, 1], is real."""
        return self.layers(2 * torch.cat(images, 1) - 1)


class OldPhotoDiscriminator(nn.Module):
    """The old-photo project's: five halving convolutions, BatchNorm and LeakyReLU(0.2) after the first four.

    Args:
        features: channels of the first convolution; doubled by the next three.
        norm: "batch", "instance" or "none". With real and generated images judged in batches of their own, a norm
            after the first convolution hides how strong contrast and cast are.
    """

    def __init__(self, features: int = 64, norm: str = "batch"):
        super().__init__()
        widths = [3, features, 2 * features, 4 * features, 8 * features]
        layers: list[nn.Module] = []
        for width, wider in pairwise(widths):
            layers += _layer(width, wider, 4, norm, stride=2)
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, 1, 1), the mean of the last convolution's map, that the images are real."""
        if min(images.shape[-2:]) < 64:
            height, width = images.shape[-2:]
            raise ValueError(f"crop: {width} x {height} px are too few for five halvings, take 64 or more")
        return self.layers(2 * images - 1).mean((2, 3), keepdim=True)


class SRDiscriminator(nn.Module):
    """Eight convolutions of 64 to 512 channels, every second one with stride 2, dense 1024, one logit per image.

    The last maps are averaged to 6 x 6, what 96 px of the paper leave, so that crops of other sizes serve too.

    Args:
        features: channels of the first layer, 64 in the paper.
    """

    def __init__(self, features: int = 64):
        super().__init__()
        widths = [features * times for times in (1, 1, 2, 2, 4, 4, 8, 8)]
        layers = _layer(3, features, 3, "none", stride=1)
        for width, wider in pairwise(widths):
            layers += _layer(width, wider, 3, "batch", stride=2 if wider == width else 1)
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(36 * widths[-1], 16 * features), nn.LeakyReLU(0.2), nn.Linear(16 * features, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1) that the images (N, 3, H, W) are real."""
        return self.dense(F.adaptive_avg_pool2d(self.layers(2 * images - 1), 6))
