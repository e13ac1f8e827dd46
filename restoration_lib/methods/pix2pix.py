"""Removal of local damage, learned on pairs (Pix2Pix, Isola et al. 2017)."""

from functools import partial

from torch import Tensor

from restoration_lib import losses as loss_terms
from restoration_lib.checks import check_choice
from restoration_lib.degradations.scratches import VISIBLE, damage_mask
from restoration_lib.methods.base import Method, constant_then_linear, detached, warmup_cosine
from restoration_lib.networks.discriminators import PatchGAN
from restoration_lib.networks.refined import RefinedGenerator
from restoration_lib.networks.unet import UNet

GENERATORS = ("unet", "refined")
LOSSES = (*loss_terms.RECONSTRUCTION, "adversarial")
DISCRIMINATOR_RATE = 2e-4  # as in the paper
MAX_GRAD_NORM = {"finder": 1.0, "painter": 100.0}  # about the usual one of each


class Pix2Pix(Method):
    """A generator, "unet" or "refined", and a patch discriminator that judges (input, candidate) pairs.

    The generator minimises the weighted sum of the binary cross-entropy of the discriminator's logits against "real",
    the L1 distance to the target (of images in [-1, 1], as in the paper), and whatever other terms have a weight. In
    the refined one only the painter does; the finder learns where the damage is, by the binary cross-entropy of its
    mask plus half its Dice loss: damage is rare, and by the cross-entropy alone the faint one is left out. Neither has
    norm layers, and a spike could undo the training, so their gradients are clipped, each apart.

    Args:
        steps: length of the training: the learning rates are constant for half of it, then fall linearly to 0; that of
            the refined generator rises for a moment, then falls half a cosine to 0.
        generator: "unet" or "refined", see `networks`.
        features, depth: size of the generator. A depth of 0 takes a U-Net down to a single pixel of the crop, by 8
            halvings at most, as in the paper; the refined one halves three times, for what it looks at is small.
        crop: px, side of the training crops.
        losses: weight of each term, by the names in LOSSES; the L1 has 100 in the paper, 10 in the original project.
        least_damage: grey levels by which input and target differ where the input is damaged. What was drawn differs by
            more than the default; the two of a pair that were compressed apart need a higher one, say 24.
        learning_rate: of the generator's Adam, betas (0.5, 0.999); the discriminator has DISCRIMINATOR_RATE.
        discriminator_features: size of the discriminator, which judges patches of 70 px.

    Raises:
        ValueError: an unknown name, or a negative weight.
    """

    def __init__(
        self,
        *,
        steps: int,
        generator: str = "refined",
        features: int = 16,
        depth: int = 0,
        crop: int = 256,
        losses: dict[str, float],
        least_damage: int = VISIBLE,
        learning_rate: float = 2e-4,
        discriminator_features: int = 64,
    ):
        super().__init__()
        loss_terms.check_weights(losses, LOSSES)
        check_choice("generator", generator, GENERATORS)
        self.losses = losses | {"l1": 2 * losses.get("l1", 0.0)}  # twice: as of images in [-1, 1]
        # damaged images and targets (N, 3, H, W) to the true mask (N, 1, H, W), bool
        self.mask = partial(damage_mask, least_damage=least_damage)
        if generator == "unet":
            self.generator = UNet(features, depth or min(8, crop.bit_length() - 1))
            networks, schedule = {"generator": self.generator}, constant_then_linear(steps)
        else:
            self.generator = RefinedGenerator(features, depth or 3)
            networks = {"finder": self.generator.finder, "painter": self.generator.painter}
            schedule = warmup_cosine(steps)
        for name, network in networks.items():
            self.add(name, network, learning_rate, (0.5, 0.999), schedule)
        if losses.get("adversarial"):
            network = PatchGAN(discriminator_features, halvings=3)
            self.add("discriminator", network, DISCRIMINATOR_RATE, (0.5, 0.999), constant_then_linear(steps))

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        damaged, target = batch["input"], batch["target"]
        with self.autocast(damaged.device):
            restored, damage = self.generator(damaged)
        terms = self.pair_losses(self.losses, damaged, restored, target)
        total = sum(terms.values())
        terms["generator"] = total
        if damage is None:
            terms["generator_gradient"] = self.update([total], "generator")
        else:
            mask = self.mask(damaged, target)
            terms["mask"] = loss_terms.bce(damage, mask) + loss_terms.dice(damage, mask) / 2
            for name, loss in {"painter": total, "finder": terms["mask"]}.items():
                terms[f"{name}_gradient"] = self.update([loss], name, max_grad_norm=MAX_GRAD_NORM[name])
        if "discriminator" in self.networks:
            real, fake = (damaged, target), (damaged, restored.detach())
            terms |= self.step_discriminator("discriminator", real, fake, loss_terms.bce)
        self.step_schedulers()
        return detached(terms)

    def restore(self, images: Tensor) -> Tensor:
        return self.paint(images)[0]

    def paint(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Restored images in [0, 1], and the mask (N, 1, H, W), bool, of the damage found; None from a U-Net."""
        restored, damage = self.apply(self.generator, images)
        return restored.clamp(0, 1), None if damage is None else damage > 0
