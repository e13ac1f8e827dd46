"""Training batches: data sets of which item `step` is the whole batch of that step, a pure function of (seed, step).

So a training that was stopped sees the same batches when it goes on.
"""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from restoration_lib.checks import check
from restoration_lib.data.datasets import Images, PairedImages, generator_for, too_small
from restoration_lib.data.files import ImageError, to_tensor
from restoration_lib.degradations import Degrade, damage_mask, keep
from restoration_lib.degradations.monochrome import print_of


class CropBatches(Dataset):
    """Item `step`: a training batch {"input", "target"}, target (N, 3, crop, crop).

    Images come in a new random order each epoch; the crop is drawn uniformly and mirrored half of the time, and
    degraded after that.

    Args:
        degrade: called as degrade(images, generator=generator).
        steps: number of batches.
        turned: turn each crop by a random multiple of 90° as well.

    Raises:
        ImageError: an image is smaller than the crop.
    """

    def __init__(
        self,
        images: Images,
        degrade: Degrade,
        *,
        crop: int,
        batch_size: int,
        steps: int,
        seed: int | str,
        turned: bool = False,
    ):
        check("crop", crop, 1)
        check("batch_size", batch_size, 1)
        for name, array in zip(images.names, images.arrays, strict=True):
            if min(array.shape[:2]) < crop:
                fault = too_small(name, array.shape[1::-1], crop)
                raise ImageError(f"{fault}; lower crop or raise size, or take the image out")
        self.images, self.degrade, self.crop, self.turned = images, degrade, crop, turned
        self.batch_size, self.steps, self.seed = batch_size, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        generator = self.generator(step)
        target = torch.stack([self._crop(index, generator) for index in self.indices(step)])
        return {"input": self.degrade(target, generator=generator), "target": target}

    def generator(self, step: int) -> torch.Generator:
        """That of all draws of batch `step`. Raises IndexError beyond the training."""
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of a training of {self.steps} steps")
        return generator_for("batch", self.seed, step)

    def indices(self, step: int) -> list[int]:
        """Which images batch `step` holds."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [self._order(place // len(self.images))[place % len(self.images)] for place in places]

    def _order(self, epoch: int) -> list[int]:
        return torch.randperm(len(self.images), generator=generator_for("epoch", self.seed, epoch)).tolist()

    def _crop(self, index: int, generator: torch.Generator) -> Tensor:
        turns = int(torch.randint(4, (), generator=generator)) if self.turned else 0
        crop = self._cut(index, random_square(self.images.arrays[index], self.crop, generator))
        mirrored = crop.flip(2) if torch.rand((), generator=generator) < 0.5 else crop
        return mirrored.rot90(turns, (1, 2)).contiguous()

    def _cut(self, index: int, place: tuple[slice, slice]) -> Tensor:
        return to_tensor(self.images.arrays[index][place])


def random_square(array: np.ndarray, side: int, generator: torch.Generator) -> tuple[slice, slice]:
    """Rows and columns of a square of `side` px somewhere in an image (H, W, 3)."""
    top, left = (int(torch.randint(length - side + 1, (), generator=generator)) for length in array.shape[:2])
    return slice(top, top + side), slice(left, left + side)


class PairedBatches(CropBatches):
    """As `CropBatches`, of pairs that were given: both images of a pair are cut and mirrored alike."""

    def __init__(self, pairs: PairedImages, **options):
        super().__init__(pairs.clean, keep, **options)
        self.damaged = pairs.damaged

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        both = super().__getitem__(step)["target"]
        return {"input": both[:, :3], "target": both[:, 3:]}

    def _cut(self, index: int, place: tuple[slice, slice]) -> Tensor:
        return torch.cat([to_tensor(side.arrays[index][place]) for side in (self.damaged, self.images)])


class UnpairedBatches(Dataset):
    """Item `step`: a training batch {"a", "b", "original"} of crops (N, 3, crop, crop): of two domains, drawn
    independently, and of A as they were before `degrade`, which only a method with pairs looks at.

    Args:
        degrade: applied to the crops of domain A.
        options: as for `CropBatches`.

    Raises:
        ImageError: an image is smaller than the crop.
    """

    def __init__(self, a: Images, b: Images, degrade: Degrade, *, seed: int, **options):
        self.a = CropBatches(a, degrade, seed=f"{seed}/a", **options)
        self.b = CropBatches(b, keep, seed=f"{seed}/b", **options)

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        a = self.a[step]
        return {"a": a["input"], "b": self.b[step]["target"], "original": a["target"]}


class MonochromeBatches(Dataset):
    """The batches of another data set, a share of their pairs as monochrome prints, both sides alike.

    A network that saw few such images may take what is grey and bright for damage.

    Args:
        share: of the pairs, in [0, 1].
        drawn: whether the inputs' damage was drawn on the targets; what no longer shows in a print is then none.

    Raises:
        ValueError: a share out of its range; the message calls it "monochrome".
    """

    def __init__(self, batches: CropBatches, share: float, drawn: bool):
        check("monochrome", share, 0, 1)
        self.batches, self.share, self.drawn = batches, share, drawn

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        batch, generator = self.batches[step], generator_for("monochrome", self.batches.seed, step)
        chosen, brown, dark = torch.rand(3, self.batches.batch_size, generator=generator)
        chosen = chosen.view(-1, 1, 1, 1) < self.share
        made, target = (torch.where(chosen, print_of(batch[k], brown, dark), batch[k]) for k in ("input", "target"))
        if self.drawn:
            made = torch.where(damage_mask(made, target), made, target)
        return {"input": made, "target": target}


def damaged_batches(pairs: PairedImages, degrade: Degrade, monochrome: float = 0.0, **options) -> Dataset:
    """Training batches of pairs, or of clean images that `degrade` damages; a share of them `monochrome`."""
    drawn = pairs.damaged is None
    batches = CropBatches(pairs.clean, degrade, **options) if drawn else PairedBatches(pairs, **options)
    return MonochromeBatches(batches, monochrome, drawn) if monochrome else batches
