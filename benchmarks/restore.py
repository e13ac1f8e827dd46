"""Restoring large photographs: `python benchmarks/restore.py [--megapixels 48] [MODEL …]`, all models without names.

Prints one JSON line a model, for a colour photograph of so many megapixels, 3:2, of 8 bits:

    seconds        of the restoration by itself, without reading and writing the file
    megapixels_s   of the input, a second
    memory_mb      highest resident memory of the process above that after its imports, in 10^6 bytes; with the reading
                   of a JPEG, and the writing as JPEG, PNG and TIFF
    conv_share     share of the machine's convolution speed that it reaches: the time that PyTorch's own convolutions
                   take on the sizes of one tile, in its precision, as often as the tiles are many, by the time that it
                   took

`restore_cpu.jsonl` has the rows of one thread (OMP_NUM_THREADS=1: the times are then the processor's) at 48 megapixels.
Each model runs in a process of its own.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from steps import commit, convolution_ms, convolutions

from restoration_lib.devices import autocast, describe, pick_device, pick_precision
from restoration_lib.restore import photo
from restoration_lib.restore.colour import measured
from restoration_lib.restore.damage import Mender
from restoration_lib.restore.photograph import IN_STRIPS, Photograph, read, write
from restoration_lib.restore.tiles import run, side_that_fits
from restoration_lib.restore.weights import COLOUR, MODELS


def photograph_of(megapixels: float) -> np.ndarray:
    """Blurred noise, so that there is something in every tile."""
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, height * 3 // 16 + 1, 3), dtype=np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)[:height, : height * 3 // 2].copy()


def of_convolutions(name: str, ready: object, pixels: np.ndarray, device: torch.device) -> float:
    """Seconds of the convolutions that the model's networks need for the photograph, by themselves."""
    if isinstance(ready, Mender):
        pairs = [(ready.network.finder, ready.of_finder, 3), (ready.network.painter, ready.of_painter, 7)]
        return sum(_of_tiles(*pair, pixels, device, "fp32") for pair in pairs)
    if MODELS[name].kind == COLOUR:
        calls = _calls(ready, lambda: measured(ready, pixels, MODELS[name].side))
        return sum(count * convolution_ms(*call, device) for call, count in calls.items()) / 1000
    return _of_tiles(*ready, 3, pixels, device, pick_precision("auto", device))


def _of_tiles(network, reached, channels: int, pixels: np.ndarray, device: torch.device, precision: str) -> float:
    """Of one tile of full size, for as many as the cores of all make up: what the margins cost is the tiles' loss."""
    side = side_that_fits(network, reached, precision)
    seen = torch.rand(1, channels, side, side)
    with autocast(device, precision):
        calls = _calls(network, lambda: run(network, reached, seen))
    seconds = sum(count * convolution_ms(*call, device) for call, count in calls.items()) / 1000
    return seconds * pixels.shape[0] * pixels.shape[1] / side**2


def _calls(network, work):
    class One:
        networks, frozen = {"network": network}, {}

    return convolutions(One, work)


def row(name: str, megapixels: float) -> dict:
    device = pick_device()
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    pixels = photograph_of(megapixels)
    height, width, _ = pixels.shape
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.jpg")
        write(Photograph(pixels, "JPEG"), source)
        before = _peak(reset=True)
        given = read(source)  # is kept, as `restore_photo` does, for the comparison
        restoration = photo.Restoration(given, folder=Path(folder))
        photo._ready(name, device)
        start = clock()
        restoration.apply(name)
        seconds = clock() - start
        for kind in IN_STRIPS:
            write(replace(restoration.photograph, format=kind), Path(folder, "out"))
        peak = _peak()
    ready = photo._ready(name, device)
    return {
        "model": name,
        "megapixels": round(height * width / 1e6, 1),
        "commit": commit(),
        "device": describe(device),
        "seconds": round(seconds, 1),
        "megapixels_s": round(height * width / 1e6 / seconds, 3),
        "memory_mb": round((peak - before) / 1e6),
        "conv_share": round(of_convolutions(name, ready, pixels, device) / seconds, 3),
        "words": restoration.words,
    }


def _peak(reset: bool = False) -> int:
    """Bytes: the highest resident memory so far; with `reset`, what is resident now, and the count begins anew."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmRSS" if reset else "VmHWM"].split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--megapixels", type=float, default=48)
    options = parser.parse_args()
    if len(options.models) == 1:
        print(json.dumps(row(options.models[0], options.megapixels)), flush=True)
        return
    for name in options.models or MODELS:
        subprocess.run([sys.executable, __file__, name, "--megapixels", str(options.megapixels)], check=True)


if __name__ == "__main__":
    main()
