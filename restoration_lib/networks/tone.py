"""A generator that changes the colours of a whole image at once: by curves and a matrix, and no detail."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoration_lib.degradations.monochrome import luma

SIDE = 64  # px, both sides of the reduced copy that is looked at
FEATURES = 16  # channels of the first convolution; the others have two and four times as many
HIDDEN = 128  # width of the fully connected layers
DROPOUT = 0.1  # share of their outputs left out in training
SEGMENTS = 8  # straight pieces of a curve
QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)


class ToneGenerator(nn.Module):
    """Images (N, 3, H, W) in [0, 1] to the same; values may leave [0, 1].

    A small network looks at the image, reduced to SIDE x SIDE px, and at the quantiles of its channels and luma. It
    chooses one rising curve for each channel, of SEGMENTS straight pieces, and what follows it: x becomes
    x + M x + b, with a 3 x 3 matrix M and an offset b. So all pixels of a colour change alike, whatever the size of the
    image: nothing can be drawn, blurred or lost but what the curves clip (such transforms: Gharbi et al. 2017, without
    the grid). A fresh one leaves images nearly as they are.
    """

    def __init__(self):
        super().__init__()
        f = FEATURES
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((3, f, 2), (f, 2 * f, 2), (2 * f, 4 * f, 2), (4 * f, 4 * f, 1)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.LeakyReLU(0.2)]
        self.encoder = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(8 * f + 4 * len(QUANTILES), HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, 3 * (SEGMENTS + 1) + 12),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, 0.2)
                nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.head[-1].weight.mul_(0.02)

    def forward(self, images: Tensor) -> Tensor:
        return self.adjust(images, self.measure(images))

    def measure(self, images: Tensor) -> Tensor:
        """What to do with the colours of images: (N, 3 (SEGMENTS + 1) + 12, 1, 1), curves and matrix."""
        small = reduced(images)
        maps = self.encoder(2 * small - 1).float()
        channels = torch.cat([small, luma(small)], 1).flatten(2).sort(-1).values
        places = [round(quantile * (channels.shape[-1] - 1)) for quantile in QUANTILES]
        quantiles = channels[..., places].flatten(1)
        shown = torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), 2 * quantiles - 1], 1)
        return self.head(shown).float()[..., None, None]

    def adjust(self, images: Tensor, tones: Tensor) -> Tensor:
        """Images (N, 3, H, W), or parts of them, with what `measure` gave for them."""
        curves, matrix = tones[:, :-12].unflatten(1, (3, -1)), tones[:, -12:]
        curved, slopes = curves[:, :, 0], curves[:, :, 1:].exp().unbind(2)
        for k, slope in enumerate(slopes):
            curved = curved + slope * (images - k / len(slopes)).clamp(0, 1 / len(slopes))
        change = (matrix[:, :9].unflatten(1, (3, 3)) * curved[:, None]).sum(2)
        return curved + change + matrix[:, 9:]


def reduced(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) at SIDE x SIDE px, by the mean of what each pixel covers; small ones have theirs repeated."""
    return F.interpolate(images, (SIDE, SIDE), mode="area")
