"""Training batches of scanned prints and the masks of their damage, for a method that finds it."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from restoration_lib.checks import check
from restoration_lib.data.batches import CropBatches, random_square
from restoration_lib.data.datasets import Images
from restoration_lib.data.files import to_tensor
from restoration_lib.degradations import keep, prints
from restoration_lib.degradations.common import uniform
from restoration_lib.degradations.monochrome import print_of
from restoration_lib.degradations.scratches import damage_mask, scratch

PRINT_DAMAGE = {
    "coverage": (0.003, 0.12), "width": (1.2, 5.0), "opacity": (0.5, 1.0), "tone": (0.7, 1.0), "any_tone": 0.3
}  # fmt: skip
"""Options of `scratch` for damage as prints have it: finer, paler and less of it than the original project's."""

SHARES = {
    "undamaged": 0.3,
    "busy": 0.6,  # of the undamaged ones: the crop of most contrast out of CANDIDATES, with much that looks like damage
    "fold": 0.15,  # of the damaged ones
    "monochrome": 0.5,
    "margin": 0.1,
    "soft": 0.3,
    "grain": 0.3,
    "jpeg": 0.3,
}
"""Shares of the crops. Whether a crop is one of them is drawn for each, in this order."""

LARGEST_REDUCTION = 3.0
CANDIDATES = 4
OVERLAYS, ALONE = 0.5, 0.25  # shares of the damaged crops: with overlays, and with nothing drawn beside them
CLEAR = 20  # grey levels: damage that must be found; fainter damage must where it lies beside that
BESIDE = 2  # px, in rows and columns


class PrintBatches(CropBatches):
    """Item `step`: a batch {"input", "target", "mask", "sure"} of scanned prints, and what they were before the damage,
    both (N, 3, crop, crop), where they are damaged, and where that is certain, both (N, 1, crop, crop), bool; a pure
    function of (seed, step).

    Photographs are reduced, by a random factor of up to LARGEST_REDUCTION, before they are cut, mirrored and turned.
    SHARES says how many of the crops stay undamaged, and what happens to the others and to all. The mask is that of
    `labels`, before grain and JPEG, which are no damage.

    Args:
        overlay_masks: how much overlays cover, as for `scratch`; none of them, and all damage is drawn.
        options: as for `CropBatches`; the crop has 4 px or more.

    Raises:
        ImageError: an image is smaller than the crop.
        ValueError: a size out of its range.
    """

    def __init__(self, images: Images, overlay_masks: Sequence[Tensor], **options):
        super().__init__(images, keep, **options)
        check("crop", self.crop, 4)  # `contrast` looks at every third pixel
        self.overlay_masks = overlay_masks

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        generator = self.generator(step)
        scans = [self._scan(index, generator) for index in self.indices(step)]
        return {name: torch.stack([scan[name] for scan in scans]) for name in scans[0]}

    def _scan(self, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = {name: uniform(0, 1, generator) < share for name, share in SHARES.items()}
        clean = self._reduced_crop(index, CANDIDATES if chosen["undamaged"] and chosen["busy"] else 1, generator)
        if chosen["margin"]:
            clean = prints.margin(clean, generator)
        scan = clean if chosen["undamaged"] else damaged(clean, self.overlay_masks, chosen["fold"], generator)
        if chosen["monochrome"]:
            brown, dark = torch.rand(2, 1, generator=generator)
            scan, clean = (print_of(image[None], brown, dark)[0] for image in (scan, clean))
        if chosen["soft"]:
            scan, clean = prints.soften([scan, clean], generator)
        mask, sure = labels(scan, clean)
        if chosen["grain"]:
            scan = prints.grain(scan, generator)
        if chosen["jpeg"]:
            scan = prints.jpeg(scan, generator)
        return {"input": scan, "target": clean, "mask": mask, "sure": sure}

    def _reduced_crop(self, index: int, candidates: int, generator: torch.Generator) -> Tensor:
        """Of so many cuts of one size, the one of most contrast, reduced to the crop's size."""
        array = self.images.arrays[index]
        most = min(LARGEST_REDUCTION, min(array.shape[:2]) / self.crop)
        side = min(round(self.crop * most ** uniform(0, 1, generator)), *array.shape[:2])
        cuts = [array[random_square(array, side, generator)] for _ in range(candidates)]
        cut = Image.fromarray(max(cuts, key=contrast))
        crop = to_tensor(cut.resize((self.crop, self.crop), Image.Resampling.BICUBIC))
        crop = crop.flip(2) if uniform(0, 1, generator) < 0.5 else crop
        return crop.rot90(int(torch.randint(4, (), generator=generator)), (1, 2)).contiguous()


def damaged(clean: Tensor, overlay_masks: Sequence[Tensor], folded: bool, generator: torch.Generator) -> Tensor:
    """An image (3, H, W) with damage as prints have it, drawn, of overlays or of both; with a fold, if asked for."""
    options, kind = dict(PRINT_DAMAGE), uniform(0, 1, generator)
    if kind < OVERLAYS and len(overlay_masks):
        options |= {"overlay_masks": overlay_masks} | ({"kinds": ()} if kind < ALONE else {})
    image = scratch(clean, generator, **options)[0]
    return prints.fold(image, generator) if folded else image


def labels(scan: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Where an image (3, H, W) is damaged, and where that is certain, (1, H, W) bool each.

    Damage is what differs by CLEAR grey levels in any channel, and what differs visibly and lies beside that. Other
    faint damage is neither asked for nor forbidden: it is not certain.
    """
    clear = damage_mask(scan, clean, CLEAR)
    beside = F.max_pool2d(clear.float(), 2 * BESIDE + 1, 1, BESIDE) > 0
    visible = damage_mask(scan, clean)
    return visible & beside, beside | ~visible


def contrast(array: np.ndarray) -> float:
    """Mean difference between neighbours in the green channel of an 8-bit image (H, W, 3), of every third pixel: the
    sum of that along columns and that along rows."""
    green = array[::3, ::3, 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())
