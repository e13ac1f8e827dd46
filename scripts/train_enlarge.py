"""Train the network that doubles width and height, which ships:

    python scripts/train_enlarge.py FREE_PHOTOS FOLDER STEPS [SEED [START]]

FREE_PHOTOS holds train/, photographs that train beside the samples, and test/, of which the first 20 validate. FOLDER
receives the checkpoints: called again with the same arguments, the training goes on after the last one, and ends bit
for bit as if it had never stopped. STEPS and SEED (0) are numbers; START is the FOLDER of another training, whose best
weights this one begins with.
"""

import sys
from pathlib import Path

import torch

from restoration_lib import degradations, training
from restoration_lib.data import batches, datasets, samples
from restoration_lib.data.files import list_images
from restoration_lib.evaluation import measure, super_resolution
from restoration_lib.methods.srgan import SRGAN

SCALE, FEATURES, BLOCKS = 2, 48, 10
CROP, BATCH_SIZE = 96, 4  # px of the large images; crops
NEW_RATE, FURTHER_RATE = 4e-4, 3e-4  # learning rates, from new weights and from those of START; at 1e-3 it diverges
VALIDATION_IMAGES, VALIDATION_CROP, VALIDATE_EVERY = 20, 192, 500  # the last in steps


def training_images(free_photos: Path) -> datasets.Images:
    photographs = list_images(free_photos / "train") + samples.split("photographs")["train"]
    return datasets.load(photographs + samples.split("paintings")["train"], min_side=CROP)


def method(steps: int, learning_rate: float = NEW_RATE) -> SRGAN:
    """The first stage alone: the squared error, no norm, from the bicubic enlargement."""
    sizes = {"scale": SCALE, "features": FEATURES, "blocks": BLOCKS, "norm": "none", "residual": True}
    rates = {"learning_rate": learning_rate}
    return SRGAN(pretraining_steps=steps, adversarial_steps=0, losses={"content": 1.0}, **sizes, **rates)


def main(free_photos: str, folder: str, steps: int, seed: int = 0, start: str = "") -> None:
    torch.set_num_threads(1)  # sums over several threads end in other bits
    torch.manual_seed(seed)
    degrade = degradations.degradation("downscale", scale=SCALE)
    images = training_images(Path(free_photos))
    options = {"crop": CROP, "batch_size": BATCH_SIZE, "steps": steps, "seed": seed, "turned": True}
    validation = datasets.load(list_images(Path(free_photos, "test"))[:VALIDATION_IMAGES])
    pairs = datasets.degraded_pairs(validation, degrade, VALIDATION_CROP, multiple=SCALE)
    validate = measure.validator(pairs, super_resolution.score(SCALE, "psnr_y"))
    print(f"{len(images)} images, {steps} steps", flush=True)
    enlarger = method(steps, FURTHER_RATE if start else NEW_RATE)
    if start:
        begun = training.load_best(method(1), start).networks["generator"]
        enlarger.networks["generator"].load_state_dict(begun.state_dict())
    crops = batches.CropBatches(images, degrade, **options)
    training.fit(enlarger, crops, folder, validate, VALIDATE_EVERY, log_every=100)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5, 6) or not all(text.isdecimal() for text in sys.argv[3:5]):
        sys.exit(__doc__)
    main(*sys.argv[1:3], *map(int, sys.argv[3:5]), *sys.argv[5:])
