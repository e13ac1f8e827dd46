"""Make the `photos288` data set: `python scripts/make_photos288.py DATA TARGET`.

DATA holds the folders photos (ImageNet and BSDS500), coco and kodak24. Their images are resized to a shorter side of
288 px (bicubic) and written as PNG: photos and the training part of coco to TARGET/train, the first 40 of coco's other
part to TARGET/val, kodak24 to TARGET/test. Keep TARGET outside the project: the images are for research only.
"""

import sys
from pathlib import Path

from PIL import Image

from restoration_lib.data.files import list_images, open_rgb, to_tensor, write_image

BICUBIC = Image.Resampling.BICUBIC


def main(data: str, target: str) -> None:
    coco = list_images(Path(data, "coco"))
    held_out = [path for path in coco if "train" not in path.name]
    parts = {
        "train": list_images(Path(data, "photos")) + [path for path in coco if path not in held_out],
        "val": held_out[:40],
        "test": list_images(Path(data, "kodak24")),
    }
    for part, paths in parts.items():
        for path in paths:
            image = open_rgb(path)
            image = image.resize([round(288 * side / min(image.size)) for side in image.size], BICUBIC)
            write_image(to_tensor(image), Path(target, part, f"{path.stem}.png"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
