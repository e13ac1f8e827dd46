"""S4: super-resolution, first by the mean squared error, then perceptual and adversarial (SRGAN, Ledig et al. 2017)."""

import copy

import torch
from torch import Tensor

from restoration_lib import losses
from restoration_lib.methods.base import Method, Schedule, warmup_cosine
from restoration_lib.networks.srgan import SRDiscriminator, SRResNet
from restoration_lib.networks.vgg import VGG


class Plan:
    """The stages of a training and its judge: one that was stopped goes on with the same, or not at all."""

    def __init__(self, **plan: int | str):
        self.plan = plan

    def state_dict(self) -> dict:
        return self.plan

    def load_state_dict(self, state: dict) -> None:
        if state != self.plan:
            raise ValueError(f"the training was begun with {state}, not {self.plan}")


class SRGAN(Method):
    """A generator that learns in two stages within one training.

    The first minimises the mean squared error, of pictures in [-1, 1]. The second minimises the content loss, the mean
    squared difference of VGG's deepest maps, plus `adversarial_weight` times the cross-entropy of the discriminator's
    verdict against "real"; the discriminator learns in that stage alone. The network "pretrained" is the generator as
    the first stage left it.

    Args:
        pretraining_steps, adversarial_steps: length of the two stages; 0 leaves one out.
        scale, features, blocks, norm, residual: of the generator, see `networks.srgan`.
        vgg: the judge of the content, `networks.vgg.VGG`, needed where there is a second stage.
        adversarial_weight: 1e-3 in the paper; 0 leaves the content loss alone.
        learning_rate: of the first stage, Adam, betas (0.9, 0.999); up for a moment, then down half a cosine.
        adversarial_learning_rate: of both networks in the second stage; a tenth for its second half, as in the paper.
        discriminator_features: size of the discriminator.

    Raises:
        ValueError: a length or weight below 0, a learning rate that is not above 0, no steps at all, or another scale
            than 2 or 4.
    """

    def __init__(
        self,
        pretraining_steps: int,
        adversarial_steps: int,
        scale: int = 4,
        features: int = 64,
        blocks: int = 16,
        norm: bool = True,
        residual: bool = False,
        vgg: VGG | None = None,
        adversarial_weight: float = 1e-3,
        learning_rate: float = 1e-4,
        adversarial_learning_rate: float = 1e-4,
        discriminator_features: int = 64,
    ):
        super().__init__()
        lengths = {"pretraining_steps": pretraining_steps, "adversarial_steps": adversarial_steps}
        for name, value in {**lengths, "adversarial_weight": adversarial_weight}.items():
            if value < 0:
                raise ValueError(f"{name}: expected 0 or more, got {value}")
        rates = {"learning_rate": learning_rate, "adversarial_learning_rate": adversarial_learning_rate}
        for name, value in rates.items():
            if value <= 0:
                raise ValueError(f"{name}: expected a number above 0, got {value}")
        if not any(lengths.values()):
            raise ValueError("pretraining_steps, adversarial_steps: both are 0, there is nothing to train")
        if adversarial_steps and not vgg:
            raise ValueError("vgg: the second stage needs a network to judge the content")
        self.pretraining_steps, self.adversarial_weight, self.vgg = pretraining_steps, adversarial_weight, vgg
        self.parts["plan"] = Plan(**lengths, vgg=vgg.name if vgg else "none")
        network = SRResNet(scale, features, blocks, norm, residual)
        schedule = two_stages(pretraining_steps, adversarial_steps, adversarial_learning_rate / learning_rate)
        self.add("generator", network, learning_rate, (0.9, 0.999), schedule)
        if pretraining_steps:
            self.networks["pretrained"] = copy.deepcopy(network).requires_grad_(False)
        if adversarial_steps and adversarial_weight:
            discriminator = SRDiscriminator(discriminator_features)
            schedule = two_stages(0, adversarial_steps, 1.0)  # its own steps begin with the second stage
            self.add("discriminator", discriminator, adversarial_learning_rate, (0.9, 0.999), schedule)

    def to(self, device: torch.device) -> "SRGAN":
        if self.vgg:
            self.vgg.to(device, memory_format=torch.channels_last)
        super().to(device)
        return self

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        done = self.schedulers["generator"].last_epoch
        stage = self._pretraining_step if done < self.pretraining_steps else self._adversarial_step
        terms = stage(batch["input"], batch["target"])
        self.schedulers["generator"].step()
        if done + 1 == self.pretraining_steps:
            self.networks["pretrained"].load_state_dict(self.networks["generator"].state_dict())
        return {name: term.detach() for name, term in terms.items()}

    def _pretraining_step(self, small: Tensor, truth: Tensor) -> dict[str, Tensor]:
        with self.autocast(small.device):
            large = self.networks["generator"](small)
        mse = 4 * losses.mse(large, truth)  # 4 times: as of pictures in [-1, 1]
        return {"generator": mse, "mse": mse, "generator_gradient": self.update([mse], "generator")}

    def _adversarial_step(self, small: Tensor, truth: Tensor) -> dict[str, Tensor]:
        with self.autocast(small.device):
            large = self.networks["generator"](small)
            terms = {"content": losses.content(self.vgg, large, truth)}
        if not self.adversarial_weight:
            total = terms["content"]
            return {"generator": total, **terms, "generator_gradient": self.update([total], "generator")}
        discriminator = self.networks["discriminator"].requires_grad_(False)
        with self.autocast(small.device):
            verdict = discriminator(large)
        discriminator.requires_grad_(True)
        terms["adversarial"] = self.adversarial_weight * losses.bce(verdict, 1.0)
        total = sum(terms.values())
        terms = {"generator": total, **terms, "generator_gradient": self.update([total], "generator")}
        return terms | self._discriminator_step(truth, large.detach())

    def _discriminator_step(self, truth: Tensor, large: Tensor) -> dict[str, Tensor]:
        with self.autocast(truth.device):
            verdicts = [self.networks["discriminator"](pictures) for pictures in (truth, large)]
        terms = {
            "discriminator_real": losses.bce(verdicts[0], 1.0) / 2,
            "discriminator_fake": losses.bce(verdicts[1], 0.0) / 2,
        }
        total = sum(terms.values())
        norm = self.update([total], "discriminator")
        self.schedulers["discriminator"].step()
        return {"discriminator": total, **terms, "discriminator_gradient": norm}

    @torch.no_grad()
    def restore(self, pictures: Tensor, network: str = "generator") -> Tensor:
        """Pictures (N, 3, scale H, scale W) in [0, 1], by the generator or by the "pretrained" one."""
        generator = self.networks[network].eval()
        with self.autocast(pictures.device):
            return generator(pictures).clamp(0, 1)


def two_stages(pretraining_steps: int, adversarial_steps: int, second: float) -> Schedule:
    """`warmup_cosine` over the first stage; `second` in the other one, and a tenth of it for its second half."""
    first = warmup_cosine(pretraining_steps)

    def factor(step: int) -> float:
        if step < pretraining_steps:
            return first(step)
        return second if step - pretraining_steps < adversarial_steps / 2 else second / 10

    return factor
