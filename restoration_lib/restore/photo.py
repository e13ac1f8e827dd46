"""One photograph restored: from a file to a file, or in memory."""

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from restoration_lib.checks import check, check_names
from restoration_lib.data.files import ImageError, write_image
from restoration_lib.filesystem import write_durably
from restoration_lib.restore.weights import COLOUR, DAMAGE, IMAGE, MODELS, load

if TYPE_CHECKING:  # torch, and all that needs it, is imported when a photograph is restored
    import numpy as np
    from torch import Tensor

    from restoration_lib.restore.photograph import Photograph

AUTO = "auto"
MOST_PIXELS = 200_000_000  # of what is made and lies in memory: 600 MB, twice as much with 16 bits
MOST_WRITTEN = 800_000_000  # of what is made last, lies in a file, and is written a strip at a time
COMPARED = 1600  # px, longer side of each half of a comparison, at least


def restore_photo(
    source: str | Path,
    target: str | Path,
    models: str | Sequence[str] = AUTO,
    *,
    threshold: float = 0.0,
    strength: float = 1.0,
    mask: str | Path | None = None,
    mask_target: str | Path | None = None,
    compare_target: str | Path | None = None,
    device: str = "auto",
    watch: Callable[[float], object] = lambda share: None,
) -> list[str]:
    """Restore a photograph in a file and write it to another one, in the same format, with what else it carries.

    Args:
        source: JPEG, PNG, TIFF, WebP or BMP, see `photograph.read`.
        target: its folder is made; a file that is there is replaced, but never the source.
        models: names among `weights.MODELS`, applied one after the other; "auto" looks at the photograph and chooses.
        threshold: of damage, see `damage.found`; higher finds less.
        strength: of changes of colour, from 0 to 1.
        mask: an image of the photograph's size, bright where it is damaged: nothing else is painted, or looked for.
        mask_target: where to write the mask that was found or given, as PNG; nothing is written where none was.
        compare_target: where to write before and after, side by side, as JPEG.
        device: "auto", "cpu" or "cuda".
        watch: is told which share of the work has been done since it was told last.

    Returns:
        What was done and why, in words.

    Raises:
        ImageError: a file that cannot be read or written, or would become too large. The message is one line.
        WeightsError: the weights of a model are missing or damaged.
        ValueError: an argument out of its range.
    """
    from restoration_lib.restore.photograph import Photograph, read, write, writing

    source, target = Path(source), Path(target)
    if target.exists() and os.path.samefile(source, target):
        raise ImageError(f"{target}: is the photograph itself, which is never overwritten")
    photograph = read(source)
    given = None if mask is None else mask_of(read(Path(mask)).pixels)
    options = {"threshold": threshold, "strength": strength, "mask": given, "device": device, "watch": watch}
    restoration = Restoration(photograph, folder=target.parent, **options)
    names = restoration.choose() if models == AUTO else _names(models)
    restoration.check(names, target)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        restoration.apply(name, 1 / len(names))
    if names:
        write(restoration.photograph, target)
    else:
        with writing(target):
            write_durably(target, lambda temporary: shutil.copyfile(source, temporary))
    if mask_target and restoration.mask is not None:
        levels = restoration.mask[..., None].astype("uint8") * 255
        write(Photograph(levels, "PNG"), Path(mask_target))
    if compare_target:
        with writing(Path(compare_target)):
            write_image(compared(photograph.pixels, restoration.photograph.pixels), compare_target)
    return restoration.words


