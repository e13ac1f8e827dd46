"""Shipped networks, in place of one that is trained or where a training begins: for notebooks and scripts."""

from functools import partial

import torch
from torch import Tensor, nn

from restoration_lib.checks import check_choice, check_names
from restoration_lib.degradations.scratches import VISIBLE, damage_mask
from restoration_lib.methods.base import Method
from restoration_lib.restore.damage import Mender, mended
from restoration_lib.restore.weights import DAMAGE, MODELS, load

SHIPPED = "shipped"


class Shipped(Method):
    """A model that comes with the library; one that finds damage works as `restoration restore` has it work, the others
    on whole images. It has nothing to learn.

    Args:
        name: one of `weights.MODELS`.

    Raises:
        ValueError: another name.
        WeightsError: as `weights.load`.
    """

    learns = False

    def __init__(self, name: str):
        super().__init__()
        check_names("model", [name], MODELS)
        network = load(name)
        self.networks["generator"] = network
        self.mender = Mender(network) if MODELS[name].kind == DAMAGE else None  # before the network moves: it measures
        self.mask = partial(damage_mask, least_damage=VISIBLE)  # the true one, as of `Pix2Pix`

    def restore(self, images: Tensor) -> Tensor:
        return self.paint(images)[0]

    def paint(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Restored images in [0, 1], and the mask (N, 1, H, W), bool, of the damage found, by a model that finds it.

        Such a model works on 8-bit levels, as it does on photographs.
        """
        if self.mender is None:
            return self.apply(self.networks["generator"], images).clamp(0, 1), None
        self.networks["generator"].eval()
        made = [mended(self.mender, image) for image in images.split(1)]
        return tuple(torch.cat(parts).to(images.device) for parts in zip(*made, strict=True))


def shipped(name: str, weights: str) -> Shipped | None:
    """For the parameter `weights` of a notebook: the shipped model of this name, or with "" None.

    Raises:
        ValueError: `weights` is neither "" nor "shipped"; a model of that name is not shipped.
        WeightsError: as `weights.load`.
    """
    check_choice("weights", weights, ("", SHIPPED))
    return Shipped(name) if weights else None


def begin_with(network: nn.Module, name: str, start: str) -> None:
    """For the parameter `start` of a notebook or script: give a network the weights of the shipped model of this name;
    "" leaves it as it is.

    Raises:
        ValueError: `start` is neither "" nor "shipped"; the network is of another kind or size than the shipped one.
        WeightsError: as `weights.load`.
    """
    check_choice("start", start, ("", SHIPPED))
    if not start:
        return
    weights, model = load(name).state_dict(), MODELS[name]
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        arguments = ", ".join(f"{key} {value}" for key, value in model.arguments.items())
        raise ValueError(
            f"start: {name} is shipped as {model.network} of {arguments}; give the training the same"
        ) from None
