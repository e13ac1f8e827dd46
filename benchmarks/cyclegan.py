"""Time and peak memory of a CycleGAN training step at full size: `python benchmarks/cyclegan.py NETWORKS SIDE`.

NETWORKS is old_photo or resnet, with the widths and depths of the originals; batch 1, all weights above 0, two steps,
the second timed. Prints one JSON line; the memory is the largest resident set, or what torch allocated on a GPU.
"""

import json
import resource
import sys
import time

import torch

from restoration_lib.devices import describe, pick_device, pick_precision
from restoration_lib.methods.cyclegan import CycleGAN


def main(architecture: str, side: int) -> None:
    device = pick_device()
    blocks = 6 if architecture == "old_photo" else 9
    losses = {"adversarial": 1.0, "cycle": 10.0, "identity": 5.0}
    method = CycleGAN(steps=100, architecture=architecture, features=64, blocks=blocks, losses=losses).to(device)
    method.precision = pick_precision("auto", device)
    a, b = (torch.rand(1, 3, side, side, device=device) for _ in range(2))
    for _ in range(2):
        start = time.perf_counter()
        terms = method.step({"a": a, "b": b})
        float(terms["generator"])  # waits for a GPU
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    row = {"device": describe(device), "precision": method.precision, "networks": architecture, "side": side}
    print(json.dumps(row | {"step_s": round(seconds, 2), "peak_gb": round(peak / 1e9, 2)}))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]))
