"""Reconstruction and adversarial losses.

Reconstruction losses share one signature: `loss(prediction, target) -> scalar tensor`, both images (N, 3, H, W),
float, in [0, 1]. They compute in float32 at least (`_wide`), whatever autocast says, are least for equal images, at
most about 1, and pull at no pixel without bound: tests ask this of all that RECONSTRUCTION names. Adversarial losses
take a discriminator's logits and the wanted answer.
"""

from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from restoration_lib.checks import check, check_names
from restoration_lib.degradations.monochrome import luma

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik 2003, section 3.2
CONTENT_SCALE = 1 / 12.75**2  # of squared differences of VGG's deepest maps, to the MSE's size (Ledig et al. 2017, 3.2)
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # Wang et al. 2004, section III


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error."""
    return (_wide(prediction) - _wide(target)).abs().mean()


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(_wide(prediction), _wide(target))


def ms_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - multi-scale SSIM of the grey images, in [0, 1] (Wang, Simoncelli and Bovik 2003).

    Gaussian window of 11 pixels and sigma 1.5, valid positions only, five scales by 2x2 means. Five scales need
    176 pixels; on smaller images as many scales as keep the window inside, their weights renormalised to 1.

    Raises:
        ValueError: a side below 11 pixels, where not even one scale fits.
    """
    with torch.autocast(prediction.device.type, enabled=False):  # differences of squares do not survive bf16
        return 1 - ms_ssim_index(luma(_wide(prediction)), luma(_wide(target))).mean()


def ms_ssim_index(a: Tensor, b: Tensor) -> Tensor:
    """Multi-scale SSIM (N,) of one-channel images (N, 1, H, W) in [0, 1]."""
    weights = a.new_tensor(MS_SSIM_WEIGHTS[: scales(*a.shape[-2:])])
    weights = weights / weights.sum()
    terms = []
    for scale in range(len(weights)):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        luminance, contrast_structure = _ssim_maps(a, b)
        last = scale == len(weights) - 1
        terms.append((luminance * contrast_structure if last else contrast_structure).mean((1, 2, 3)))
    # a negative correlation has no fractional power, and 0 has none with a finite gradient
    return (torch.stack(terms, 1).clamp(min=1e-6) ** weights).prod(1)


def scales(height: int, width: int) -> int:
    """How many of the five scales an image of this size allows."""
    side = min(height, width)
    if side < WINDOW:
        raise ValueError(f"MS-SSIM: images of {width} x {height} px are smaller than its window of {WINDOW} px")
    return min(len(MS_SSIM_WEIGHTS), 1 + (side // WINDOW).bit_length() - 1)


def _ssim_maps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of luminance and of contrast x structure."""
    x = torch.arange(WINDOW, dtype=a.dtype, device=a.device) - WINDOW // 2
    kernel = torch.exp(-(x**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    a, b = a - 0.5, b - 0.5  # around 0 the differences of squares below keep their digits
    stack = torch.cat([a, b, a * a, b * b, a * b], 1)
    rows = kernel.view(1, 1, -1, 1).expand(5, 1, -1, 1)
    blurred = F.conv2d(F.conv2d(stack, rows, groups=5), rows.transpose(2, 3), groups=5)
    mean_a, mean_b, aa, bb, ab = blurred.chunk(5, 1)
    c1, c2 = K1**2, K2**2
    variance, covariance = aa - mean_a**2 + bb - mean_b**2, ab - mean_a * mean_b
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (variance + c2)


def cosine(prediction: Tensor, target: Tensor, softening: float = 0.02) -> Tensor:
    """Mean of 1 - cosine of the angle between the RGB vectors of each pixel, in [0, 1].

    `softening` is the length, in image units, of a component that both vectors share: where both are dark, and
    the angle means nothing, the loss fades out, and its gradient has a bound everywhere.
    """
    prediction, target = _wide(prediction), _wide(target)
    dot = (prediction * target).sum(1) + softening**2
    lengths = (prediction.square().sum(1) + softening**2) * (target.square().sum(1) + softening**2)
    return (1 - dot / lengths.sqrt()).mean()


def content(network: Callable[[Tensor], list[Tensor]], prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of a network's last maps, times 1 / 12.75² (SRGAN, Ledig et al. 2017, section 2.2.1).

    Args:
        network: images to a list of maps, such as `networks.vgg.VGG`, whose `depth` says which is the last.
    """
    return CONTENT_SCALE * mse(network(prediction)[-1], network(target)[-1])


def bce(logits: Tensor, target: Tensor | float) -> Tensor:
    """Binary cross-entropy of logits against 1 (real), 0 (fake) or a map between (Goodfellow et al. 2014)."""
    return F.binary_cross_entropy_with_logits(_wide(logits), _like(logits, target))


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - the Dice coefficient of a mask's logits and the true mask, which is the F1 of a mask of zeros and ones.

    What is rare counts as much as what is not (V-Net, Milletari et al. 2016, section 3). Two empty masks agree.
    """
    found, true = _wide(logits).sigmoid(), _like(logits, target)
    return 1 - (2 * (found * true).sum() + 1) / (found.sum() + true.sum() + 1)


def least_squares(logits: Tensor, target: Tensor | float) -> Tensor:
    """Mean squared difference to 1 (real), 0 (fake) or a map between (LSGAN, Mao et al. 2017, eq. 9)."""
    return F.mse_loss(_wide(logits), _like(logits, target))


def _like(logits: Tensor, target: Tensor | float) -> Tensor:
    logits = _wide(logits)
    return target.to(logits.dtype).expand_as(logits) if isinstance(target, Tensor) else torch.full_like(logits, target)


RECONSTRUCTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1,
    "mse": mse,
    "ms_ssim": ms_ssim,
    "cosine": cosine,
}
"""The losses that a method trained on pairs can be given by name."""


def check_weights(weights: dict[str, float], known: Collection[str]) -> None:
    """Raise ValueError if a weight has a name that is not known or is negative, or if none is above 0."""
    check_names("losses", weights, known)
    for name, weight in weights.items():
        check(f"losses: {name}", weight, 0)
    if not any(weights.values()):
        raise ValueError(f"losses: give at least one of {', '.join(known)} a weight above 0")


def weighted(weights: dict[str, float], prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Those of RECONSTRUCTION that have a weight, times it; a term of weight 0 is left out and costs nothing."""
    used = {name: weight for name, weight in weights.items() if weight and name in RECONSTRUCTION}
    return {name: weight * RECONSTRUCTION[name](prediction, target) for name, weight in used.items()}


def _wide(images: Tensor) -> Tensor:
    return images if images.dtype == torch.float64 else images.float()