class Restoration:
    """A photograph on its way through models. Arguments as for `restore_photo`, but for a mask (H, W), bool, and the
    folder of a temporary file for what is too large for memory (None: the system's).

    Attributes:
        photograph: as it is now.
        mask: (H, W), bool: the damage that was found or given; None before.
        words: what was done to it.
        seen: what `choose` saw; None where the models were named. What nobody asked for by name is left: areas wider
            than a stroke unpainted, a toned print in its tone, tones as they are where the contrast is good.
    """

    def __init__(
        self,
        photograph: "Photograph",
        *,
        threshold: float = 0.0,
        strength: float = 1.0,
        mask: "np.ndarray | None" = None,
        device: str = "auto",
        folder: Path | None = None,
        watch: Callable[[float], object] = lambda share: None,
    ):
        from restoration_lib.devices import pick_device
        from restoration_lib.restore.levels import is_neutral

        check("threshold", threshold)
        check("strength", strength, 0, 1)
        self.photograph, self.words = photograph, list(photograph.notes)
        self.threshold, self.strength, self.device = threshold, strength, pick_device(device)
        self.folder, self.seen = folder, None
        self.given, self.mask, self.logits, self.watch = mask, None, None, watch
        self.grey = is_neutral(photograph.pixels)

    def choose(self) -> list[str]:
        """The models that the photograph needs; `words` says why. They are then applied with care, see `seen`."""
        from restoration_lib.restore.look import decide, left, look

        self.seen, damage = look(self.photograph.pixels), None
        if "scratches" in MODELS and self.given is None:
            damage = self._find("scratches", 0.0, threshold=0.0).mean()
        needs = {name: why for name, why in decide(self.seen, damage).items() if name in MODELS}
        if self.given is not None:
            needs = {"scratches": "a mask was given"} | needs
        self.words += left(self.seen, damage)
        self.words += [f"{name}, for {why}" for name, why in needs.items()] or ["nothing found to restore, copied"]
        return list(needs)

    def check(self, names: Sequence[str], target: Path) -> None:
        """ImageError where what would be made is too large for memory or for the format; ValueError for names."""
        from restoration_lib.restore.photograph import IN_STRIPS, check_size

        check_names("model", names, MODELS)
        if self.given is not None and not any(MODELS[name].kind == DAMAGE for name in names):
            raise ValueError(f"mask: no use for one in {', '.join(names)}")
        kind, (height, width, _) = self.photograph.format, self.photograph.pixels.shape
        scales = [1, *(MODELS[name].arguments.get("scale", 1) for name in names)]
        check_size(kind, math.prod(scales) * width, math.prod(scales) * height, target)
        most = MOST_WRITTEN if scales[-1] > 1 and kind in IN_STRIPS else MOST_PIXELS
        for scale, limit in ((math.prod(scales[:-1]), MOST_PIXELS), (math.prod(scales), most)):
            if scale > 1 and scale**2 * height * width > limit:
                raise ImageError(
                    f"{target}: would have {scale * width} x {scale * height} px, and {limit // 10**6} million are "
                    f"the most; make it smaller first, to {limit // scale**2 / 1e6:.3g} million"
                )

    def apply(self, name: str, share: float = 1.0) -> None:
        """Apply a model; `share` of the whole work is told to `watch`."""
        {IMAGE: self._redraw, DAMAGE: self._mend, COLOUR: self._recolour}[MODELS[name].kind](name, share)

    def _redraw(self, name: str, share: float) -> None:
        """The whole photograph by a network, alpha by interpolation where the size changes."""
        from torch import nn

        from restoration_lib.restore.tiles import apply, reach

        photograph, (network, reached) = self.photograph, _ready(name, self.device)
        before, alpha = photograph.pixels.shape, photograph.alpha
        options = {"grey": self.grey, "folder": self.folder, "watch": self._watch(share)}
        pixels = apply(network, reached, photograph.pixels, **options)
        if alpha is not None and reached.scale > 1:
            larger = nn.Upsample(scale_factor=reached.scale, mode="bicubic")
            alpha = apply(larger, reach(larger), alpha[..., None], folder=self.folder)[..., 0]
        self._becomes(pixels, alpha)
        sizes = [f"{width} x {height}" for height, width, _ in (before, pixels.shape)]
        self.words.append(f"{name}: {' to '.join(dict.fromkeys(sizes))} px")

    def _mend(self, name: str, share: float) -> None:
        pixels, mender = self.photograph.pixels, _ready(name, self.device)
        if self.given is None:
            mask = self._find(name, share / 2, self.threshold)
            logits, left = self.logits, share / 2
        else:
            mask, logits, left = self.given, None, share
            if mask.shape != pixels.shape[:2]:
                sizes = [f"{width} x {height}" for height, width in (mask.shape, pixels.shape[:2])]
                raise ImageError(f"the mask has {sizes[0]} px, and the photograph {sizes[1]}")
        if mask.any():
            self._becomes(mender.mend(pixels, mask, logits, grey=self.grey, watch=self._watch(left)))
        self.mask = mask
        self.words.append(f"{name}: {100 * mask.mean():.2g} % of the pixels painted")

    def _recolour(self, name: str, share: float) -> None:
        from restoration_lib.restore.colour import adjust
        from restoration_lib.restore.look import LOW_CONTRAST, look

        pixels, careful = self.photograph.pixels, self.seen is not None
        seen = self.seen if careful else look(pixels)
        strength = 0.0 if careful and seen.contrast >= LOW_CONTRAST else self.strength
        keep_tone = careful and seen.is_toned
        grey = self.grey or (seen.is_monochrome and not keep_tone)
        options = {"strength": strength, "grey": grey, "keep_tone": keep_tone, "watch": self._watch(share)}
        self._becomes(adjust(_ready(name, self.device), pixels, MODELS[name].side, **options))
        kept = ", a toned print, in its tone" if keep_tone else ", a monochrome print, in grey" if grey else ""
        self.words.append(f"{name}: tones at strength {strength:g}{kept}")

    def _find(self, name: str, share: float, threshold: float) -> "np.ndarray":
        """Where the photograph is damaged (H, W), bool; the logits are kept until it changes."""
        from restoration_lib.restore.damage import found, strokes

        if self.logits is None:
            self.logits = _ready(name, self.device).find(self.photograph.pixels, self._watch(share))
        mask = found(self.logits, threshold)
        return strokes(mask) if self.seen else mask

    def _becomes(self, pixels: "np.ndarray", alpha: "np.ndarray | None" = None) -> None:
        alpha = self.photograph.alpha if alpha is None else alpha
        self.photograph, self.logits = replace(self.photograph, pixels=pixels, alpha=alpha), None

    def _watch(self, share: float) -> Callable[[float], object]:
        return lambda part: self.watch(share * part)


