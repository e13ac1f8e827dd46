"""SRResNet, the generator of SRGAN (Ledig et al. 2017, figure 4). Images are in [0, 1], in and out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoration_lib.checks import check_choice
from restoration_lib.degradations.downscale import SCALES
from restoration_lib.networks.fast import FACTOR, FewOutputsConv2d, PixelShuffle, PReLU, SubPixelConv2d
from restoration_lib.networks.layers import ResidualBlock, convolution, shrink

BAND, REACH = 32, 3  # rows of the small image: that are enlarged at once, and that this sees beyond them


class SRResNet(nn.Module):
    """k9n64s1, residual blocks k3n64s1, a skip over all of them, a PixelShuffle for each factor of 2, k9n3s1.

    Args:
        scale: 2 or 4.
        features: channels of all layers, 64 in the paper.
        blocks: residual blocks, 16 in the paper.
        norm: "batch" in the blocks, as in the paper; with "none" no image depends on the others of its batch, and
            colours keep their range (EDSR, Lim et al. 2017, section 3.1).
        residual: add the bicubic enlargement to the output, so that the training starts from that instead of from
            nothing (VDSR, Kim et al. 2016, section 3.1).

    Raises:
        ValueError: another scale.
    """

    def __init__(
        self, scale: int = 4, features: int = 64, blocks: int = 16, norm: str = "batch", residual: bool = False
    ):
        super().__init__()
        check_choice("scale", scale, SCALES)
        self.scale, self.residual = scale, residual
        self.first = nn.Sequential(nn.Conv2d(3, features, 9, padding=4), PReLU())
        self.blocks = nn.Sequential(
            *(ResidualBlock(features, norm, PReLU(), near_identity=norm == "none") for _ in range(blocks)),
            *convolution(features, features, 3, norm, padding_mode="zeros", padding=1),
        )
        ups: list[nn.Module] = []
        for _ in range(scale.bit_length() - 1):
            wider = SubPixelConv2d(features, FACTOR**2 * features, 3, padding=1)
            icnr(wider, FACTOR)
            ups += [wider, PixelShuffle(), PReLU()]
        self.up = nn.Sequential(*ups)
        self.last = FewOutputsConv2d(features, 3, 9, padding=4)
        if residual:
            shrink(self.last)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) to (N, 3, scale H, scale W); values may leave [0, 1]."""
        x = 2 * images - 1
        maps = self.first(x)
        large = self._enlarged(maps + self.blocks(maps)).float()
        if self.residual:
            large = large + F.interpolate(x, scale_factor=self.scale, mode="bicubic", antialias=True)
        return (large + 1) / 2

    def _enlarged(self, maps: Tensor) -> Tensor:
        """Maps (N, features, H, W) as images (N, 3, scale H, scale W). The maps on the way are by far the largest of
        all: without gradients they are made of a band of rows after the other."""
        if torch.is_grad_enabled():
            return self.last(self.up(maps))
        bands = []
        for top in range(0, maps.shape[2], BAND):
            start = max(0, top - REACH)
            seen = self.last(self.up(maps[:, :, start : top + BAND + REACH]))
            bands.append(seen[:, :, self.scale * (top - start) :][:, :, : self.scale * BAND])
        return torch.cat(bands, 2)


def icnr(layer: nn.Conv2d, factor: int) -> None:
    """Start a convolution before a PixelShuffle such that it repeats pixels: no checkerboard (Aitken et al. 2017)."""
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            parameter.copy_(parameter[:: factor**2].repeat_interleave(factor**2, 0))
