"""What every method has: networks, optimisers and schedulers by name, and one state for the checkpoint."""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from restoration_lib.devices import autocast

Schedule = Callable[[int], float]  # step to factor of the learning rate


class Method:
    """A way to restore pictures: subclasses fill the three dictionaries and write `step` and `restore`.

    Attributes:
        networks: modules by name.
        optimizers, schedulers: of the networks, by name; a scheduler steps once a training step.
        parts: whatever else a method must take up again after a stop, by name, each with a state_dict of its own.
        precision: "fp32" or "bf16", the autocast of the forward passes; `training.fit` sets it.
    """

    def __init__(self):
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.schedulers: dict[str, torch.optim.lr_scheduler.LRScheduler] = {}
        self.parts: dict[str, object] = {}
        self.precision = "fp32"

    def add(
        self, name: str, network: nn.Module, learning_rate: float, betas: tuple[float, float], schedule: Schedule
    ) -> None:
        """Take a network in, with Adam and a learning rate times `schedule(step)`."""
        self.networks[name] = network
        self.optimizers[name] = torch.optim.Adam(network.parameters(), learning_rate, betas)
        self.schedulers[name] = torch.optim.lr_scheduler.LambdaLR(self.optimizers[name], schedule)

    def update(self, losses: Iterable[Tensor], *names: str, clip: float = math.inf) -> Tensor:
        """One optimiser step of these networks on the sum of `losses`; returns the gradient's norm before clipping.

        An iterator may build each loss when it is asked for it: what the one before needed is free by then.
        """
        parameters = [parameter for name in names for parameter in self.networks[name].parameters()]
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        for loss in losses:
            loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, clip)
        for name in names:
            self.optimizers[name].step()
        return norm

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Train on one batch; every loss term and gradient norm by name, as detached scalar tensors."""
        raise TypeError(f"{type(self).__name__} has no training step")

    def restore(self, pictures: Tensor) -> Tensor:
        """Restored pictures (N, 3, H, W) float in [0, 1], without gradients, networks in evaluation mode."""
        raise TypeError(f"{type(self).__name__} does not restore pictures")

    def to(self, device: torch.device) -> "Method":
        for network in self.networks.values():
            network.to(device, memory_format=torch.channels_last)
        return self

    def train(self, mode: bool = True) -> "Method":
        for network in self.networks.values():
            network.train(mode)
        return self

    def autocast(self, device: torch.device):
        return autocast(device, self.precision)

    def _parts(self) -> Iterator[tuple[str, object]]:
        for kind in ("networks", "optimizers", "schedulers", "parts"):
            for name, part in getattr(self, kind).items():
                yield f"{kind}.{name}", part

    def state_dict(self) -> dict:
        return {name: part.state_dict() for name, part in self._parts()}

    def load_state_dict(self, state: dict) -> None:
        """Take a state back.

        Raises:
            ValueError: the state belongs to a method of other parts or sizes.
        """
        if set(state) != {name for name, _ in self._parts()}:
            raise ValueError(f"the state holds {sorted(state)}: it belongs to a method with other parts")
        for name, part in self._parts():
            try:
                part.load_state_dict(state[name])
            except RuntimeError as error:
                raise ValueError(f"{name}: the state belongs to a network of another size ({error})") from None


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
