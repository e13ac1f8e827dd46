"""Train the network for faded photographs that ships: `python scripts/train_faded.py FREE_PHOTOS FOLDER STEPS [SEED]`.

FREE_PHOTOS holds train/, photographs that train beside the samples, and test/, of which the first 20 validate. FOLDER
receives the checkpoints: called again with the same arguments, the training goes on after the last one, and ends bit
for bit as if it had never stopped, on a CPU. STEPS and SEED (0) are numbers.
"""

import sys
from collections.abc import Callable

import numpy as np
import torch
from photographs import WORKERS, training_files, validation_files
from skimage.color import rgb2lab
from torch import Tensor

from restoration_lib import training
from restoration_lib.data import datasets
from restoration_lib.data.faded import FadedBatches
from restoration_lib.data.files import to_uint8
from restoration_lib.degradations.ageing import age
from restoration_lib.degradations.monochrome import luma, toned
from restoration_lib.evaluation import measure
from restoration_lib.methods.tone import ToneRestorer

SIZE, CROP, BATCH_SIZE = 200, 96, 8  # px, shorter side of the photographs at most; px; crops
VALIDATION_SIZE, VALIDATION_CROP, VALIDATE_EVERY = 288, 256, 500  # the last in steps


def training_images(free_photos: str) -> datasets.Images:
    photographs, paintings = training_files(free_photos)
    return datasets.load(photographs + paintings, SIZE, min_side=CROP)


def validator(images: datasets.Images) -> Callable[[ToneRestorer], dict[str, float]]:
    """Means over aged images, the same at every call: `psnr`, `ssim`, `ciede2000`; and `chroma` of what becomes of them
    as monochrome prints, grey to sepia."""
    pairs = datasets.degraded_pairs(images, age, VALIDATION_CROP)
    prints = datasets.degraded_pairs(images, aged_print, VALIDATION_CROP)
    by_image = measure.validator(pairs, measure.image_score("psnr", "ssim", "ciede2000"))

    def validate(method: ToneRestorer) -> dict[str, float]:
        return by_image(method) | {"chroma": float(np.mean([chroma(method.restore(pair.input)) for pair in prints]))}

    return validate


def aged_print(image: Tensor, generator: torch.Generator) -> Tensor:
    grey = luma(image).expand(-1, 3, -1, -1)
    return age(toned(grey, torch.rand((), generator=generator).item()), generator=generator)


def chroma(image: Tensor) -> float:
    """Mean chroma of an image (1, 3, H, W) in CIELAB: 0 is grey."""
    lab = rgb2lab(to_uint8(image)[0])
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean())


def main(free_photos: str, folder: str, steps: int, seed: int = 0) -> None:
    torch.set_num_threads(1)  # sums over several threads end in other bits
    torch.manual_seed(seed)
    images = training_images(free_photos)
    batches = FadedBatches(images, crop=CROP, batch_size=BATCH_SIZE, steps=steps, seed=seed)
    validation = datasets.load(validation_files(free_photos), VALIDATION_SIZE)
    print(f"{len(images)} images, {steps} steps", flush=True)
    method, validate = ToneRestorer(steps=steps), validator(validation)
    training.fit(method, batches, folder, validate, VALIDATE_EVERY, log_every=100, workers=WORKERS)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5) or not all(text.isdecimal() for text in sys.argv[3:]):
        sys.exit(__doc__)
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
