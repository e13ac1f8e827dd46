"""What a scanned print has beside scratches: folds, which are damage; margins, softness, grain, JPEG, which are none.

Each takes an image (3, H, W), float in [0, 1], and a CPU generator of its draws, None for torch's global one; it leaves
the image as it is and gives back a new one of the same shape, in [0, 1] but for the rounding of `soften`. Lengths are
pixels, or parts of the shorter side. What is no such image raises ValueError.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restoration_lib.degradations.ageing import bent_line, gaussian_blur, line_cover
from restoration_lib.degradations.common import check_images, uniform


def fold(image: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A long, almost straight line from border to border, 0.8 to 3 px wide, broken here and there, with a soft shade on
    one side of it. Seven in ten are bright, the others dark."""
    _check_image(image)
    distance, along = bent_line(image, generator, bend=0.02)
    width, tone = uniform(0.8, 3, generator), uniform(0.7, 1, generator)
    if uniform(0, 1, generator) < 0.3:
        tone = uniform(0, 0.4, generator)
    shade = uniform(-0.2, 0.1, generator) * torch.exp(-distance.abs() / (2 * width)) * (distance > 0)
    crack = (torch.sin(along * uniform(5, 40, generator)) + uniform(0.4, 2, generator)).clamp(0, 1)
    cover = line_cover(distance, width) * crack * uniform(0.5, 1, generator)
    image = (image + shade).clamp(0, 1)
    return image + cover * (tone - image)


def margin(image: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The paper around a print, white to cream, on one side of the image or on two adjacent ones, 3 to 20 % wide."""
    _check_image(image)
    light, yellowed = uniform(0.75, 1, generator), uniform(0.85, 1, generator)
    paper = light * image.new_tensor([1.0, 1.0, yellowed]).view(3, 1, 1)
    wide = round(uniform(0.03, 0.2, generator) * min(image.shape[-2:]))
    turns, two = int(torch.randint(4, (), generator=generator)), uniform(0, 1, generator) < 0.5
    image = image.rot90(turns, (1, 2)).clone()
    image[:, :wide] = paper
    if two:
        image[:, :, :wide] = paper
    return image.rot90(-turns, (1, 2))


def soften(images: Sequence[Tensor], generator: torch.Generator | None = None) -> list[Tensor]:
    """Images that belong together as a soft scan has them: all by one Gaussian blur, sigma 0.3 to 1.2 px."""
    for image in images:
        _check_image(image)
    sigma = uniform(0.3, 1.2, generator)
    return [gaussian_blur(image, sigma) for image in images]


def grain(image: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Grey noise, as fine as a pixel or somewhat coarser, of a standard deviation of up to 12 grey levels."""
    _check_image(image)
    noise = torch.randn(1, *image.shape[-2:], generator=generator).to(image)
    noise = gaussian_blur(noise, uniform(0, 1, generator))
    return (image + uniform(0, 12 / 255, generator) * noise / noise.std()).clamp(0, 1)


def jpeg(image: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """As a JPEG file of quality 50 to 95 leaves it, with the colours at half the size."""
    _check_image(image)
    levels = image.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8).movedim(0, -1)
    file, quality = io.BytesIO(), round(uniform(50, 95, generator))
    Image.fromarray(levels.contiguous().numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).movedim(-1, 0).contiguous().to(image) / 255


def _check_image(image: Tensor) -> None:
    check_images(image)
    if image.ndim != 3:
        raise ValueError(f"image: expected one image (3, H, W), got {tuple(image.shape)}")
