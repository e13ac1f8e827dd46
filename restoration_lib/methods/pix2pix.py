"""S2: removal of local damage, learned on pairs (Pix2Pix, Isola et al. 2017)."""

import torch
from torch import Tensor

from restoration_lib import losses
from restoration_lib.degradations.damage import VISIBLE, damage_mask
from restoration_lib.methods.base import Method, constant_then_linear, warmup_cosine
from restoration_lib.networks.discriminators import PatchGAN
from restoration_lib.networks.unet import RefinedGenerator, UNet
from restoration_lib.networks.vgg import VGG
from restoration_lib.weights import vgg16

GENERATORS = ("unet", "refined")
CLIP = {"finder": 1.0, "painter": 100.0}  # largest norm of the gradient, about the usual one


class Pix2Pix(Method):
    """A generator, "unet" or "refined", and a patch discriminator that judges (input, candidate) pairs.

    The generator minimises the binary cross-entropy of the discriminator's verdict against "real", the L1 distance to
    the truth times `l1_weight` (of pictures in [-1, 1], as in the paper), and whatever other terms have a weight. In
    the refined one only the painter does; the finder learns where the damage is, by the binary cross-entropy of its
    mask plus half its Dice loss: damage is rare, and by the cross-entropy alone the faint one is left out. Neither has
    norm layers, and a spike could undo the training, so their gradients are clipped, each apart.

    Args:
        steps: length of the training: the learning rates are constant for half of it, then fall linearly to 0; that of
            the refined generator rises for a moment, then falls half a cosine to 0.
        generator: "unet" or "refined", see `networks.unet`.
        features, depth: size of the generator; `depth_for` gives the depth for a size of pictures.
        dropout, upsampling: of the U-Net.
        l1_weight: 100 in the paper, 10 in S2's origin.
        ms_ssim_weight: of 1 - MS-SSIM.
        perceptual_weight: of the differences of VGG-16's feature maps; its weights are fetched at the first use.
        adversarial_weight: of the discriminator's verdict; 0 trains without one.
        least_damage: grey levels by which input and truth differ where the input is damaged. What was drawn differs by
            more than the default; the two of a pair that were compressed apart need a higher one.
        learning_rate, discriminator_learning_rate: of Adam, betas (0.5, 0.999).
        discriminator_features, discriminator_halvings: size of the discriminator; 3 halvings judge patches of 70 px.

    Raises:
        ValueError: an unknown name, or a negative weight.
    """

    def __init__(
        self,
        steps: int,
        generator: str = "refined",
        features: int = 16,
        depth: int = 4,
        dropout: float = 0.5,
        upsampling: str = "transposed",
        l1_weight: float = 100.0,
        ms_ssim_weight: float = 0.0,
        perceptual_weight: float = 0.0,
        adversarial_weight: float = 1.0,
        least_damage: int = VISIBLE,
        learning_rate: float = 2e-4,
        discriminator_learning_rate: float = 2e-4,
        discriminator_features: int = 64,
        discriminator_halvings: int = 3,
    ):
        super().__init__()
        weights = {"l1": l1_weight, "ms_ssim": ms_ssim_weight}
        others = {"perceptual": perceptual_weight, "adversarial": adversarial_weight}
        for name, weight in {**weights, **others}.items():
            if weight < 0:
                raise ValueError(f"{name}_weight: expected 0 or more, got {weight}")
        if not any((*weights.values(), perceptual_weight, adversarial_weight)):
            raise ValueError(
                "every weight of the picture is 0: give at least one of l1_weight, ms_ssim_weight, … above 0"
            )
        if generator not in GENERATORS:
            raise ValueError(f"generator: expected one of {', '.join(GENERATORS)}, got {generator!r}")
        self.weights = weights | {"l1": 2 * l1_weight}  # twice: as of pictures in [-1, 1]
        self.adversarial_weight, self.least_damage = adversarial_weight, least_damage
        self.perceptual_weight, self.vgg = perceptual_weight, VGG(vgg16()) if perceptual_weight else None
        if generator == "unet":
            self.generator = UNet(features, depth, dropout, upsampling)
            networks, schedule = {"generator": self.generator}, constant_then_linear(steps)
        else:
            self.generator = RefinedGenerator(features, depth)
            networks = {"finder": self.generator.finder, "painter": self.generator.painter}
            schedule = warmup_cosine(steps)
        for name, network in networks.items():
            self.add(name, network, learning_rate, (0.5, 0.999), schedule)
        if adversarial_weight:
            discriminator = PatchGAN(discriminator_features, discriminator_halvings)
            rate = discriminator_learning_rate
            self.add("discriminator", discriminator, rate, (0.5, 0.999), constant_then_linear(steps))

    def to(self, device: torch.device) -> "Pix2Pix":
        if self.vgg:
            self.vgg.to(device, memory_format=torch.channels_last)
        super().to(device)
        return self

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        damaged, truth = batch["input"], batch["target"]
        with self.autocast(damaged.device):
            restored, damage = self.generator(damaged)
        terms = self._picture_terms(damaged, restored, truth)
        total = sum(terms.values())
        terms["generator"] = total
        if damage is None:
            terms["generator_gradient"] = self.update([total], "generator")
        else:
            mask = self.mask(damaged, truth)
            terms["mask"] = losses.bce(damage, mask) + losses.dice(damage, mask) / 2
            for name, loss in {"painter": total, "finder": terms["mask"]}.items():
                terms[f"{name}_gradient"] = self.update([loss], name, clip=CLIP[name])
        if self.adversarial_weight:
            terms |= self._discriminator_step(damaged, truth, restored.detach())
        for scheduler in self.schedulers.values():
            scheduler.step()
        return {name: term.detach() for name, term in terms.items()}

    def _picture_terms(self, damaged: Tensor, restored: Tensor, truth: Tensor) -> dict[str, Tensor]:
        terms = losses.weighted(self.weights, restored, truth)
        if self.perceptual_weight:
            with self.autocast(damaged.device):
                terms["perceptual"] = self.perceptual_weight * losses.perceptual(self.vgg, restored, truth)
        if self.adversarial_weight:
            discriminator = self.networks["discriminator"].requires_grad_(False)
            with self.autocast(damaged.device):
                verdict = discriminator(damaged, restored)
            discriminator.requires_grad_(True)
            terms["adversarial"] = self.adversarial_weight * losses.bce(verdict, 1.0)
        return terms

    def mask(self, damaged: Tensor, truth: Tensor) -> Tensor:
        """The true mask (N, 1, H, W), bool."""
        return damage_mask(damaged, truth, self.least_damage)

    def _discriminator_step(self, damaged: Tensor, truth: Tensor, restored: Tensor) -> dict[str, Tensor]:
        with self.autocast(damaged.device):
            verdicts = [self.networks["discriminator"](damaged, candidate) for candidate in (truth, restored)]
        terms = {
            "discriminator_real": losses.bce(verdicts[0], 1.0) / 2,
            "discriminator_fake": losses.bce(verdicts[1], 0.0) / 2,
        }
        total = sum(terms.values())
        norm = self.update([total], "discriminator")
        return {"discriminator": total, **terms, "discriminator_gradient": norm}

    @torch.no_grad()
    def restore(self, pictures: Tensor) -> Tensor:
        return self.paint(pictures)[0]

    @torch.no_grad()
    def paint(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """Restored pictures in [0, 1], and the mask (N, 1, H, W), bool, of the damage found; None from a U-Net."""
        with self.autocast(pictures.device):
            restored, damage = self.generator.eval()(pictures)
        return restored.clamp(0, 1), None if damage is None else damage > 0


def depth_for(generator: str, side: int) -> int:
    """How often a generator should halve crops of `side` px.

    A U-Net down to a single pixel, but 8 times at most, as in the paper; the refined one three times, for what it
    looks at is a few pixels wide.
    """
    return min(8, side.bit_length() - 1) if generator == "unet" else 3
