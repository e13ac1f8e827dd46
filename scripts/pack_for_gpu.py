"""Pack what the networks that ship are trained on, to travel to a GPU: `python scripts/pack_for_gpu.py FREE_PHOTOS
OVERLAYS TARGET`, for scripts/gpu_full.sh.

TARGET receives the photographs and paintings that train and those that validate, reduced to a shorter side of SIDE px
at most, as JPEG, and the overlay images as they are: some 30 MB in all. The trainings on a CPU see them larger, and as
they are. TARGET must be new or empty.
"""

import shutil
import sys
from pathlib import Path

from photographs import PAINTINGS, training_files, validation_files
from PIL import Image

from restoration_lib.data.files import list_images, open_rgb

SIDE, QUALITY = 352, 90  # px; of JPEG


def pack(paths: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        image = open_rgb(path)
        factor = min(1, SIDE / min(image.size))
        reduced = image.resize([round(factor * side) for side in image.size], Image.Resampling.BICUBIC)
        target = folder / f"{path.stem}.jpg"
        if target.exists():
            sys.exit(f"{path}: a second image of the name {path.stem}")
        reduced.save(target, quality=QUALITY, subsampling=0)


def main(free_photos: str, overlays: str, target: str) -> None:
    if Path(target).exists() and any(Path(target).iterdir()):
        sys.exit(f"{target}: not empty")
    photographs, paintings = training_files(free_photos)
    parts = {"train": photographs, PAINTINGS: paintings, "test": validation_files(free_photos)}
    for part, paths in parts.items():
        pack(paths, Path(target, part))
    Path(target, "overlays").mkdir(exist_ok=True)
    for path in list_images(overlays):
        shutil.copy(path, Path(target, "overlays", path.name))
    files = [path for path in Path(target).rglob("*") if path.is_file()]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
