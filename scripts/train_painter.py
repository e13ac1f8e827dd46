"""Train the painter that ships with the scratch finder:

    python scripts/train_painter.py FREE_PHOTOS OVERLAYS FINDER FOLDER STEPS [SEED]

FINDER is the FOLDER of the finder's training, `train_finder.py`; the other arguments are as for that one. The finder is
calibrated first: a threshold of 0 finds FALSE_ALARMS of the pixels of the undamaged photographs of validation.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from photographs import WORKERS, validation_files
from train_finder import BATCH_SIZE, CROP, VALIDATION_CROP, training_images

from restoration_lib import training
from restoration_lib.data import datasets
from restoration_lib.data.damage import PRINT_DAMAGE, PrintBatches
from restoration_lib.degradations import scratched
from restoration_lib.evaluation import measure
from restoration_lib.methods.finder import Finder
from restoration_lib.methods.painter import Painter
from restoration_lib.networks.refined import RefinedGenerator

FALSE_ALARMS = 0.003
VALIDATE_EVERY = 500  # steps


def generator_with(finder: Finder, undamaged: datasets.Images) -> RefinedGenerator:
    """A fresh generator with a trained finder, calibrated on images without damage."""
    generator = RefinedGenerator(features=24, depth=3)
    generator.finder.load_state_dict(finder.networks["average"].module.state_dict())
    logits = torch.cat([finder.find(undamaged[k][None]).flatten() for k in range(len(undamaged))]).sort().values
    threshold = logits[round((1 - FALSE_ALARMS) * (len(logits) - 1))].item()
    print(f"calibrated: {threshold:.3f} becomes 0")
    with torch.no_grad():
        generator.finder.last.bias -= threshold
    return generator


def validator(images: datasets.Images) -> Callable[[Painter], dict[str, float]]:
    """Means over drawn damage, the same at every call: `psnr`, `ssim`."""
    pairs = datasets.degraded_pairs(images, partial(scratched, **PRINT_DAMAGE), VALIDATION_CROP)
    return measure.validator(pairs, measure.image_score("psnr", "ssim"))


def main(free_photos: str, overlays: str, finder: str, folder: str, steps: int, seed: int = 0) -> None:
    torch.set_num_threads(1)  # sums over several threads end in other bits
    torch.manual_seed(seed)
    overlay_masks = datasets.load_overlay_masks(overlays)[0]["train"]
    images = training_images(free_photos)
    batches = PrintBatches(images, overlay_masks, crop=CROP, batch_size=BATCH_SIZE, steps=steps, seed=f"{seed}/painter")
    validation = datasets.load(validation_files(free_photos))
    print(f"{len(images)} images, {len(overlay_masks)} overlays, {steps} steps", flush=True)
    trained = training.load_best(Finder(steps=1), finder)
    painter = Painter(steps=steps, generator=generator_with(trained, validation))
    training.fit(painter, batches, folder, validator(validation), VALIDATE_EVERY, log_every=100, workers=WORKERS)


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7) or not all(text.isdecimal() for text in sys.argv[5:]):
        sys.exit(__doc__)
    main(*sys.argv[1:5], *map(int, sys.argv[5:]))
