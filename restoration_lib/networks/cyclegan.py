"""Generators and discriminators of the two CycleGANs, S0 and S3. Pictures (N, 3, H, W) in [0, 1], in and out."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

UPSAMPLINGS = ("transposed", "resize")
OUTPUTS = {"tanh": 3, "colour": 12}  # channels of the last convolution
LARGE = 512 * 512  # pixels from which on memory is dearer than time
NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": None}


class Block(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))) with reflected borders (Johnson et al. 2016): (N, C, H, W) to the same."""

    def __init__(self, channels: int, norm: str):
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, channels, 3, norm, padding=1),
            nn.ReLU(True),
            *_convolution(channels, channels, 3, norm, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class TranslationGenerator(nn.Module):
    """Encoder, residual blocks, decoder. A picture of any size comes back at its size.

    `fold`, the product of the encoder's strides, need not divide the sides: they are padded and cut again.

    With `output` "tanh" the layers draw the picture anew, as both originals do. With "colour" they give each pixel a
    3 x 3 matrix M and an offset b, and its colour x in [-1, 1] becomes x + M x + b: what the print has kept stays as
    sharp as it was, and the training starts from the picture instead of from grey. Its values may leave [0, 1].
    """

    def __init__(self, fold: int, output: str, *layers: nn.Module):
        super().__init__()
        self.fold, self.output = fold, output
        self.layers = nn.Sequential(*layers)
        if output == "colour":
            with torch.no_grad():  # start near the picture itself
                self.layers[-1].weight.mul_(0.1)

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        x = 2 * pictures - 1
        padded = F.pad(x, (0, -width % self.fold, 0, -height % self.fold), mode="replicate")
        maps = self._draw(padded)[..., :height, :width].float()
        if self.output == "tanh":
            return (maps.tanh() + 1) / 2
        matrix, offset = maps[:, :9].unflatten(1, (3, 3)), maps[:, 9:]
        return (x + (matrix * x[:, None]).sum(2) + offset + 1) / 2

    def _draw(self, x: Tensor) -> Tensor:
        """The layers. Training on large pictures, the blocks keep nothing for the backward pass, but run again in it;
        the running statistics of a BatchNorm then see each picture twice.
        """
        large = torch.is_grad_enabled() and x.shape[-2] * x.shape[-1] >= LARGE
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if large and isinstance(layer, Block) else layer(x)
        return x


class OldPhotoGenerator(TranslationGenerator):
    """S0: three convolutions, residual blocks, three transposed convolutions (or resize and convolution).

    Args:
        features: channels of the first convolution; doubled by each of the other two.
        blocks: number of residual blocks.
        upsampling: "transposed" or "resize"; the first leaves a checkerboard (Odena et al. 2016), the second none.
        norm: "instance", "batch" or "none". A norm takes the picture's contrast out before anything has measured it:
            with the output "colour", "none" belongs.
        output: "tanh" or "colour".
    """

    def __init__(
        self,
        features: int = 64,
        blocks: int = 6,
        upsampling: str = "transposed",
        norm: str = "instance",
        output: str = "tanh",
    ):
        f = features
        super().__init__(
            8,
            output,
            nn.Conv2d(3, f, 4, stride=2, padding=1, padding_mode="reflect"),
            nn.LeakyReLU(0.2, True),
            *_convolution(f, 2 * f, 4, norm, stride=2, padding=1),
            nn.LeakyReLU(0.2, True),
            *_convolution(2 * f, 4 * f, 4, norm, stride=2, padding=1),
            nn.LeakyReLU(0.2, True),
            *(Block(4 * f, norm) for _ in range(blocks)),
            *_upsample(4 * f, 2 * f, 4, upsampling, norm),
            nn.ReLU(True),
            *_upsample(2 * f, f, 4, upsampling, norm),
            nn.ReLU(True),
            *_upsample(f, _outputs(output), 4, upsampling),
        )


class ResnetGenerator(TranslationGenerator):
    """S3 (CycleGAN, Zhu et al. 2017, appendix 7.2): c7s1-64, d128, d256, nine blocks, u128, u64, c7s1-3.

    Args: as for `OldPhotoGenerator`; the defaults are the paper's.
    """

    def __init__(
        self,
        features: int = 64,
        blocks: int = 9,
        upsampling: str = "transposed",
        norm: str = "instance",
        output: str = "tanh",
    ):
        f = features
        super().__init__(
            4,
            output,
            *_convolution(3, f, 7, norm, padding=3),
            nn.ReLU(True),
            *_convolution(f, 2 * f, 3, norm, stride=2, padding=1),
            nn.ReLU(True),
            *_convolution(2 * f, 4 * f, 3, norm, stride=2, padding=1),
            nn.ReLU(True),
            *(Block(4 * f, norm) for _ in range(blocks)),
            *_upsample(4 * f, 2 * f, 3, upsampling, norm),
            nn.ReLU(True),
            *_upsample(2 * f, f, 3, upsampling, norm),
            nn.ReLU(True),
            nn.Conv2d(f, _outputs(output), 7, padding=3, padding_mode="reflect"),
        )


class OldPhotoDiscriminator(nn.Module):
    """S0: five convolutions, each halving the size; BatchNorm and LeakyReLU(0.2) after the first four.

    Args:
        features: channels of the first convolution; doubled by the next three.
        norm: "batch", "instance" or "none". With real and generated pictures judged in batches of their own, a norm
            after the first convolution hides how strong contrast and cast are.
        patch_output: keep the last convolution's map (N, 1, h, w) instead of its mean (N, 1, 1, 1), a value a picture.
    """

    def __init__(self, features: int = 64, norm: str = "batch", patch_output: bool = False):
        super().__init__()
        widths = [3, features, 2 * features, 4 * features, 8 * features]
        layers: list[nn.Module] = []
        for width, wider in pairwise(widths):
            layers += [*_convolution(width, wider, 4, norm, stride=2, padding=1, mode="zeros"), nn.LeakyReLU(0.2, True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))
        self.patch_output = patch_output

    def forward(self, pictures: Tensor) -> Tensor:
        if min(pictures.shape[-2:]) < 64:
            height, width = pictures.shape[-2:]
            raise ValueError(f"crop: {width} x {height} px are too few for five halvings, take 64 or more")
        verdict = self.layers(2 * pictures - 1)
        return verdict if self.patch_output else verdict.mean((2, 3), keepdim=True)


def _convolution(inputs: int, outputs: int, side: int, norm: str, mode: str = "reflect", **options) -> list[nn.Module]:
    """A convolution and its norm; a bias before a norm would be taken out again."""
    convolution = nn.Conv2d(inputs, outputs, side, bias=norm == "none", padding_mode=mode, **options)
    return [convolution, *_norm(norm, outputs)]


def _upsample(inputs: int, outputs: int, side: int, upsampling: str, norm: str = "none") -> list[nn.Module]:
    """Twice the size, and the norm; `side` is that of the transposed kernel, 3 or 4."""
    if upsampling not in UPSAMPLINGS:
        raise ValueError(f"upsampling: expected one of {', '.join(UPSAMPLINGS)}, got {upsampling!r}")
    if upsampling == "transposed":
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(inputs, outputs, side, stride=2, padding=1, output_padding=side % 2, bias=norm == "none")
        ]
    else:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect", bias=norm == "none")
        layers = [nn.Upsample(scale_factor=2, mode="nearest"), convolution]
    return [*layers, *_norm(norm, outputs)]


def _outputs(output: str) -> int:
    if output not in OUTPUTS:
        raise ValueError(f"output: expected one of {', '.join(OUTPUTS)}, got {output!r}")
    return OUTPUTS[output]


def _norm(norm: str, channels: int) -> list[nn.Module]:
    if norm not in NORMS:
        raise ValueError(f"norm: expected one of {', '.join(NORMS)}, got {norm!r}")
    return [NORMS[norm](channels, affine=True)] if NORMS[norm] else []
