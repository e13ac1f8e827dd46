"""Colours and contrast of a faded photograph, learned on pairs: one change for the whole image."""

from torch import Tensor

from restoration_lib.checks import check
from restoration_lib.methods.base import Method, detached, warmup_cosine
from restoration_lib.networks.tone import ToneGenerator

MAX_GRAD_NORM = 1.0  # longer gradients are shortened to this
LEAST_ERROR = 1e-5  # added to the squared error: an image that is right to 50 dB need not become better


class ToneRestorer(Method):
    """A `ToneGenerator` that minimises the mean logarithm of the squared error of each image, which is to maximise the
    mean PSNR; what restores is a running mean of its weights, "average".

    Batches are {"input", "target"}: images (N, 3, H, W) in [0, 1], aged and as they were.

    Args:
        steps: length of the training: the learning rate rises for a moment, then falls half a cosine to 0.
        learning_rate: of Adam, betas (0.9, 0.999).
        ema_decay: of the running mean of the weights, in [0, 1].

    Raises:
        ValueError: names the argument that is out of its range.
    """

    def __init__(self, *, steps: int, learning_rate: float = 1e-3, ema_decay: float = 0.995):
        super().__init__()
        check("steps", steps, 1)
        self.add("generator", ToneGenerator(), learning_rate, (0.9, 0.999), warmup_cosine(steps))
        self.add_average("average", "generator", ema_decay)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with self.autocast(batch["input"].device):
            restored = self.networks["generator"](batch["input"])
        errors = (restored - batch["target"]).square().mean((1, 2, 3))
        loss = (errors + LEAST_ERROR).log().mean()
        norm = self.update([loss], "generator", max_grad_norm=MAX_GRAD_NORM)
        self.networks["average"].update_parameters(self.networks["generator"])
        self.step_schedulers()
        return detached({"generator": loss, "generator_gradient": norm})

    def restore(self, images: Tensor) -> Tensor:
        return self.apply(self.networks["average"], images).clamp(0, 1)
