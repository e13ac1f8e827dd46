"""Networks on photographs of any size: overlapping tiles, and memory that does not grow with the photograph.

How far a network sees is measured, not told: NaN in a part of its input is NaN in all that depends on that part.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from restoration_lib.devices import autocast, pick_precision
from restoration_lib.networks.layers import pad
from restoration_lib.restore.large import large_array, let_go
from restoration_lib.restore.levels import images_of, pixels_of

FARTHEST = 2048  # px: what sees as far as that sees the whole image
CPU_BYTES = 2**30  # for what a network makes of a tile
GPU_SHARE = 0.5  # of the free memory
LARGEST = 1024  # px, side of a tile: larger ones gain little
COPIES = 3  # of a layer's input and output that are alive at the same time
MEASURED = 32, 512  # px, width and height of the image that says how much memory a tile takes, as high as a tile
SAME = 1e-4  # results that differ by no more are the same

Strip = Callable[[Tensor], Tensor]  # columns (L,) to what a network makes of an image of them
Watch = Callable[[float], object]
"""Is told which share of a piece of work has been done since it was told last."""


def unwatched(share: float) -> None:
    """For work that nobody watches."""


@dataclass(frozen=True)
class Reach:
    """What a network sees of an image: lengths in pixels of its input.

    Attributes:
        margin: no output depends on what lies farther away, up and down or to the sides; a multiple of `period`.
        period: the image shifted by so much, and nothing less, gives the same result, shifted: the total stride.
        scale: how many times the output is as wide and as high as the input.
        least: sides that the network can take, at least.
        bytes: of memory that a pixel takes, in fp32.
    """

    margin: int
    period: int
    scale: int
    least: int
    bytes: int


@torch.inference_mode()
def reach(network: nn.Module, channels: int = 3) -> Reach:
    """Measure a network that is on the CPU, in evaluation mode.

    Raises:
        ValueError: it sees the whole image, as one with instance norms does, or has no period: it cannot run in tiles.
    """
    least = _least(network, channels)
    strips = [_strip(network, channels, least, turned) for turned in (False, True)]
    scale = strips[0](torch.zeros(FARTHEST // 16)).shape[-1] // (FARTHEST // 16)
    distance = max(_distance(strip, scale) for strip in strips)
    period = max(_period(strip, scale, distance) for strip in strips)
    return Reach(
        -(-distance // period) * period, period, scale, least, _bytes(network, channels, max(MEASURED[0], least))
    )


def _strip(network: nn.Module, channels: int, height: int, turned: bool) -> Strip:
    """The network on images (1, channels, height, L) of given columns, or turned; its results lie along the last
    dimension either way."""

    def run(columns: Tensor) -> Tensor:
        images = columns.expand(1, channels, height, len(columns))
        return network(images.mT.contiguous()).mT if turned else network(images.contiguous())

    return run


def _least(network: nn.Module, channels: int) -> int:
    for side in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        try:
            network(torch.zeros(1, channels, side, side))
        except (RuntimeError, ValueError):  # reflected borders want more than they reflect, norms more than one value
            continue
        return side
    raise ValueError(f"the network takes no image of {channels} channels and 256 x 256 px")


def _distance(strip: Strip, scale: int) -> int:
    """How far what is NaN on one side of a cut reaches on the other side, in pixels of the input."""
    length = FARTHEST // 16
    while length <= 2 * FARTHEST:
        cut, distances = length // 2, []
        for spoiled in (slice(None, cut), slice(cut, None)):
            columns = torch.zeros(length)
            columns[spoiled] = torch.nan
            clean = strip(columns).isfinite().flatten(0, -2).all(0).nonzero().flatten()
            if len(clean):
                beyond = clean[0] - cut * scale if spoiled.start is None else cut * scale - 1 - clean[-1]
                distances.append(-(-int(beyond) // scale))
        if len(distances) == 2:
            return max(distances)
        length *= 2
    raise ValueError("the network sees the whole image, so it cannot run in tiles")


def _period(strip: Strip, scale: int, distance: int) -> int:
    for period in (1, 2, 4, 8, 16, 32, 64):
        length = -(-2 * distance // 64) * 64 + 256
        columns = torch.rand(length, generator=torch.Generator().manual_seed(0))
        here, shifted = strip(columns)[..., period * scale :], strip(columns.roll(-period))
        inner = slice(distance * scale, (length - distance - period) * scale)  # the ends have other neighbours
        if torch.allclose(here[..., inner], shifted[..., inner], rtol=SAME, atol=SAME):
            return period
    raise ValueError("the network is no convolution with a stride of up to 64, so it cannot run in tiles")


def _bytes(network: nn.Module, channels: int, width: int) -> int:
    """Of the largest layer's input and output, per pixel of the image, as often as they are alive at once."""
    largest = 0

    def note(layer: nn.Module, given: tuple, made: Tensor) -> None:
        nonlocal largest
        tensors = [tensor for tensor in (*given, made) if isinstance(tensor, Tensor)]
        largest = max(largest, sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    hooks = [layer.register_forward_hook(note) for layer in network.modules() if not list(layer.children())]
    network(torch.zeros(1, channels, MEASURED[1], width))
    for hook in hooks:
        hook.remove()
    return max(COPIES * largest // (MEASURED[1] * width), 4 * channels)


@dataclass(frozen=True)
class Tile:
    """Rows and columns: of the image, what the tile is for; what the network sees; and the first within the second."""

    core: tuple[slice, slice]
    seen: tuple[slice, slice]
    inner: tuple[slice, slice]


def tiles(height: int, width: int, side: int, margin: int) -> Iterator[Tile]:
    """Tiles of `side` px that cover an image; each sees `margin` px more, but not beyond the image's borders."""
    for top, left in product(range(0, height, side), range(0, width, side)):
        core, seen, inner = [], [], []
        for start, end in ((top, height), (left, width)):
            stop = min(start + side, end)
            core.append(slice(start, stop))
            seen.append(slice(max(0, start - margin), min(end, stop + margin)))
            inner.append(slice(start - seen[-1].start, stop - seen[-1].start))
        yield Tile(tuple(core), tuple(seen), tuple(inner))


def device_of(network: nn.Module) -> torch.device:
    """Where a network computes."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def side_that_fits(network: nn.Module, reach: Reach, precision: str = "fp32") -> int:
    """Side of a tile without its margins, in pixels of the input: as large as the memory allows."""
    device = device_of(network)
    memory = GPU_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else CPU_BYTES
    share = 0.5 if precision == "bf16" else 1
    seen = min(LARGEST, int((memory / (share * reach.bytes)) ** 0.5))
    step = max(reach.period, -(-reach.least // reach.period) * reach.period)
    return max(step, (seen - 2 * reach.margin) // step * step)


@torch.inference_mode()
def run(network: nn.Module, reach: Reach, images: Tensor) -> Tensor:
    """What the network makes of images, computed where it is; those that are too small for it are extended."""
    height, width = images.shape[-2:]
    images = pad(images, 0, max(0, reach.least - width), 0, max(0, reach.least - height))
    made = network(images.to(device_of(network), memory_format=torch.channels_last))
    return made[..., : height * reach.scale, : width * reach.scale]


def apply(
    network: nn.Module,
    reach: Reach,
    pixels: np.ndarray,
    *,
    grey: bool = False,
    folder: Path | None = None,
    watch: Watch = unwatched,
) -> np.ndarray:
    """What a network that takes and makes images in [0, 1] makes of a photograph: the same in tiles as at once.

    With 8 bits, and where the hardware is faster in bf16, the network computes in it: up to three times as fast, and
    here and there a level is another by one.

    Args:
        pixels: (H, W, C), see `levels`.
        grey: give all channels the luma.
        folder: for a temporary file, see `large_array`.

    Returns:
        (scale H, scale W, C) of the same type.

    Raises:
        ImageError: there is no room for that file.
    """
    height, width, channels = pixels.shape
    device = device_of(network)
    precision = pick_precision("auto" if pixels.dtype == np.uint8 else "fp32", device)
    made = large_array((height * reach.scale, width * reach.scale, channels), pixels.dtype, folder)
    for tile in tiles(height, width, side_that_fits(network, reach, precision), reach.margin):
        with autocast(device, precision):
            images = run(network, reach, images_of(pixels[tile.seen]))
        core, inner = (scaled(part, reach.scale) for part in (tile.core, tile.inner))
        made[core] = pixels_of(images[..., *inner], pixels.dtype, channels, grey)
        let_go(made)
        watch(made[core].size / made.size)
    return made


def scaled(part: tuple[slice, slice], scale: int) -> tuple[slice, slice]:
    """The same part of an image of `scale` times the size."""
    return tuple(slice(side.start * scale, side.stop * scale) for side in part)
