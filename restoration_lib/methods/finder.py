"""Where is a photograph damaged? The first half of the refined generator alone."""

from torch import Tensor

from restoration_lib import losses
from restoration_lib.checks import check
from restoration_lib.methods.base import Method, detached, warmup_cosine
from restoration_lib.methods.pix2pix import MAX_GRAD_NORM
from restoration_lib.networks.refined import RefinedGenerator


class Finder(Method):
    """The finder of `RefinedGenerator`, trained apart; what finds is a running mean of its weights, "average".

    It minimises the binary cross-entropy of its mask plus half its Dice loss, as in `Pix2Pix`, over the pixels of which
    the batch is sure. Batches are {"input", "mask", "sure"}: images (N, 3, H, W) in [0, 1], where they are damaged, and
    where that is certain, both (N, 1, H, W), bool, such as those of `data.damage`.

    Args:
        steps: length of the training: the learning rate rises for a moment, then falls half a cosine to 0.
        features, depth: size of the network.
        learning_rate: of Adam, betas (0.9, 0.999).
        ema_decay: of the running mean of the weights, in [0, 1].

    Raises:
        ValueError: names the argument that is out of its range.
    """

    def __init__(
        self, *, steps: int, features: int = 24, depth: int = 3, learning_rate: float = 1e-3, ema_decay: float = 0.999
    ):
        super().__init__()
        check("steps", steps, 1)
        check("features", features, 1)
        network = RefinedGenerator(features, depth).finder
        self.add("finder", network, learning_rate, (0.9, 0.999), warmup_cosine(steps))
        self.add_average("average", "finder", ema_decay)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with self.autocast(batch["input"].device):
            logits = self.networks["finder"](2 * batch["input"] - 1).float()
        found, true = logits[batch["sure"]], batch["mask"][batch["sure"]]
        loss = losses.bce(found, true) + losses.dice(found, true) / 2
        norm = self.update([loss], "finder", max_grad_norm=MAX_GRAD_NORM["finder"])
        self.networks["average"].update_parameters(self.networks["finder"])
        self.step_schedulers()
        return detached({"generator": loss, "finder_gradient": norm})

    def find(self, images: Tensor) -> Tensor:
        """Logits (N, 1, H, W), float32, of where images (N, 3, H, W), float in [0, 1], are damaged."""
        return self.apply(self.networks["average"], 2 * images - 1).float()
