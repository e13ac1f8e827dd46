"""A restorer trained on pairs, with or without a discriminator: made for shuffled pixels, fit for any damage."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from restoration_lib import losses as loss_terms
from restoration_lib.checks import check_choice, check_names
from restoration_lib.methods.base import Method, detached, warmup_cosine
from restoration_lib.networks.discriminators import PatchGAN
from restoration_lib.networks.fcn import ResidualFCN
from restoration_lib.networks.picker import Picker

GENERATORS = {
    "fcn": ResidualFCN,
    "picker": Picker,
    "corrected_picker": partial(Picker, corrected=True),
}  # of (channels, blocks), [0, 1] to [0, 1]; a new one needs a line here
MIXED_PAIRS = ("mismatched", "cutmix")
LOSSES = (*loss_terms.RECONSTRUCTION, "adversarial")


class AdversarialRestorer(Method):
    """Generator with weighted reconstruction losses and, if its weight is not 0, a conditional patch discriminator.

    The discriminator judges (input, candidate) pairs. Real is (input, target), fake (input, restored). Two kinds of
    mixed pairs make its task harder, each switchable: (input, target of another image) is fake, and a CutMix of target
    and restored has answers that follow the mask (Yun et al. 2019; Schönfeld et al. 2020, section 3.2).

    Args:
        steps: length of the training, for the schedules.
        generator: one of GENERATORS.
        channels, blocks: size of the generator.
        losses: weight of each term, by the names in LOSSES; 0 leaves a term out.
        learning_rate, discriminator_learning_rate: of Adam, at the top of the schedule.
        discriminator_features, discriminator_halvings: size of the discriminator.
        mixed_pairs: any of MIXED_PAIRS.
        max_grad_norm: longer gradients are shortened to this.

    Raises:
        ValueError: an unknown name, a negative weight, or none above 0.
    """

    def __init__(
        self,
        *,
        steps: int,
        generator: str = "fcn",
        channels: int = 48,
        blocks: int = 6,
        losses: dict[str, float],
        learning_rate: float = 1e-3,
        discriminator_learning_rate: float = 2e-4,
        discriminator_features: int = 16,
        discriminator_halvings: int = 2,
        mixed_pairs: Sequence[str] = MIXED_PAIRS,
        max_grad_norm: float = 0.5,
    ):
        super().__init__()
        loss_terms.check_weights(losses, LOSSES)
        check_choice("generator", generator, GENERATORS)
        check_names("mixed_pairs", mixed_pairs, MIXED_PAIRS)
        self.losses = losses
        self.mixed_pairs, self.max_grad_norm = tuple(mixed_pairs), max_grad_norm
        network = GENERATORS[generator](channels, blocks)
        self.add("generator", network, learning_rate, (0.9, 0.99), warmup_cosine(steps))
        if losses.get("adversarial"):
            network = PatchGAN(discriminator_features, discriminator_halvings)
            self.add("discriminator", network, discriminator_learning_rate, (0.5, 0.999), warmup_cosine(steps))

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        degraded, target = batch["input"], batch["target"]
        with self.autocast(degraded.device):
            restored = self.networks["generator"](degraded)
        terms = self.pair_losses(self.losses, degraded, restored, target)
        total = sum(terms.values())
        norm = self.update([total], "generator", max_grad_norm=self.max_grad_norm)
        terms = {"generator": total, **terms, "generator_gradient": norm}
        if "discriminator" in self.networks:
            terms |= self._discriminator_step(degraded, target, restored.detach())
        self.step_schedulers()
        return detached(terms)

    def _discriminator_step(self, degraded: Tensor, target: Tensor, restored: Tensor) -> dict[str, Tensor]:
        candidates: dict[str, tuple[Tensor, Tensor | float]] = {"real": (target, 1.0), "fake": (restored, 0.0)}
        if "mismatched" in self.mixed_pairs:
            if len(target) < 2:
                raise ValueError("mixed_pairs: mismatched needs a batch of two images or more; raise batch_size")
            candidates["mismatched"] = target.roll(1, dims=0), 0.0
        if "cutmix" in self.mixed_pairs:
            mask = cutmix_mask(target)
            candidates["cutmix"] = torch.where(mask, target, restored), mask
        images, wanted = zip(*candidates.values(), strict=True)
        with self.autocast(degraded.device):  # all pairs at once: no statistics are shared between images
            logits = self.networks["discriminator"](degraded.repeat(len(images), 1, 1, 1), torch.cat(images))
        answers = {}
        for kind, judged, answer in zip(candidates, logits.chunk(len(images)), wanted, strict=True):
            if isinstance(answer, Tensor):  # the share of the target in the area behind each logit
                answer = F.adaptive_avg_pool2d(answer.float(), judged.shape[-2:])
            answers[kind] = judged, answer
        options = {"weight": 1.0, "max_grad_norm": self.max_grad_norm}
        return self.update_discriminator("discriminator", answers, loss_terms.bce, **options)

    def restore(self, images: Tensor) -> Tensor:
        return self.apply(self.networks["generator"], images).float().clamp(0, 1)


def cutmix_mask(images: Tensor) -> Tensor:
    """One box for the batch, (1, 1, H, W) bool: True inside; its area a uniform share of the image's."""
    height, width = images.shape[-2:]
    side = torch.rand(()).sqrt().item()
    h, w = max(1, round(side * height)), max(1, round(side * width))
    top = int(torch.randint(height - h + 1, ()))
    left = int(torch.randint(width - w + 1, ()))
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[..., top : top + h, left : left + w] = True
    return mask.to(images.device)
