"""Train the network that multiplies width and height, which ships:

    python scripts/train_enlarge.py SCALE FREE_PHOTOS FOLDER STEPS [SEED [START]]

SCALE is 2 or 4. FREE_PHOTOS holds train/, photographs that train beside the samples, and test/, of which the first 20
validate. FOLDER receives the checkpoints: called again with the same arguments, the training goes on after the last
one, and ends bit for bit as if it had never stopped, on a CPU. STEPS and SEED (0) are numbers; START is the FOLDER of
another training, whose best weights this one begins with, or "shipped", for those that the library holds.
"""

import sys

import torch
from photographs import WORKERS, training_files, validation_files
from torch import nn

from restoration_lib import degradations, training
from restoration_lib.data import batches, datasets
from restoration_lib.evaluation import measure, super_resolution
from restoration_lib.methods.srgan import SRGAN
from restoration_lib.restore import weights

SIZES = {2: {"features": 48, "blocks": 10}, 4: {"features": 64, "blocks": 16}}
CROP = {2: 96, 4: 128}  # px of the large images
BATCH_SIZE = 4  # crops
NEW_RATE, FURTHER_RATE = 4e-4, 3e-4  # learning rates, from new weights and from those of START; at 1e-3 it diverges
VALIDATION_CROP, VALIDATE_EVERY = 192, 500  # the last in steps


def training_images(free_photos: str, crop: int) -> datasets.Images:
    photographs, paintings = training_files(free_photos)
    return datasets.load(photographs + paintings, min_side=crop)


def method(scale: int, steps: int, learning_rate: float = NEW_RATE) -> SRGAN:
    """The first stage alone: the squared error, no norm, from the bicubic enlargement."""
    lengths = {"pretraining_steps": steps, "adversarial_steps": 0, "losses": {}}
    return SRGAN(**lengths, scale=scale, norm="none", residual=True, learning_rate=learning_rate, **SIZES[scale])


def begun(scale: int, start: str) -> nn.Module:
    """The network that a training begins with."""
    if start == "shipped":
        return weights.load(f"enlarge-{scale}x")
    return training.load_best(method(scale, 1), start).networks["generator"]


def main(scale: int, free_photos: str, folder: str, steps: int, seed: int = 0, start: str = "") -> None:
    torch.set_num_threads(1)  # sums over several threads end in other bits
    torch.manual_seed(seed)
    degrade = degradations.degradation("downscale", scale=scale)
    images = training_images(free_photos, CROP[scale])
    options = {"crop": CROP[scale], "batch_size": BATCH_SIZE, "steps": steps, "seed": seed, "turned": True}
    validation = datasets.load(validation_files(free_photos))
    pairs = datasets.degraded_pairs(validation, degrade, VALIDATION_CROP, multiple=scale)
    validate = measure.validator(pairs, super_resolution.score(scale, "psnr_y"))
    print(f"{len(images)} images, {steps} steps", flush=True)
    enlarger = method(scale, steps, FURTHER_RATE if start else NEW_RATE)
    if start:
        enlarger.networks["generator"].load_state_dict(begun(scale, start).state_dict())
    crops = batches.CropBatches(images, degrade, **options)
    training.fit(enlarger, crops, folder, validate, VALIDATE_EVERY, log_every=100, workers=WORKERS)


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6, 7) or sys.argv[1] not in "24" or not all(map(str.isdecimal, sys.argv[4:6])):
        sys.exit(__doc__)
    main(int(sys.argv[1]), *sys.argv[2:4], *map(int, sys.argv[4:6]), *sys.argv[6:])
