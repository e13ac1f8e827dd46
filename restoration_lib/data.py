"""Pictures in memory, and the batches and pairs made of them."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from restoration_lib.images import ImageError, open_rgb, to_tensor

Degrade = Callable[..., Tensor]  # degrade(pictures, generator=generator) -> pictures, of the same shape or smaller


@dataclass
class Pictures:
    """Pictures of one split, decoded once and kept in memory as 8-bit RGB (H, W, 3): 150 KB each at 224 x 224."""

    names: list[str] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # one line for each unreadable file

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Tensor:
        """Picture (3, H, W), float in [0, 1]."""
        return to_tensor(self.arrays[index])

    def add(self, name: str, picture: Image.Image) -> None:
        """Its name gets " #2", … where another picture has it, for tables tell pictures by their names."""
        unique, count = name, 1
        while unique in self.names:
            count += 1
            unique = f"{name} #{count}"
        self.names.append(unique)
        self.arrays.append(np.asarray(picture))

    def skip(self, path: Path, error: ImageError) -> None:
        """Warn that a file cannot be read, and keep the line for the record."""
        line = str(error).replace(str(path), path.name)  # records and notebooks are shared: no one's paths in them
        warnings.warn(f"skipped: {line}", stacklevel=3)
        self.skipped.append(line)

    def require(self, side: int) -> "Pictures":
        """The same pictures, if none is smaller than `side` px.

        Raises:
            ImageError: names the first one that is.
        """
        for name, array in zip(self.names, self.arrays, strict=True):
            if min(array.shape[:2]) < side:
                raise ImageError(
                    f"{_too_small(name, array.shape[1::-1], side)}; lower crop or raise size, or take the picture out"
                )
        return self

    def drop_small(self, side: int) -> None:
        """Take out the pictures smaller than `side` px, and list them in `skipped`."""
        large = []
        for name, array in zip(self.names, self.arrays, strict=True):
            if min(array.shape[:2]) < side:
                self.skipped.append(_too_small(name, array.shape[1::-1], side))
            else:
                large.append((name, array))
        self.names, self.arrays = [name for name, _ in large], [array for _, array in large]


def _too_small(name: str, size: tuple[int, int], side: int) -> str:
    width, height = size
    return f"{name}: {width} x {height} px is smaller than the {side} px needed"


def load(paths: list[Path], size: int = 0, limit: int = 0, least: int = 0) -> Pictures:
    """Read pictures; one that cannot be read is named in a warning, skipped, and listed in `skipped`.

    Args:
        size: longest length of the shorter side in pixels, larger pictures are reduced (bicubic); 0 keeps them.
        limit: at most so many pictures, the first ones; 0 takes all.
        least: pictures with a shorter side than this, in pixels, are skipped too, and listed.

    Raises:
        ImageError: no paths, or not one picture could be read, or is large enough.
        ValueError: a negative size or limit.
    """
    for name, value in {"size": size, "limit": limit}.items():
        if value < 0:
            raise ValueError(f"{name}: expected 0 or more, got {value}")
    pictures = Pictures()
    for path in paths:
        if limit and len(pictures) == limit:
            break
        try:
            picture = reduced(open_rgb(path), size)
        except ImageError as error:
            pictures.skip(path, error)
            continue
        if min(picture.size) < least:
            pictures.skipped.append(_too_small(path.name, picture.size, least))
        else:
            pictures.add(path.name, picture)
    if not pictures.arrays:
        where = paths[0].parent if paths else "data.load"
        reason = f"; the last: {pictures.skipped[-1]}" if pictures.skipped else ""
        raise ImageError(f"{where}: none of the {len(pictures.skipped)} pictures can be used{reason}")
    return pictures


def reduced(picture: Image.Image, size: int) -> Image.Image:
    """The picture with a shorter side of at most `size` px (bicubic); 0 keeps it."""
    shorter = min(picture.size)
    if not size or shorter <= size:
        return picture
    return picture.resize([round(side * size / shorter) for side in picture.size], Image.Resampling.BICUBIC)


def generator_for(*key: int | str) -> torch.Generator:
    """CPU generator whose seed depends on the whole key, and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class CropBatches(Dataset):
    """Item `step`: a training batch {"input", "target"}, target (N, 3, crop, crop), a pure function of (seed, step).

    Pictures come in a new random order each epoch; the crop is drawn uniformly and mirrored half of the time, and
    degraded after that.

    Args:
        degrade: called as degrade(pictures, generator=generator).
        steps: number of batches.

    Raises:
        ImageError: a picture is smaller than the crop.
    """

    def __init__(self, pictures: Pictures, degrade: Degrade, crop: int, batch_size: int, steps: int, seed: int | str):
        for name, value in {"crop": crop, "batch_size": batch_size}.items():
            if value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value}")
        self.pictures, self.degrade, self.crop = pictures.require(crop), degrade, crop
        self.batch_size, self.steps, self.seed = batch_size, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of a training of {self.steps} steps")
        generator = generator_for("batch", self.seed, step)
        target = torch.stack([self._crop(index, generator) for index in self.indices(step)])
        return {"input": self.degrade(target, generator=generator), "target": target}

    def indices(self, step: int) -> list[int]:
        """Which pictures batch `step` holds."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [self._order(place // len(self.pictures))[place % len(self.pictures)] for place in places]

    def _order(self, epoch: int) -> list[int]:
        return torch.randperm(len(self.pictures), generator=generator_for("epoch", self.seed, epoch)).tolist()

    def _crop(self, index: int, generator: torch.Generator) -> Tensor:
        sides = self.pictures.arrays[index].shape[:2]
        y, x = (int(torch.randint(side - self.crop + 1, (), generator=generator)) for side in sides)
        crop = self._cut(index, slice(y, y + self.crop), slice(x, x + self.crop))
        return crop.flip(2) if torch.rand((), generator=generator) < 0.5 else crop

    def _cut(self, index: int, rows: slice, columns: slice) -> Tensor:
        return to_tensor(self.pictures.arrays[index][rows, columns])


@dataclass(frozen=True)
class Pair:
    """A degraded picture and its truth, (1, 3, H, W), float in [0, 1]; the former is smaller in super-resolution."""

    name: str
    input: Tensor
    target: Tensor


def degraded_pairs(pictures: Pictures, degrade: Degrade, crop: int = 0, seed: int = 0, draws: int = 1) -> list[Pair]:
    """Pairs for validation and test: the damage depends on `seed` and the file name alone, so all runs share it.

    Args:
        crop: of each picture, take the central `crop` x `crop` px, or what there is of them; 0 takes all.
        draws: how many times each picture is degraded, each time anew; from the second on, names end in " (2)", …
    """
    if crop < 0:
        raise ValueError(f"crop: expected 0 or more, got {crop}")
    pairs = []
    for name, array in zip(pictures.names, pictures.arrays, strict=True):
        target = central(array, crop)
        for draw in range(1, draws + 1):
            named = name if draw == 1 else f"{name} ({draw})"
            pairs.append(Pair(named, degrade(target, generator=generator_for("pair", seed, named)), target))
    return pairs


def central(array: np.ndarray, crop: int) -> Tensor:
    """The central `crop` x `crop` px of an 8-bit picture, or what there is of them, (1, 3, h, w); 0 takes all."""
    top, left = (max(0, side - crop) // 2 for side in array.shape[:2])
    return to_tensor(array[top : top + crop, left : left + crop] if crop else array)[None]
