"""Make the `faces224` data set: `python scripts/make_faces224.py SOURCE TARGET`.

SOURCE holds Labeled Faces in the Wild, one 250x250 JPEG per person. The central 112x112 pixels are resized to
224x224 (bicubic, 8 bits) and written as PNG to TARGET/test (the first 100 by name), TARGET/val (the next 100) and
TARGET/train (the others). Keep TARGET outside the project: the images are for research only.
"""

import sys
from pathlib import Path

from PIL import Image

from restoration_lib.data.files import list_images, open_rgb


def main(source: str, target: str) -> None:
    for place, path in enumerate(list_images(source)):
        split = "test" if place < 100 else "val" if place < 200 else "train"
        image = open_rgb(path)
        left, top = ((side - 112) // 2 for side in image.size)
        face = image.crop((left, top, left + 112, top + 112)).resize((224, 224), Image.Resampling.BICUBIC)
        folder = Path(target, split)
        folder.mkdir(parents=True, exist_ok=True)
        face.save(folder / f"{path.stem}.png")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
