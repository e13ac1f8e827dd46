"""Translation between two domains of which no pairs are known (CycleGAN, Zhu et al. 2017)."""

from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from restoration_lib import losses as loss_terms
from restoration_lib.checks import check, check_choice
from restoration_lib.methods.base import Method, constant_then_linear, detached
from restoration_lib.networks.discriminators import OldPhotoDiscriminator, PatchGAN
from restoration_lib.networks.layers import NORMS
from restoration_lib.networks.resnet import OldPhotoGenerator, ResnetGenerator

GENERATORS = {"old_photo": OldPhotoGenerator, "resnet": ResnetGenerator}
LOSSES = ("adversarial", "cycle", "identity", "pairs")


@lru_cache
def box_blur(size: int, side: int) -> Tensor:
    """Matrix (size, size) that blurs rows by a box, twice; at the borders the box covers what there is."""
    box = F.avg_pool1d(torch.eye(size), side, stride=1, padding=side // 2, count_include_pad=False).T
    return box @ box


class ImagePool:
    """A history of generated images, lest a discriminator forget (Shrivastava et al. 2017, section 2.3)."""

    def __init__(self, size: int):
        self.size = size
        self.images: list[Tensor] = []

    def swap(self, images: Tensor) -> Tensor:
        """Take the images in; half of the time, and only once the pool is full, an old one comes back instead."""
        out = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())  # not a view of its whole batch
            elif self.size and torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                image, self.images[place] = self.images[place], image.clone()
            out.append(image)
        return torch.stack(out)

    def state_dict(self) -> dict:
        return {"images": [image.cpu() for image in self.images]}

    def load_state_dict(self, state: dict) -> None:
        self.images = list(state["images"])


