"""Make the `photos_faces` data set: `python benchmarks/photos_faces.py DATA TARGET`.

DATA holds the folders photos (ImageNet and BSDS500), coco and faces (Labeled Faces in the Wild). Their files are
linked, as they are: photos to TARGET/train, the first 40 pictures of coco's second part to TARGET/val, the first 100
faces to TARGET/test. Keep TARGET outside the project: the pictures are for research only.
"""

import sys
from pathlib import Path

from restoration_lib.images import list_images


def main(data: str, target: str) -> None:
    parts = {
        "train": list_images(Path(data, "photos")),
        "val": [path for path in list_images(Path(data, "coco")) if "train" not in path.name][:40],
        "test": list_images(Path(data, "faces"))[:100],
    }
    for part, paths in parts.items():
        folder = Path(target, part)
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path.resolve())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
