"""Two domains of pictures without pairs, A and B, and batches drawn from them independently."""

from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from restoration_lib.data import CropBatches, Degrade, Pictures
from restoration_lib.images import ImageError
from restoration_lib.splits import SAMPLES, split_paths

Split = dict[str, list[Path]]


def domains(a: str | Path, b: str | Path) -> tuple[Split, Split]:
    """Picture files of both domains, by split.

    Args:
        a, b: data sets as for `splits.split_paths`. Folders are searched to any depth, so those of torchvision's
            ImageFolder layout serve as well as plain ones. Where both are the same, its training pictures are divided
            between the domains, every second one by name (neighbours are often of one kind, so that both domains get
            some of each): training sees none of them in both. Validation and test, of which nothing is learned, stay.

    Raises:
        ImageError: as `splits.split_paths`; one domain lies inside the other; too few pictures to divide.
    """
    one, other = _place(a), _place(b)
    for inner, outer in ((one, other), (other, one)):
        if outer in inner.parents:
            raise ImageError(f"{inner} lies inside {outer}: the domains would share pictures; give two side by side")
    split_a, split_b = split_paths(a), split_paths(b)
    if one != other:
        return split_a, split_b
    train = split_a["train"]
    if len(train) < 2:
        raise ImageError(f"{a}: {len(train)} training picture(s) cannot be divided between two domains")
    return split_a | {"train": train[0::2]}, split_b | {"train": train[1::2]}


def _place(dataset: str | Path) -> Path:
    return Path(dataset) if str(dataset) in SAMPLES else Path(dataset).expanduser().resolve()


class UnpairedBatches(Dataset):
    """Item `step`: a training batch {"a", "b"} of crops (N, 3, crop, crop), a pure function of (seed, step).

    Each domain has its own order and its own crops, as `data.CropBatches` makes them.

    Args:
        degrade: applied to the crops of domain A.

    Raises:
        ImageError: a picture is smaller than the crop.
    """

    def __init__(self, a: Pictures, b: Pictures, degrade: Degrade, crop: int, batch_size: int, steps: int, seed: int):
        self.a = CropBatches(a, degrade, crop, batch_size, steps, f"{seed}/a")
        self.b = CropBatches(b, keep, crop, batch_size, steps, f"{seed}/b")

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return {"a": self.a[step]["input"], "b": self.b[step]["target"]}


def keep(pictures: Tensor, generator=None) -> Tensor:
    """The degradation that does nothing."""
    return pictures
