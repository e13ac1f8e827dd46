"""Super-resolution, first by the mean squared error, then perceptual and adversarial (SRGAN, Ledig et al. 2017)."""

import copy
from functools import partial

from torch import Tensor

from restoration_lib import losses as loss_terms
from restoration_lib.checks import check, check_choice
from restoration_lib.methods.base import Method, Schedule, detached, warmup_cosine
from restoration_lib.networks.discriminators import SRDiscriminator
from restoration_lib.networks.srresnet import SRResNet
from restoration_lib.networks.vgg import VGG

LOSSES = ("content", "adversarial")
PLAN = "parts.plan"  # in a state: the stages of a training, its judge and the block that judges


class SRGAN(Method):
    """A generator that learns in two stages within one training.

    The first minimises the mean squared error, of images in [-1, 1]. The second minimises the content loss, the mean
    squared difference of the maps of one block of VGG, and the cross-entropy of the discriminator's logits against
    "real"; the discriminator learns in that stage alone. The network "pretrained" is the generator as the first stage
    left it.

    Args:
        pretraining_steps, adversarial_steps: length of the two stages; 0 leaves one out.
        scale, features, blocks, norm, residual: of the generator, see `networks.srresnet`.
        vgg: the judge of the content, `networks.vgg.VGG`, needed where there is a second stage.
        content_depth: the block, 1 to 5, after whose last ReLU the maps are taken; of VGG-19, 2 gives the paper's VGG22
            and 5 its VGG54. Differences in earlier blocks can be larger, and count for more at the same weight.
        losses: weight of each of LOSSES in the second stage, where there is one; 1 and 1e-3 in the paper, 0 leaves one
            out.
        learning_rate: of the first stage, Adam, betas (0.9, 0.999); up for a moment, then down half a cosine.
        adversarial_learning_rate: of both networks in the second stage; a tenth for its second half, as in the paper.
        discriminator_features: size of the discriminator.

    Raises:
        ValueError: a length or weight below 0, a learning rate that is not above 0, no steps at all, another scale
            than 2 or 4, or another block than 1 to 5.
    """

    def __init__(
        self,
        *,
        pretraining_steps: int,
        adversarial_steps: int,
        scale: int = 4,
        features: int = 64,
        blocks: int = 16,
        norm: str = "batch",
        residual: bool = False,
        vgg: VGG | None = None,
        content_depth: int = 5,
        losses: dict[str, float],
        learning_rate: float = 1e-4,
        adversarial_learning_rate: float = 1e-4,
        discriminator_features: int = 64,
    ):
        super().__init__()
        check("pretraining_steps", pretraining_steps, 0)
        check("adversarial_steps", adversarial_steps, 0)
        if losses or adversarial_steps:
            loss_terms.check_weights(losses, LOSSES)
        check_choice("content_depth", content_depth, range(1, 6))
        check("learning_rate", learning_rate, above=0)
        check("adversarial_learning_rate", adversarial_learning_rate, above=0)
        if not pretraining_steps and not adversarial_steps:
            raise ValueError("pretraining_steps, adversarial_steps: both are 0, there is nothing to train")
        if adversarial_steps and not vgg:
            raise ValueError("vgg: the second stage needs a network to judge the content")
        self.pretraining_steps, self.losses = pretraining_steps, dict.fromkeys(LOSSES, 0.0) | losses
        self.content_depth = content_depth
        if vgg:
            self.frozen["vgg"] = vgg
        self.plan = {"pretraining_steps": pretraining_steps, "adversarial_steps": adversarial_steps}
        self.plan |= {"vgg": vgg.name if vgg else "none", "content_depth": content_depth}
        network = SRResNet(scale, features, blocks, norm, residual)
        schedule = two_stages(pretraining_steps, adversarial_steps, adversarial_learning_rate / learning_rate)
        self.add("generator", network, learning_rate, (0.9, 0.999), schedule)
        if pretraining_steps:
            self.networks["pretrained"] = copy.deepcopy(network).requires_grad_(False)
        if adversarial_steps and self.losses["adversarial"]:
            network = SRDiscriminator(discriminator_features)
            schedule = two_stages(0, adversarial_steps, 1.0)  # its own steps begin with the second stage
            self.add("discriminator", network, adversarial_learning_rate, (0.9, 0.999), schedule)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        done = self.schedulers["generator"].last_epoch
        stage = self._pretraining_step if done < self.pretraining_steps else self._adversarial_step
        terms = stage(batch["input"], batch["target"])
        self.schedulers["generator"].step()
        if done + 1 == self.pretraining_steps:
            self.networks["pretrained"].load_state_dict(self.networks["generator"].state_dict())
        return detached(terms)

    def _pretraining_step(self, small: Tensor, target: Tensor) -> dict[str, Tensor]:
        with self.autocast(small.device):
            large = self.networks["generator"](small)
        mse = 4 * loss_terms.mse(large, target)  # 4 times: as of images in [-1, 1]
        return {"generator": mse, "mse": mse, "generator_gradient": self.update([mse], "generator")}

    def _adversarial_step(self, small: Tensor, target: Tensor) -> dict[str, Tensor]:
        terms = {}
        with self.autocast(small.device):
            large = self.networks["generator"](small)
            if self.losses["content"]:
                maps = partial(self.frozen["vgg"], depth=self.content_depth)
                terms["content"] = self.losses["content"] * loss_terms.content(maps, large, target)
        if self.losses["adversarial"]:
            logits = self.judge("discriminator", large)
            terms["adversarial"] = self.losses["adversarial"] * loss_terms.bce(logits, 1.0)
        total = sum(terms.values())
        terms = {"generator": total, **terms, "generator_gradient": self.update([total], "generator")}
        if self.losses["adversarial"]:
            terms |= self.step_discriminator("discriminator", [target], [large.detach()], loss_terms.bce)
            self.schedulers["discriminator"].step()
        return terms

    def restore(self, images: Tensor, network: str = "generator") -> Tensor:
        """Images (N, 3, scale H, scale W) in [0, 1], by the generator or by the "pretrained" one."""
        return self.apply(self.networks[network], images).clamp(0, 1)

    def state_dict(self) -> dict:
        return super().state_dict() | {PLAN: self.plan}

    def load_state_dict(self, state: dict) -> None:
        """A training that was stopped goes on with the same stages and judge, or not at all."""
        if PLAN not in state:
            raise ValueError("the state says nothing of stages and a judge: it belongs to another method")
        if state[PLAN] != self.plan:
            raise ValueError(f"the training was begun with {state[PLAN]}, not {self.plan}")
        super().load_state_dict({name: part for name, part in state.items() if name != PLAN})


def two_stages(pretraining_steps: int, adversarial_steps: int, second: float) -> Schedule:
    """`warmup_cosine` over the first stage; `second` in the other one, and a tenth of it for its second half."""
    first = warmup_cosine(pretraining_steps)

    def factor(step: int) -> float:
        if step < pretraining_steps:
            return first(step)
        return second if step - pretraining_steps < adversarial_steps / 2 else second / 10

    return factor
