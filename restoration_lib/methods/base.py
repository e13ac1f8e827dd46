"""What every method has: networks and optimisers by name, the steps of a GAN, one state for the checkpoint."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from restoration_lib import losses
from restoration_lib.checks import check
from restoration_lib.devices import autocast

Schedule = Callable[[int], float]  # step to factor of the learning rate
AdversarialLoss = Callable[[Tensor, Tensor | float], Tensor]  # logits and the wanted answer to a scalar


class Method:
    """A way to restore images: subclasses fill the dictionaries and write `step` and `restore`.

    The smallest one, for `fit` and for the figures of losses, which know the term "generator" as the total:

        class Smallest(Method):
            def __init__(self, *, steps, learning_rate=1e-3):
                super().__init__()
                self.add("generator", ResidualFCN(), learning_rate, (0.9, 0.999), warmup_cosine(steps))

            def step(self, batch):
                loss = losses.l1(self.networks["generator"](batch["input"]), batch["target"])
                norm = self.update([loss], "generator")
                self.step_schedulers()
                return detached({"generator": loss, "generator_gradient": norm})

            def restore(self, images):
                return self.apply(self.networks["generator"], images).clamp(0, 1)

    Attributes:
        learns: whether there is anything to train.
        networks: modules by name.
        frozen: modules by name that judge and never learn: they move with the method, and no checkpoint holds them.
        optimizers, schedulers: of the networks, by name; a scheduler steps once a training step.
        parts: whatever else a method must take up again after a stop, by name, each with a state_dict of its own.
        precision: "fp32" or "bf16", the autocast of the forward passes; `training.fit` sets it.
    """

    learns = True

    def __init__(self):
        self.networks: dict[str, nn.Module] = {}
        self.frozen: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.schedulers: dict[str, torch.optim.lr_scheduler.LRScheduler] = {}
        self.parts: dict[str, object] = {}
        self.precision = "fp32"

    def add(
        self, name: str, network: nn.Module, learning_rate: float, betas: tuple[float, float], schedule: Schedule
    ) -> None:
        """Take a network in, with Adam and a learning rate times `schedule(step)`."""
        check(f"{name}: learning_rate", learning_rate, 0)
        self.networks[name] = network
        self.optimizers[name] = Adam(network.parameters(), learning_rate, betas, fused=True)
        self.schedulers[name] = torch.optim.lr_scheduler.LambdaLR(self.optimizers[name], schedule)

    def add_average(self, name: str, of: str, decay: float) -> None:
        """Take in a running mean of a network's weights, which its `update_parameters` moves."""
        check("ema_decay", decay, 0, 1)
        self.networks[name] = AveragedModel(self.networks[of], multi_avg_fn=running_mean(decay))

    def update(self, terms: Iterable[Tensor], *names: str, max_grad_norm: float = math.inf) -> Tensor:
        """One optimiser step of these networks on the sum of `terms`; returns the gradient's norm before clipping.

        An iterator may build each loss when it is asked for it: what the one before needed is free by then.
        """
        parameters = [parameter for name in names for parameter in self.networks[name].parameters()]
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        for term in terms:
            term.backward()
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if max_grad_norm < math.inf:
            nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, norm)
        for name in names:
            self.optimizers[name].step()
        return norm

    def judge(self, discriminator: str, *images: Tensor) -> Tensor:
        """A discriminator's logits, for the loss of a generator: it does not learn from them."""
        network = self.networks[discriminator].requires_grad_(False)
        with self.autocast(images[0].device):
            logits = network(*images)
        network.requires_grad_(True)
        return logits

    def pair_losses(
        self, weights: Mapping[str, float], degraded: Tensor, restored: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """The weighted terms of a generator that learns from pairs; "adversarial" asks the network "discriminator"."""
        terms = losses.weighted(weights, restored, target)
        if weight := weights.get("adversarial"):
            terms["adversarial"] = weight * losses.bce(self.judge("discriminator", degraded, restored), 1.0)
        return terms

    def step_discriminator(
        self, name: str, real: Sequence[Tensor], fake: Sequence[Tensor], loss: AdversarialLoss
    ) -> dict[str, Tensor]:
        """One step on what it is shown as real and as fake, judged apart: a BatchNorm must not mix the two."""
        with self.autocast(real[0].device):
            logits = [self.networks[name](*images) for images in (real, fake)]
        return self.update_discriminator(name, {"real": (logits[0], 1.0), "fake": (logits[1], 0.0)}, loss)

    def update_discriminator(
        self,
        name: str,
        answers: Mapping[str, tuple[Tensor, Tensor | float]],
        loss: AdversarialLoss,
        *,
        weight: float = 0.5,
        max_grad_norm: float = math.inf,
    ) -> dict[str, Tensor]:
        """One optimiser step of a discriminator.

        Args:
            answers: its logits of each kind of images and the wanted answer, "real" first; the other kinds, all of them
                fake, weigh as much as the real one together.
            weight: of both sides; a half slows the discriminator down beside the generator (Isola et al. 2017, 3.3).

        Returns:
            Its loss, the term of each kind, and the gradient's norm, under names that begin with `name`.
        """
        terms = {f"{name}_{kind}": weight * loss(logits, target) for kind, (logits, target) in answers.items()}
        real, *fake = terms.values()
        total = real + sum(fake) / len(fake)
        norm = self.update([total], name, max_grad_norm=max_grad_norm)
        return {name: total, **terms, f"{name}_gradient": norm}

    def step_schedulers(self) -> None:
        for scheduler in self.schedulers.values():
            scheduler.step()

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Train on one batch and step the schedulers.

        Returns:
            Every loss term and gradient norm, detached scalar tensors: the generators' total is "generator", the terms
            of discriminators begin with "discriminator", norms end with "_gradient".
        """
        raise TypeError(f"{type(self).__name__} has no training step")

    def restore(self, images: Tensor) -> Tensor:
        """Restored images (N, 3, H, W) float in [0, 1], on the images' device."""
        raise TypeError(f"{type(self).__name__} does not restore images")

    @torch.no_grad()
    def apply(self, network: nn.Module, images: Tensor) -> Tensor | tuple[Tensor | None, ...]:
        """What a network in evaluation mode makes of images, computed where it is, given back where they are."""
        device = next(network.parameters()).device
        with self.autocast(device):
            made = network.eval()(images.to(device, memory_format=torch.channels_last))
        if isinstance(made, tuple):
            return tuple(part if part is None else part.to(images.device) for part in made)
        return made.to(images.device)

    def to(self, device: torch.device) -> "Method":
        for network in (*self.networks.values(), *self.frozen.values()):
            network.to(device, memory_format=torch.channels_last)
        return self

    def train(self, mode: bool = True) -> "Method":
        for network in self.networks.values():
            network.train(mode)
        return self

    def autocast(self, device: torch.device) -> torch.autocast:
        """Context of the forward passes."""
        return autocast(device, self.precision)

    def sizes(self) -> dict[str, int]:
        """Number of parameters of each network."""
        return {name: sum(p.numel() for p in network.parameters()) for name, network in self.networks.items()}

    def _parts(self) -> dict[str, object]:
        kinds = ("networks", "optimizers", "schedulers", "parts")
        return {f"{kind}.{name}": part for kind in kinds for name, part in getattr(self, kind).items()}

    def state_dict(self) -> dict:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict) -> None:
        """Take a state back.

        Raises:
            ValueError: the state belongs to a method of other parts or sizes.
        """
        if state.keys() != self._parts().keys():
            raise ValueError(f"the state holds {sorted(state)}: it belongs to a method with other parts")
        for name, part in self._parts().items():
            try:
                part.load_state_dict(state[name])
            except RuntimeError as error:
                raise ValueError(f"{name}: the state belongs to a network of another size ({error})") from None