def compared(before: "np.ndarray", after: "np.ndarray") -> "Tensor":
    """Before and after side by side, (3, h, w) in [0, 1], reduced to a longer side of COMPARED to twice that each."""
    import torch
    from torch.nn.functional import interpolate

    from restoration_lib.restore.levels import reduced

    halves = []
    for pixels in (after, before):
        factor = max(1, min(max(pixels.shape[:2]) // COMPARED, *pixels.shape[:2]))
        halves.append(reduced(pixels, factor))
    after, before = halves
    before = interpolate(before, size=after.shape[2:], mode="bilinear", antialias=True)
    return torch.cat([before, torch.ones(1, 3, after.shape[2], 8), after], 3)[0]


def _names(models: str | Sequence[str]) -> list[str]:
    return models.split(",") if isinstance(models, str) else list(models)


def mask_of(pixels: "np.ndarray") -> "np.ndarray":
    """Bright pixels (H, W), bool."""
    import numpy as np

    return pixels.mean(2) > np.iinfo(pixels.dtype).max / 2


@cache
def _ready(name: str, device: object) -> object:
    """A model as it is used: network and reach, a `Mender`, or the network; loaded once."""
    import torch

    from restoration_lib.restore.damage import Mender
    from restoration_lib.restore.tiles import reach

    network = load(name)
    prepared = {IMAGE: lambda: (network, reach(network)), DAMAGE: lambda: Mender(network), COLOUR: lambda: network}
    made = prepared[MODELS[name].kind]()  # measured before it moves
    network.to(device, memory_format=torch.channels_last)
    return made
