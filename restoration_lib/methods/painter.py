"""What was there before the damage? The second half of the refined generator, beside a finder that has learned."""

import torch
from torch import Tensor

from restoration_lib.methods.base import OneNetwork
from restoration_lib.methods.pix2pix import MAX_GRAD_NORM
from restoration_lib.networks.refined import RefinedGenerator, paint

THRESHOLDS = -2.0, 2.0  # of the finder's logits: whoever restores may choose


class Painter(OneNetwork):
    """The painter of a `RefinedGenerator` whose finder is frozen; what paints is the running mean.

    It minimises the mean absolute error, of images in [-1, 1], over the pixels that the finder takes for damage, by a
    threshold drawn from THRESHOLDS at each step: over those that are none too, which it learns to give back. Batches
    are {"input", "target"}: images (N, 3, H, W) in [0, 1], damaged and as they were.

    Args:
        generator: holds the finder, and a painter to begin with.
        steps, learning_rate, ema_decay: see `OneNetwork`.
    """

    def __init__(
        self, *, steps: int, generator: RefinedGenerator, learning_rate: float = 5e-4, ema_decay: float = 0.999
    ):
        super().__init__("painter", generator.painter, steps, learning_rate, MAX_GRAD_NORM["painter"], ema_decay)
        self.frozen["finder"] = generator.finder.requires_grad_(False)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        images, target = batch["input"], batch["target"]
        threshold = THRESHOLDS[0] + (THRESHOLDS[1] - THRESHOLDS[0]) * torch.rand(()).item()
        with self.autocast(images.device):
            with torch.no_grad():
                damage = self.frozen["finder"](2 * images - 1).float()
            painted = paint(self.networks["painter"], images, damage, threshold)
        found = damage > threshold
        return self.learn(2 * ((painted - target).abs() * found).sum() / (3 * found.sum()).clamp(min=1))

    @torch.no_grad()
    def restore(self, images: Tensor, threshold: float = 0.0) -> Tensor:
        """Images (N, 3, H, W) in [0, 1], new where the finder's logits exceed the threshold, else as they were."""
        painter = self.networks["average"].eval()
        here = images.to(next(painter.parameters()).device)
        with self.autocast(here.device):
            restored = paint(painter, here, self.frozen["finder"](2 * here - 1).float(), threshold)
        return restored.clamp(0, 1).to(images.device)
