"""S1: a restorer trained on pairs, with or without a discriminator."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from restoration_lib import losses
from restoration_lib.methods.base import Method, warmup_cosine
from restoration_lib.networks.discriminators import PatchGAN
from restoration_lib.networks.generators import build_generator

MIXED_PAIRS = ("mismatched", "cutmix")


class AdversarialRestorer(Method):
    """Generator with weighted reconstruction losses and, if its weight is not 0, a conditional patch discriminator.

    The discriminator judges (input, candidate) pairs. Real is (input, truth), fake (input, reconstruction). Two
    kinds of mixed pairs make its task harder, each switchable: (input, truth of another picture) is fake, and a CutMix
    of truth and reconstruction has targets that follow the mask (Yun et al. 2019; Schönfeld et al. 2020, section 3.2).

    Args:
        steps: length of the training, for the schedules.
        generator: "fcn" or "picker".
        channels, blocks: size of the generator.
        l1_weight, ms_ssim_weight, cosine_weight, adversarial_weight: weights of the terms; 0 leaves a term out.
        adversarial_loss: "bce" or "least_squares".
        learning_rate, discriminator_learning_rate: of Adam, at the top of the schedule.
        discriminator_features, discriminator_halvings: size of the discriminator.
        mixed_pairs: any of MIXED_PAIRS.
        clip: largest gradient norm.

    Raises:
        ValueError: an unknown name, or no weight above 0.
    """

    def __init__(
        self,
        steps: int,
        generator: str = "fcn",
        channels: int = 48,
        blocks: int = 6,
        l1_weight: float = 1.0,
        ms_ssim_weight: float = 0.0,
        cosine_weight: float = 0.0,
        adversarial_weight: float = 0.0,
        adversarial_loss: str = "bce",
        learning_rate: float = 1e-3,
        discriminator_learning_rate: float = 2e-4,
        discriminator_features: int = 16,
        discriminator_halvings: int = 2,
        mixed_pairs: Sequence[str] = MIXED_PAIRS,
        clip: float = 0.5,
    ):
        super().__init__()
        self.weights = {"l1": l1_weight, "ms_ssim": ms_ssim_weight, "cosine": cosine_weight}
        self.adversarial_weight = adversarial_weight
        for name, weight in {**self.weights, "adversarial": adversarial_weight}.items():
            if weight < 0:
                raise ValueError(f"{name}_weight: expected 0 or more, got {weight}")
        if not any(self.weights.values()) and not adversarial_weight:
            raise ValueError("every loss weight is 0: give at least one of l1_weight, ms_ssim_weight, … above 0")
        if adversarial_loss not in losses.ADVERSARIAL:
            names = ", ".join(losses.ADVERSARIAL)
            raise ValueError(f"adversarial_loss: expected one of {names}, got {adversarial_loss!r}")
        self.adversarial_loss = losses.ADVERSARIAL[adversarial_loss]
        if unknown := set(mixed_pairs) - set(MIXED_PAIRS):
            raise ValueError(f"mixed_pairs: expected any of {', '.join(MIXED_PAIRS)}, got {sorted(unknown)}")
        self.mixed_pairs, self.clip = tuple(mixed_pairs), clip

        self.add(
            "generator", build_generator(generator, channels, blocks), learning_rate, (0.9, 0.99), warmup_cosine(steps)
        )
        if adversarial_weight:
            discriminator = PatchGAN(discriminator_features, discriminator_halvings)
            schedule = warmup_cosine(steps)
            self.add("discriminator", discriminator, discriminator_learning_rate, (0.5, 0.999), schedule)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        observed, truth = batch["input"], batch["target"]
        with self.autocast(observed.device):
            restored = self.networks["generator"](observed)
        terms = self._generator_step(observed, truth, restored)
        if self.adversarial_weight:
            terms |= self._discriminator_step(observed, truth, restored.detach())
        for scheduler in self.schedulers.values():
            scheduler.step()
        return {name: term.detach() for name, term in terms.items()}

    def _generator_step(self, observed: Tensor, truth: Tensor, restored: Tensor) -> dict[str, Tensor]:
        terms = losses.weighted(self.weights, restored, truth)
        if self.adversarial_weight:
            discriminator = self.networks["discriminator"].requires_grad_(False)
            with self.autocast(observed.device):
                verdict = discriminator(observed, restored)
            terms["adversarial"] = self.adversarial_weight * self.adversarial_loss(verdict, 1.0)
            discriminator.requires_grad_(True)
        total = sum(terms.values())
        norm = self.update([total], "generator", clip=self.clip)
        return {"generator": total, **terms, "generator_gradient": norm}

    def _discriminator_step(self, observed: Tensor, truth: Tensor, restored: Tensor) -> dict[str, Tensor]:
        discriminator = self.networks["discriminator"]
        pairs = [("real", truth, 1.0), ("fake", restored, 0.0)]
        if "mismatched" in self.mixed_pairs:
            if len(truth) < 2:
                raise ValueError("mixed_pairs: mismatched needs a batch of two pictures or more; raise batch_size")
            pairs.append(("mismatched", truth.roll(1, dims=0), 0.0))
        if "cutmix" in self.mixed_pairs:
            mask = cutmix_mask(truth)
            pairs.append(("cutmix", torch.where(mask, truth, restored), mask))
        names, candidates, answers = zip(*pairs, strict=True)
        with self.autocast(observed.device):  # all pairs at once: no statistics are shared between pictures
            verdicts = discriminator(observed.repeat(len(pairs), 1, 1, 1), torch.cat(candidates)).chunk(len(pairs))
        terms = {}
        for name, verdict, answer in zip(names, verdicts, answers, strict=True):
            if isinstance(answer, Tensor):  # the share of truth in the area behind each logit
                answer = F.adaptive_avg_pool2d(answer.float(), verdict.shape[-2:])
            terms[f"discriminator_{name}"] = self.adversarial_loss(verdict, answer)
        total = terms["discriminator_real"] + sum(list(terms.values())[1:]) / (len(terms) - 1)
        norm = self.update([total], "discriminator", clip=self.clip)
        return {"discriminator": total, **terms, "discriminator_gradient": norm}

    @torch.no_grad()
    def restore(self, pictures: Tensor) -> Tensor:
        generator = self.networks["generator"].eval()
        with self.autocast(pictures.device):
            return generator(pictures).float().clamp(0, 1)


def cutmix_mask(pictures: Tensor) -> Tensor:
    """One box for the batch, (1, 1, H, W) bool: True inside; its area a uniform share of the picture's."""
    height, width = pictures.shape[-2:]
    side = torch.rand(()).sqrt().item()
    h, w = max(1, round(side * height)), max(1, round(side * width))
    top = int(torch.randint(height - h + 1, ()))
    left = int(torch.randint(width - w + 1, ()))
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[..., top : top + h, left : left + w] = True
    return mask.to(pictures.device)
