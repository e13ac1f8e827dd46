"""The patch discriminator: one picture, or input and picture, to a map of logits."""

import torch
from torch import Tensor, nn


class PatchGAN(nn.Module):
    """Patch discriminator (Pix2Pix, Isola et al. 2017, section 3.2.2), conditioned on the input or not.

    Each logit judges a patch: 16, 34 or 70 pixels wide with 1, 2 or 3 halvings. InstanceNorm, so that the
    verdict on a picture does not depend on which others are judged with it.

    Args:
        features: channels of the first layer; doubled by each halving, up to eight times as many.
        halvings: number of stride-2 convolutions, 1 or more.
        pictures: how many it judges together: 2, input and candidate (Pix2Pix), or 1, the candidate (CycleGAN).
    """

    def __init__(self, features: int = 32, halvings: int = 2, pictures: int = 2):
        super().__init__()
        if halvings < 1:
            raise ValueError(f"halvings: expected 1 or more, got {halvings}")
        layers: list[nn.Module] = [nn.Conv2d(3 * pictures, features, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True)]
        width = features
        for level in range(1, halvings + 1):
            wider = min(2 * width, 8 * features)
            stride = 2 if level < halvings else 1
            layers += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=False),
                nn.InstanceNorm2d(wider, affine=True),
                nn.LeakyReLU(0.2, True),
            ]
            width = wider
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, padding=1))

    def forward(self, *pictures: Tensor) -> Tensor:
        """Logits (N, 1, h, w) that the last of the pictures, each (N, 3, H, W) in [0, 1], is real."""
        return self.layers(2 * torch.cat(pictures, 1) - 1)
