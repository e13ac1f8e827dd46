"""Training batches of photographs, colour and monochrome, aged and as they were, for a method that sees all of one."""

import torch
from PIL import Image
from torch import Tensor

from restoration_lib.data.batches import CropBatches, random_square
from restoration_lib.data.datasets import Images
from restoration_lib.data.files import to_tensor
from restoration_lib.degradations.ageing import age
from restoration_lib.degradations.common import uniform
from restoration_lib.degradations.monochrome import luma, toned

LEAST = 0.55  # of the shorter side, that a cut has at least
MONOCHROME = 0.35  # of the targets
TONED = 0.5  # of the monochrome ones; the others are grey before they age
MILD = 0.3  # of all: aged by a strength from 0 to 1 instead of 1, for not every photograph has faded


class FadedBatches(CropBatches):
    """Item `step`: a batch {"input", "target"} (N, 3, crop, crop) of aged photographs; a pure function of (seed, step).

    The targets are square cuts, mirrored half of the time, whose sides are LEAST of the shorter side or longer, reduced
    to the crop. Some are made grey, see MONOCHROME; their prints may have a tone, which is none of what has to come
    back. Some age less, see MILD.

    Args:
        options: as for `CropBatches`; the crop is the side of the reduced cuts, px.

    Raises:
        ImageError: an image is smaller than the crop.
        ValueError: a size out of its range.
    """

    def __init__(self, images: Images, **options):
        super().__init__(images, age, **options)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        generator = self.generator(step)
        pairs = [self._pair(index, generator) for index in self.indices(step)]
        made, target = (torch.stack(side) for side in zip(*pairs, strict=True))
        return {"input": made, "target": target}

    def _pair(self, index: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        target = made = self._reduced(index, generator)
        if uniform(0, 1, generator) < MONOCHROME:
            target = made = luma(target).expand(3, -1, -1)
            if uniform(0, 1, generator) < TONED:
                made = toned(target, uniform(0, 1, generator))
        strength = uniform(0, 1, generator) if uniform(0, 1, generator) < MILD else 1.0
        return self.degrade(made, strength=strength, generator=generator), target

    def _reduced(self, index: int, generator: torch.Generator) -> Tensor:
        array = self.images.arrays[index]
        shorter = min(array.shape[:2])
        side = max(self.crop, round(shorter * uniform(LEAST, 1, generator)))
        cut = Image.fromarray(array[random_square(array, side, generator)])
        reduced = to_tensor(cut.resize((self.crop, self.crop), Image.Resampling.BICUBIC))
        return reduced.flip(2) if uniform(0, 1, generator) < 0.5 else reduced