class OneNetwork(Method):
    """A method that trains one network, and nothing else; what restores is a running mean, "average".

    Args:
        name: of the network.
        steps: length of the training: the learning rate rises for a moment, then falls half a cosine to 0.
        learning_rate: of Adam, betas (0.9, 0.999).
        max_grad_norm: longer gradients are shortened to this.
        ema_decay: of the running mean of the weights, in [0, 1].

    Raises:
        ValueError: names the argument that is out of its range.
    """

    def __init__(
        self, name: str, network: nn.Module, steps: int, learning_rate: float, max_grad_norm: float, ema_decay: float
    ):
        super().__init__()
        check("steps", steps, 1)
        self.name, self.max_grad_norm = name, max_grad_norm
        self.add(name, network, learning_rate, (0.9, 0.999), warmup_cosine(steps))
        self.add_average("average", name, ema_decay)

    def learn(self, loss: Tensor) -> dict[str, Tensor]:
        """What is left of a `step` when its loss is known."""
        norm = self.update([loss], self.name, max_grad_norm=self.max_grad_norm)
        self.networks["average"].update_parameters(self.networks[self.name])
        self.step_schedulers()
        return detached({"generator": loss, f"{self.name}_gradient": norm})


class Adam(torch.optim.Adam):
    """PyTorch's; the fused one copies whatever is channels_last, unless it gets views in the order of the memory."""

    def _init_group(self, group: dict, parameters: list, gradients: list, *moments: list) -> bool:
        is_complex = super()._init_group(group, parameters, gradients, *moments)
        in_place = parameters, *moments[:2]
        for k, gradient in enumerate(gradients):
            if all(_is_channels_last(tensors[k]) for tensors in in_place):
                gradients[k] = gradient.permute(0, 2, 3, 1).contiguous()  # a view, for it is channels_last as well
                for tensors in in_place:
                    tensors[k] = tensors[k].permute(0, 2, 3, 1)
        return is_complex


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


def detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}


def running_mean(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """For `AveragedModel`: an exponential mean, over less at the beginning, to forget the first weights soon."""

    @torch.no_grad()
    def move(means: list[Tensor], weights: list[Tensor], count: Tensor | int) -> None:
        torch._foreach_lerp_(means, weights, 1 - min(decay, float(count) / (float(count) + 9)))

    return move


def warmup_cosine(steps: int, warmup: int = 100) -> Schedule:
    """Up linearly over `warmup` steps (a tenth of short runs), then down a half cosine to zero."""
    warmup = max(1, min(warmup, steps // 10))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def constant_then_linear(steps: int) -> Schedule:
    """Constant for the first half, then down in a straight line to zero (CycleGAN, Zhu et al. 2017, section 4)."""
    return lambda step: min(1.0, 2 * (1 - step / max(1, steps)))
