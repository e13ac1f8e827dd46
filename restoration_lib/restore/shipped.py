"""Shipped networks in notebooks: shown and measured in place of one that is trained, or where a training begins."""

from functools import partial

import torch
from torch import Tensor, nn

from restoration_lib.checks import check_choice, check_names
from restoration_lib.degradations.scratches import VISIBLE, damage_mask
from restoration_lib.methods.base import Method
from restoration_lib.restore.damage import mended
from restoration_lib.restore.weights import DAMAGE, MODELS, load

SHIPPED = "shipped"


class Shipped(Method):
    """A model that comes with the library, as `restoration restore` uses it. It has nothing to learn.

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
        self.networks["generator"], self.kind = load(name), MODELS[name].kind
        self.mask = partial(damage_mask, least_damage=VISIBLE)  # the true one, as of `Pix2Pix`

    def restore(self, images: Tensor) -> Tensor:
        return self.paint(images)[0]

    def paint(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Restored images in [0, 1], and the mask (N, 1, H, W), bool, of the damage found, by a model that finds it.

        Such a model works on 8-bit levels, as it does on photographs.
        """
        if self.kind != DAMAGE:
            return self.apply(self.networks["generator"], images).clamp(0, 1), None
        made = [mended(self.networks["generator"].eval(), image) for image in images.split(1)]
        return tuple(torch.cat(parts) for parts in zip(*made, strict=True))


def shipped(name: str, weights: str) -> Shipped | None:
    """For the parameter `weights` of a notebook: the shipped model of this name, or with "" None.

    Raises:
        ValueError: `weights` is neither "" nor "shipped"; a model of that name is not shipped.
        WeightsError: as `weights.load`.
    """
    check_choice("weights", weights, ("", SHIPPED))
    return Shipped(name) if weights else None


def begin_with(network: nn.Module, name: str, start: str) -> None:
    """For the parameter `start` of a notebook: give a network the weights of the shipped model of this name; "" leaves
    it as it is.

    Raises:
        ValueError: `start` is neither "" nor "shipped"; the network is of another kind or size than the shipped one.
        WeightsError: as `weights.load`.
    """
    check_choice("start", start, ("", SHIPPED))
    if start:
        try:
            network.load_state_dict(load(name).state_dict())
        except RuntimeError:
            raise ValueError(f"start: the shipped {name!r} is of another kind or size, see its card") from None
