"""Colours and contrast of a faded photograph, learned on pairs: one change for the whole image."""

from torch import Tensor

from restoration_lib.methods.base import OneNetwork
from restoration_lib.networks.tone import ToneGenerator

MAX_GRAD_NORM = 1.0  # longer gradients are shortened to this
LEAST_ERROR = 1e-5  # added to the squared error: an image that is right to 50 dB need not become better


class ToneRestorer(OneNetwork):
    """A `ToneGenerator` that minimises the mean logarithm of the squared error of each image, which is to maximise the
    mean PSNR; what restores is the running mean of its weights.

    Batches are {"input", "target"}: images (N, 3, H, W) in [0, 1], aged and as they were.

    Args:
        steps, learning_rate, ema_decay: see `OneNetwork`.
    """

    def __init__(self, *, steps: int, learning_rate: float = 1e-3, ema_decay: float = 0.995):
        super().__init__("generator", ToneGenerator(), steps, learning_rate, MAX_GRAD_NORM, ema_decay)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with self.autocast(batch["input"].device):
            restored = self.networks["generator"](batch["input"])
        errors = (restored - batch["target"]).square().mean((1, 2, 3))
        return self.learn((errors + LEAST_ERROR).log().mean())

    def restore(self, images: Tensor) -> Tensor:
        return self.apply(self.networks["average"], images).clamp(0, 1)
