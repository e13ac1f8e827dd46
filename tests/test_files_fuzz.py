"""Damaged files of every format that Pillow writes and reads, in a process of its own with little memory.

Each reader of the library must make of each file an image or an ImageError, and neither run long nor need much memory.
"""

import io
import os
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restoration_lib.data.files import ImageError, open_rgb, read_overlay_mask

SEEDS = range(26_000, 28_000)  # of an earlier reader, 27250 made 134 million pixels, out of a file of 143 bytes
SECONDS, MEMORY = 20, 1024**3
MODES = ("RGB", "RGBA", "L", "P", "I;16", "CMYK", "LA", "1", "RGB", "L")  # of the ten files of a format
STATUS = Path("/proc/self/status")  # of Linux


def good_files() -> list[bytes]:
    """Ten files of each format, in the modes that it has; none of EPS, which another program would have to read."""
    Image.init()
    files = []
    for kind in sorted(Image.SAVE.keys() & Image.OPEN.keys() - {"EPS"}):
        for seed, mode in enumerate(MODES):
            made = (encoded(kind, seed, other) for other in (mode, "RGB", "L", "P", "1"))
            files += [data for data in made if data][:1]
    return files


def encoded(kind: str, seed: int, mode: str) -> bytes | None:
    """A smooth image with noise, in a format; None where the format has no such mode."""
    rng = np.random.default_rng(seed)
    height, width = ((1, 1), (7, 33), (64, 64))[seed] if seed < 3 else rng.integers(8, 80, 2)
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 3, columns * 3, rows + columns], axis=2) + rng.integers(0, 20, (height, width, 3))
    image = Image.fromarray(pixels.astype(np.uint8))
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    stream = io.BytesIO()
    try:
        image.save(stream, kind)
        with Image.open(io.BytesIO(stream.getvalue())) as again:
            again.load()
    except Exception:
        return None
    return stream.getvalue()


def mutated(good: list[bytes], seed: int) -> bytes:
    """One of the good files with bytes flipped, cut short, or with the beginning or a piece of another."""
    rng = np.random.default_rng(seed)
    data, other = bytearray(good[seed % len(good)]), good[rng.integers(len(good))]
    way = ("flipped", "flipped header", "numbers", "cut", "spliced", "piece")[rng.integers(6)]
    if way == "flipped":
        for place in rng.integers(0, len(data), rng.integers(1, 20)):
            data[place] ^= 1 << rng.integers(8)
    elif way == "flipped header":
        for place in rng.integers(0, min(64, len(data)), rng.integers(1, 4)):
            data[place] = rng.integers(256)
    elif way == "numbers":  # of a size or an offset: none, one, most, all
        place, length = rng.integers(0, min(200, len(data))), rng.choice([1, 2, 4])
        data[place : place + length] = [b"\0", b"\1", b"\x7f", b"\xff"][rng.integers(4)] * length
    elif way == "cut":
        del data[rng.integers(len(data)) :]
    elif way == "spliced":
        place = rng.integers(1, min(100, len(data), len(other)) + 1)
        data[:place] = other[:place]
    else:
        place, start = rng.integers(len(data)), rng.integers(len(other))
        piece = other[start : start + rng.integers(1, 64)]
        data[place : place + len(piece)] = piece
    return bytes(data)


def is_image(made: Image.Image | torch.Tensor) -> bool:
    if isinstance(made, Image.Image):
        return made.mode == "RGB" and min(made.size) > 0
    if made.dtype == torch.uint8:
        return made.ndim == 2 and made.numel() > 0
    return made.ndim == 3 and len(made) == 3 and 0 <= made.min() <= made.max() <= 1


def memory(name: str) -> int:
    """Bytes of this process: "VmHWM" that it held at most, "VmSize" that it has asked for, held or not."""
    [line] = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def read_all(path: Path) -> None:
    """Write and read one file after the other; anything but an image or an ImageError ends this process."""
    good, counts = good_files(), {"images": 0, "errors": 0}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Pillow's, of metadata
    most, all_there_is = memory("VmHWM") + MEMORY, memory("VmSize") + 4 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (all_there_is, all_there_is))  # a reader that fails must spare the machine
    for seed in SEEDS:
        path.write_bytes(mutated(good, seed))
        for read in (open_rgb, read_overlay_mask):
            print(f"seed {seed}, {read.__name__}", flush=True)
            signal.alarm(SECONDS)  # nobody handles it: it ends this process
            try:
                assert is_image(read(path))
                counts["images"] += 1
            except ImageError:
                counts["errors"] += 1
            assert memory("VmHWM") < most
    print(counts)


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="memory is measured and bounded as Linux does")
def test_damaged_files_are_images_or_image_errors(tmp_path):
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, __file__, str(tmp_path / "damaged")]
    environment = os.environ | {"PYTHONPATH": str(root)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    last = ended.stdout.splitlines()[-1:]
    assert ended.returncode == 0, f"{last}\n{ended.stderr[-2000:]}"
    counts = [int(word.strip(",}")) for word in last[0].split() if word.strip(",}").isdigit()]
    assert sum(counts) == 2 * len(SEEDS) and min(counts) > len(SEEDS) / 2, "both are well tried"


if __name__ == "__main__":
    read_all(Path(sys.argv[1]))
