"""Where is a photograph damaged? The first half of the refined generator alone."""

from torch import Tensor

from restoration_lib import losses
from restoration_lib.checks import check
from restoration_lib.methods.base import OneNetwork
from restoration_lib.methods.pix2pix import MAX_GRAD_NORM
from restoration_lib.networks.refined import RefinedGenerator


class Finder(OneNetwork):
    """The finder of `RefinedGenerator`, trained apart; what finds is the running mean of its weights.

    It minimises the binary cross-entropy of its mask plus half its Dice loss, as in `Pix2Pix`, over the pixels of which
    the batch is sure. Batches are {"input", "mask", "sure"}: images (N, 3, H, W) in [0, 1], where they are damaged, and
    where that is certain, both (N, 1, H, W), bool, such as those of `data.damage`.

    Args:
        features, depth: size of the network.
        steps, learning_rate, ema_decay: see `OneNetwork`.
    """

    def __init__(
        self, *, steps: int, features: int = 24, depth: int = 3, learning_rate: float = 1e-3, ema_decay: float = 0.999
    ):
        check("features", features, 1)
        network = RefinedGenerator(features, depth).finder
        super().__init__("finder", network, steps, learning_rate, MAX_GRAD_NORM["finder"], ema_decay)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with self.autocast(batch["input"].device):
            logits = self.networks["finder"](2 * batch["input"] - 1).float()
        found, true = logits[batch["sure"]], batch["mask"][batch["sure"]]
        return self.learn(losses.bce(found, true) + losses.dice(found, true) / 2)

    def find(self, images: Tensor) -> Tensor:
        """Logits (N, 1, H, W), float32, of where images (N, 3, H, W), float in [0, 1], are damaged."""
        return self.apply(self.networks["average"], 2 * images - 1).float()
