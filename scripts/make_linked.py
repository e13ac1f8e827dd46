"""Make a data set of links to images that lie elsewhere: `python scripts/make_linked.py NAME DATA TARGET`.

DATA holds the folders photos (ImageNet and BSDS500), coco, faces (Labeled Faces in the Wild), set5, set14, kodak24, and
free_photos/train and free_photos/test (CID22 and CLIC 2025, whose images may be shown). NAME is

    photos_faces   photos in TARGET/train, the first 40 images of coco's val2017 in val, the first 100 faces in test
    photos_coco    photos and coco's train2017 in train, the first 40 of its val2017 in val, the others in test;
                   without bsdstrain_302003.jpg, which is Set5's woman
    sr_tests       TARGET/set5 and TARGET/set14
    free_photos    the first 20 images of free_photos/test in val
    free_samples   the same, and the training images of the samples in train
    damage_tests   TARGET/photographs and TARGET/paintings, the samples' test images but for the vintage ones,
                   TARGET/kodak24, and TARGET/faces, the first 32 faces

Keep TARGET outside the project: the images are for research only, but for those of free_photos and the samples.
"""

import sys
from pathlib import Path

from restoration_lib.data import samples
from restoration_lib.data.files import list_images

SET5_WOMAN = "bsdstrain_302003.jpg"


def parts(name: str, data: Path) -> dict[str, list[Path]]:
    """Images by the subfolder that receives their links."""
    if name == "sr_tests":
        return {part: list_images(data / part) for part in ("set5", "set14")}
    if name in ("free_photos", "free_samples"):
        train, test = (list_images(data / "free_photos" / part) for part in ("train", "test"))
        if name == "free_samples":
            train += samples.split("all")["train"]
        return {"train": train, "val": test[:20], "test": test[20:]}
    if name == "damage_tests":
        worn = samples.vintage()
        sets = {
            part: [path for path in samples.split(part)["test"] if path not in worn]
            for part in ("photographs", "paintings")
        }
        return sets | {"kodak24": list_images(data / "kodak24"), "faces": list_images(data / "faces")[:32]}
    photos, coco = list_images(data / "photos"), list_images(data / "coco")
    first = [path for path in coco if "train2017" in path.relative_to(data / "coco").as_posix()]
    second = [path for path in coco if path not in first]
    if name == "photos_faces":
        return {"train": photos, "val": second[:40], "test": list_images(data / "faces")[:100]}
    if name == "photos_coco":
        others = [path for path in photos if path.name != SET5_WOMAN]
        return {"train": others + first, "val": second[:40], "test": second[40:]}
    sys.exit(__doc__)


def main(name: str, data: str, target: str) -> None:
    for part, paths in parts(name, Path(data)).items():
        folder = Path(target, part)
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path.resolve())


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
