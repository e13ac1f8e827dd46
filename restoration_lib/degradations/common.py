"""What the degradations share: draws from a generator, and the check of what they are given."""

import torch
from torch import Tensor


def uniform(low: float, high: float, generator: torch.Generator | None) -> float:
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def check_images(images: Tensor) -> None:
    """Raise ValueError unless the tensor holds colour images, (N, 3, H, W) or (3, H, W), of a float type."""
    if images.ndim not in (3, 4) or images.shape[-3] != 3 or not images.is_floating_point():
        found = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"images: expected a float tensor (N, 3, H, W) or (3, H, W), got {found}")
