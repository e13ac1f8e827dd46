"""Colour images as monochrome prints, grey to sepia, darker or lighter, as most old photographs are."""

import torch
from torch import Tensor

from restoration_lib.degradations.common import check_images

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, full range
SEPIA = (1.0, 0.92, 0.75)  # of the luma, in the brownest print
GAMMA = 0.45, 1.5  # of the luma, in the lightest and in the darkest print


def luma(images: Tensor) -> Tensor:
    """Grey images (…, 1, H, W) of RGB ones (…, 3, H, W), by the weights of BT.601."""
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(-3, keepdim=True)


def monochrome(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Each image as a print of a tone and a gamma of its own, rounded to 8 bits as in any file.

    Args:
        images: (N, 3, H, W) or (3, H, W), float in [0, 1].
        generator: CPU generator of the draws; None takes torch's global one.

    Raises:
        ValueError: a tensor that is not a colour image.
    """
    check_images(images)
    count = len(images) if images.ndim == 4 else 1
    brown, dark = torch.rand(2, count, generator=generator)
    return print_of(images, brown.to(images), dark.to(images)).view_as(images)


def toned(images: Tensor, brown: float) -> Tensor:
    """Grey images (…, 3, H, W) as prints on paper that is white, for a `brown` of 0, to sepia, for 1."""
    return images * torch.lerp(torch.ones(3), torch.tensor(SEPIA), brown).to(images).view(3, 1, 1)


def print_of(images: Tensor, brown: Tensor, dark: Tensor) -> Tensor:
    """Prints of images (N, 3, H, W): `brown` (N,) from 0, grey, to 1, sepia; `dark` (N,) from 0, light, to 1, dark."""
    brown, dark = (share.view(-1, 1, 1, 1) for share in (brown, dark))
    tone = torch.lerp(torch.ones(3, 1, 1).to(brown), images.new_tensor(SEPIA).view(3, 1, 1), brown)
    gamma = GAMMA[0] * (GAMMA[1] / GAMMA[0]) ** dark
    return (luma(images) ** gamma * tone * 255).round() / 255