class CycleGAN(Method):
    """Two generators, two discriminators. Generator A makes images of domain A, B of B; `restore` is generator B.

    The objective of the generators, with images in [-1, 1] as in the paper, so that its weights mean what they mean
    there: "adversarial" times least squares on the discriminators' logits, "cycle" times the L1 of the round trips,
    "identity" times the L1 between an image of its own domain and what its generator makes of it. "pairs" is no part of
    a CycleGAN, it shows what doing without pairs costs: that times the L1 between what generator B makes of the images
    of A and their originals, "original" of the batch. Without a weight of "adversarial" or "cycle" there are no
    discriminators.

    Generators in training circle around where they should be: running means of their weights translate and restore
    (Karras et al. 2018, section 4; Yazıcı et al. 2019).

    Args:
        steps: length of the training: the learning rates are constant for half of it, then fall linearly to 0.
        architecture: "old_photo", the old-photo project's networks, or "resnet", those of the paper, with a 70 x 70
            patch discriminator.
        features: channels of the first layer of all networks.
        blocks: residual blocks of the generators.
        upsampling, norm, output: of the generators, see `networks.resnet`.
        losses: weight of each of LOSSES.
        discriminator_norm: of the old-photo discriminators: "batch", "instance" or "none"; the others have instance.
        discriminator_blur: side in pixels, odd, of a box that blurs the discriminators' images, twice; 1 leaves them
            sharp. Dust and grain give an aged image away at once; blurred, it is judged by its colours and
            contrast (as by the colour discriminator of WESPE, Ignatov et al. 2018, section 3).
        ema_decay: decay of the running mean of the generators' weights; 0 takes the weights as they are.
        learning_rate, discriminator_learning_rate: of Adam, betas (0.5, 0.999).
        pool_size: generated images kept for each discriminator.

    Raises:
        ValueError: an unknown name, a negative weight, or a number out of its range.
    """

    def __init__(
        self,
        *,
        steps: int,
        architecture: str = "old_photo",
        features: int = 64,
        blocks: int = 6,
        upsampling: str = "transposed",
        norm: str = "instance",
        output: str = "tanh",
        losses: dict[str, float],
        discriminator_norm: str = "batch",
        discriminator_blur: int = 1,
        ema_decay: float = 0.99,
        learning_rate: float = 2e-4,
        discriminator_learning_rate: float = 2e-4,
        pool_size: int = 50,
    ):
        super().__init__()
        check_choice("architecture", architecture, GENERATORS)
        check_choice("discriminator_norm", discriminator_norm, NORMS)
        loss_terms.check_weights(losses, LOSSES)
        check("pool_size", pool_size, 0)
        check("discriminator_blur", discriminator_blur, 1, odd=True)
        self.losses = dict.fromkeys(LOSSES, 0.0) | losses
        self.discriminator_blur, schedule, betas = discriminator_blur, constant_then_linear(steps), (0.5, 0.999)
        for domain in ("a", "b"):
            network = GENERATORS[architecture](features, blocks, upsampling, norm, output)
            self.add(f"generator_{domain}", network, learning_rate, betas, schedule)
        for domain in ("a", "b"):
            self.add_average(f"average_{domain}", f"generator_{domain}", ema_decay)
        if self.losses["adversarial"] or self.losses["cycle"]:
            for domain in ("a", "b"):
                if architecture == "old_photo":
                    network = OldPhotoDiscriminator(features, discriminator_norm)
                else:
                    network = PatchGAN(features, halvings=3, images=1)
                self.add(f"discriminator_{domain}", network, discriminator_learning_rate, betas, schedule)
                self.parts[f"pool_{domain}"] = ImagePool(pool_size)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        fakes: dict[str, Tensor] = {}
        norm = self.update(self._generator_losses(batch, terms, fakes), "generator_a", "generator_b")
        terms = {"generator": sum(terms.values()), **terms, "generator_gradient": norm}
        for domain, fake in fakes.items():
            shown = self.parts[f"pool_{domain}"].swap(fake)
            real, fake = [self._blurred(batch[domain])], [self._blurred(shown)]
            terms |= self.step_discriminator(f"discriminator_{domain}", real, fake, loss_terms.least_squares)
        if fakes:
            terms["discriminator"] = terms["discriminator_a"] + terms["discriminator_b"]
        self.step_schedulers()
        for domain in ("a", "b"):
            self.networks[f"average_{domain}"].update_parameters(self.networks[f"generator_{domain}"])
        return detached(terms)

    def _generator_losses(self, batch: dict[str, Tensor], terms: dict, fakes: dict) -> Iterator[Tensor]:
        """The generators' loss in parts, for `update`; fills in `terms` and `fakes`. With A and B exchanged:

        real_a -> generator B -> fake_b -> generator A -> round_trip_a, and real_a -> generator A -> identity_a.
        """
        for domain, other in (("a", "b"), ("b", "a")):
            real, generator, back = batch[domain], *(self.networks[f"generator_{d}"] for d in (other, domain))
            if f"discriminator_{other}" in self.networks:
                with self.autocast(real.device):
                    fake = generator(real)
                    round_trip = back(fake)
                logits = self.judge(f"discriminator_{other}", self._blurred(fake))
                fakes[other] = fake.detach()
                adversarial = self.losses["adversarial"] * loss_terms.least_squares(logits, 1.0)
                cycle = self.losses["cycle"] * 2 * loss_terms.l1(round_trip, real)  # twice: as of images in [-1, 1]
                terms |= {f"adversarial_{other}": adversarial, f"cycle_{domain}": cycle}
                yield adversarial + cycle
            if self.losses["identity"]:
                with self.autocast(real.device):
                    identity = back(real)
                terms[f"identity_{domain}"] = self.losses["identity"] * 2 * loss_terms.l1(identity, real)
                yield terms[f"identity_{domain}"]
        if self.losses["pairs"]:
            with self.autocast(batch["a"].device):
                restored = self.networks["generator_b"](batch["a"])
            terms["pairs"] = self.losses["pairs"] * 2 * loss_terms.l1(restored, batch["original"])
            yield terms["pairs"]

    def _blurred(self, images: Tensor) -> Tensor:
        """What the discriminators see."""
        if self.discriminator_blur == 1:
            return images
        rows, columns = (box_blur(size, self.discriminator_blur).to(images) for size in images.shape[-2:])
        return rows @ images @ columns.T

    def translate(self, images: Tensor, domain: str) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] as images of `domain`, "a" or "b"."""
        return self.apply(self.networks[f"average_{domain}"], images).clamp(0, 1)

    def restore(self, images: Tensor) -> Tensor:
        return self.translate(images, "b")

    def paths(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """The eight images of a step, of images (N, 3, H, W) of each domain, `real_a`, `fake_b`, `round_trip_a`,
        `identity_a`, …; a name is that of the domain that the image should belong to."""
        images = {}
        for real, domain, other in ((a, "a", "b"), (b, "b", "a")):
            images[f"real_{domain}"] = real
            images[f"fake_{other}"] = self.translate(real, other)
            images[f"round_trip_{domain}"] = self.translate(images[f"fake_{other}"], domain)
            images[f"identity_{domain}"] = self.translate(real, domain)
        return images
