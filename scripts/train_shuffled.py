"""Train the network that puts shuffled pixels back, which ships:

    python scripts/train_shuffled.py FREE_PHOTOS FOLDER STEPS [SEED [START]]

FREE_PHOTOS holds train/, photographs that train beside the samples, and test/, of which the first 20 validate. FOLDER
receives the checkpoints: called again with the same arguments, the training goes on after the last one, and ends bit
for bit as if it had never stopped, on a CPU. STEPS and SEED (0) are numbers; START is "shipped" for a training that
begins with the weights that the library holds.
"""

import sys
from functools import partial

import torch
from photographs import WORKERS, training_files, validation_files
from torch import Tensor

from restoration_lib import training
from restoration_lib.data import batches, datasets
from restoration_lib.degradations import pixel_shuffle
from restoration_lib.degradations.common import uniform
from restoration_lib.evaluation import measure
from restoration_lib.methods.shuffle import AdversarialRestorer
from restoration_lib.restore.shipped import SHIPPED, begin_with

CHANNELS, BLOCKS = 96, 10
CROP, BATCH_SIZE = 64, 4  # px; crops
NEW_RATE, FURTHER_RATE = 7e-4, 4e-4  # learning rates, from new weights and from those that ship
LEAST_RATE = 0.25  # of the pixels that switch places in a crop; all of them at most
VALIDATION_CROP, VALIDATE_EVERY = 192, 500  # the last in steps

high = partial(pixel_shuffle, rate=1.0)


def any_rate(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 3, H, W), each shuffled at a rate of its own."""
    rates = [uniform(LEAST_RATE, 1, generator) for _ in images]
    return torch.stack(
        [pixel_shuffle(image, rate, generator=generator) for image, rate in zip(images, rates, strict=True)]
    )


def method(steps: int, learning_rate: float = NEW_RATE) -> AdversarialRestorer:
    sizes = {"channels": CHANNELS, "blocks": BLOCKS, "learning_rate": learning_rate}
    return AdversarialRestorer(steps=steps, generator="corrected_picker", losses={"l1": 1.0}, **sizes)


def main(free_photos: str, folder: str, steps: int, seed: int = 0, start: str = "") -> None:
    torch.set_num_threads(1)  # sums over several threads end in other bits
    torch.manual_seed(seed)
    photographs, paintings = training_files(free_photos)
    images = datasets.load(photographs + paintings, min_side=CROP)
    validation = datasets.load(validation_files(free_photos))
    pairs = datasets.degraded_pairs(validation, high, VALIDATION_CROP)
    validate = measure.validator(pairs, measure.image_score("psnr", "ssim"))
    print(f"{len(images)} images, {steps} steps", flush=True)
    crops = batches.CropBatches(images, any_rate, crop=CROP, batch_size=BATCH_SIZE, steps=steps, seed=seed)
    restorer = method(steps, FURTHER_RATE if start else NEW_RATE)
    begin_with(restorer.networks["generator"], "shuffled", start)
    training.fit(restorer, crops, folder, validate, VALIDATE_EVERY, log_every=100, workers=WORKERS)


if __name__ == "__main__":
    numbers, start = sys.argv[3:5], sys.argv[5:]
    if len(sys.argv) < 4 or not all(map(str.isdecimal, numbers)) or start not in ([], [SHIPPED]):
        sys.exit(__doc__)
    main(*sys.argv[1:3], *map(int, numbers), *start)
