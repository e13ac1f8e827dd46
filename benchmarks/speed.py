"""Speed of the shuffled-pixel training step, and the degradation's share of it: `python benchmarks/speed.py [DEVICE]`.

Prints one JSON line for each generator and objective, with 48 channels and batches of 8 crops of 64 px.
"""

import json
import sys
import time
from functools import partial

import numpy as np
import torch

from restoration_lib.data.batches import CropBatches
from restoration_lib.data.datasets import Images
from restoration_lib.degradations import keep, pixel_shuffle
from restoration_lib.devices import describe, pick_device, pick_precision
from restoration_lib.methods.shuffle import AdversarialRestorer

CROP, BATCH, REPEATS = 64, 8, 20
OBJECTIVES = {
    "L1": {"l1": 1.0},
    "L1 + MS-SSIM + cosine": {"l1": 1.0, "ms_ssim": 0.2, "cosine": 0.2},
    "L1 + MS-SSIM + cosine + adversarial": {"l1": 1.0, "ms_ssim": 0.2, "cosine": 0.2, "adversarial": 0.001},
}


def milliseconds(work, device: torch.device) -> float:
    """Median time of a call, after two that do not count."""
    times = []
    for _ in range(REPEATS + 2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times[2:]))


def main(name: str = "auto") -> None:
    device = pick_device(name)
    arrays = [np.random.default_rng(k).integers(0, 256, (160, 160, 3), dtype=np.uint8) for k in range(BATCH)]
    images = Images([str(k) for k in range(BATCH)], arrays)
    options = {"crop": CROP, "batch_size": BATCH, "steps": 1, "seed": 0}
    batches = CropBatches(images, partial(pixel_shuffle, rate=1.0), **options)
    plain = CropBatches(images, keep, **options)
    degradation = milliseconds(lambda: batches[0], device) - milliseconds(lambda: plain[0], device)
    batch = {key: value.to(device, memory_format=torch.channels_last) for key, value in batches[0].items()}
    for generator in ("fcn", "picker"):
        for objective, losses in OBJECTIVES.items():
            method = AdversarialRestorer(steps=1000, generator=generator, losses=losses).to(device)
            method.precision = pick_precision("auto", device)
            step = milliseconds(partial(method.step, batch), device)
            row = {
                "device": describe(device),
                "precision": method.precision,
                "batch": f"{BATCH} x {CROP} px",
                "generator": generator,
                "objective": objective,
                "step_ms": round(step, 1),
                "degradation_ms": round(degradation, 2),
                "degradation_share": round(degradation / step, 4),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
