"""Train the scratch finder that ships:

    python scripts/train_finder.py FREE_PHOTOS OVERLAYS FOLDER STEPS [SEED [START]]

FREE_PHOTOS holds train/, photographs that train beside the samples, and test/, of which the first 20 validate; OVERLAYS
holds overlay images, split by their names. FOLDER receives the checkpoints: called again with the same arguments, the
training goes on after the last one, and ends bit for bit as if it had never stopped, on a CPU. STEPS and SEED (0) are
numbers; START is the FOLDER of another training, whose best weights this one begins with, or "shipped", for those that
the library holds.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from photographs import WORKERS, training_files, validation_files
from torch import Tensor

from restoration_lib import training
from restoration_lib.data import datasets
from restoration_lib.data.damage import PRINT_DAMAGE, PrintBatches
from restoration_lib.degradations import damage_mask, scratched
from restoration_lib.methods.finder import Finder
from restoration_lib.restore import weights

SIZE, CROP, BATCH_SIZE = 768, 160, 4  # px, shorter side of the photographs at most; px; crops
VALIDATION_CROP, VALIDATE_EVERY = 256, 1000  # the last in steps
NEW_RATE, FURTHER_RATE = 1e-3, 6e-4  # learning rates, from new weights and from those of START
CLEAR = 48  # grey levels: cracks that the finder that ships must not miss


def training_images(free_photos: str) -> datasets.Images:
    """Photographs twice, paintings once."""
    photographs, paintings = training_files(free_photos)
    return datasets.load(2 * photographs + paintings, SIZE, min_side=CROP)


def validator(images: datasets.Images) -> Callable[[Finder], dict[str, float]]:
    """Means over drawn damage and over the same images without it, both the same at every call.

    - `f1`, `recall` of the mask found (a logit above 0) against the damage,
    - `recall48` of the damage that differs by CLEAR grey levels,
    - `undamaged0`, `undamaged1`: percent of the undamaged images found, with a logit above 0 and above 1.
    """
    pairs = datasets.degraded_pairs(images, partial(scratched, **PRINT_DAMAGE), VALIDATION_CROP)

    def validate(finder: Finder) -> dict[str, float]:
        rows = [scores(finder, pair) for pair in pairs]
        means = torch.tensor([list(row.values()) for row in rows]).mean(0).tolist()
        return dict(zip(rows[0], means, strict=True))

    return validate


def scores(finder: Finder, pair: datasets.Pair) -> dict[str, Tensor]:
    true, clear = damage_mask(pair.input, pair.target), damage_mask(pair.input, pair.target, CLEAR)
    found, undamaged = finder.find(pair.input) > 0, finder.find(pair.target)
    hits = (found & true).sum()
    return {
        "f1": 2 * hits / (found.sum() + true.sum()),
        "recall": hits / true.sum(),
        "recall48": (found & clear).sum() / clear.sum(),
        "undamaged0": 100 * (undamaged > 0).float().mean(),
        "undamaged1": 100 * (undamaged > 1).float().mean(),
    }


def begin_with(finder: Finder, start: str) -> None:
    """Give the network and its running mean the running mean of another training."""
    if start == "shipped":
        mean = weights.load("scratches").finder
    else:
        mean = training.load_best(Finder(steps=1), start).networks["average"].module
    for network in (finder.networks["finder"], finder.networks["average"].module):
        network.load_state_dict(mean.state_dict())


def main(free_photos: str, overlays: str, folder: str, steps: int, seed: int = 0, start: str = "") -> None:
    torch.set_num_threads(1)  # sums over several threads end in other bits
    torch.manual_seed(seed)
    overlay_masks = datasets.load_overlay_masks(overlays)[0]["train"]
    images = training_images(free_photos)
    batches = PrintBatches(images, overlay_masks, crop=CROP, batch_size=BATCH_SIZE, steps=steps, seed=seed)
    validation = datasets.load(validation_files(free_photos))
    print(f"{len(images)} images, {len(overlay_masks)} overlays, {steps} steps", flush=True)
    finder = Finder(steps=steps, learning_rate=FURTHER_RATE if start else NEW_RATE)
    if start:
        begin_with(finder, start)
    training.fit(finder, batches, folder, validator(validation), VALIDATE_EVERY, log_every=100, workers=WORKERS)


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6, 7) or not all(text.isdecimal() for text in sys.argv[4:6]):
        sys.exit(__doc__)
    main(*sys.argv[1:4], *map(int, sys.argv[4:6]), *sys.argv[6:])
