"""Train the painter that ships with the scratch finder:

    python scripts/train_painter.py FREE_PHOTOS OVERLAYS FINDER FOLDER STEPS [SEED]

FINDER is the FOLDER of the finder's training, `train_finder.py`; the other arguments are as for that one.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from train_finder import BATCH_SIZE, CROP, VALIDATION_CROP, VALIDATION_IMAGES, training_images

from restoration_lib import training
from restoration_lib.data import datasets
from restoration_lib.data.damage import PRINT_DAMAGE, PrintBatches
from restoration_lib.data.files import list_images
from restoration_lib.degradations import scratched
from restoration_lib.evaluation import measure
from restoration_lib.methods.finder import Finder
from restoration_lib.methods.painter import Painter
from restoration_lib.networks.refined import RefinedGenerator

THRESHOLD = 1.0  # of validation
VALIDATE_EVERY = 500  # steps


def generator_with(finder: str) -> RefinedGenerator:
    """A fresh generator with the finder of a training."""
    generator = RefinedGenerator(features=24, depth=3)
    mean = training.load_best(Finder(steps=1), finder).networks["average"].module
    generator.finder.load_state_dict(mean.state_dict())
    return generator


def validator(images: datasets.Images) -> Callable[[Painter], dict[str, float]]:
    """Means over drawn damage, the same at every call: `psnr`, `ssim`, by THRESHOLD."""
    pairs = datasets.degraded_pairs(images, partial(scratched, **PRINT_DAMAGE), VALIDATION_CROP)
    return measure.validator(pairs, measure.image_score("psnr", "ssim"), restored)


def restored(painter: Painter, pair: datasets.Pair) -> Tensor:
    return painter.restore(pair.input, THRESHOLD)


def main(free_photos: str, overlays: str, finder: str, folder: str, steps: int, seed: int = 0) -> None:
    torch.set_num_threads(1)  # sums over several threads end in other bits
    torch.manual_seed(seed)
    overlay_masks = datasets.load_overlay_masks(overlays)[0]["train"]
    images = training_images(Path(free_photos))
    batches = PrintBatches(images, overlay_masks, crop=CROP, batch_size=BATCH_SIZE, steps=steps, seed=f"{seed}/painter")
    validation = datasets.load(list_images(Path(free_photos, "test"))[:VALIDATION_IMAGES])
    print(f"{len(images)} images, {len(overlay_masks)} overlays, {steps} steps", flush=True)
    painter = Painter(steps=steps, generator=generator_with(finder))
    training.fit(painter, batches, folder, validator(validation), VALIDATE_EVERY, log_every=100)


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7) or not all(text.isdecimal() for text in sys.argv[5:]):
        sys.exit(__doc__)
    main(*sys.argv[1:5], *map(int, sys.argv[5:]))
