"""Measure a trained network and put it among those that ship:

    python scripts/ship.py NAME FREE_PHOTOS OTHERS FOLDER...

NAME is one of MODELS. FREE_PHOTOS/test is measured, but for the images that validated, beside the samples' test images
and the subfolders of OTHERS ("-" for none). FOLDER is that of the training; where it began with the weights of others,
theirs come after it, and "shipped" stands for the network that the library holds: alone, that is measured anew. The
hash that is printed belongs to the model's entry in restoration_lib/restore/weights.py.
"""

import datetime
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import finding
import pandas as pd
import torch
import train_enlarge
import train_finder
import train_painter
import train_shuffled
from photographs import VALIDATION_IMAGES, validation_files
from torch import Tensor, nn

from restoration_lib import degradations, training
from restoration_lib.data import datasets, samples
from restoration_lib.data.damage import PRINT_DAMAGE
from restoration_lib.data.files import list_images, write_image
from restoration_lib.degradations.ageing import age
from restoration_lib.evaluation import baselines, measure, scratches, super_resolution
from restoration_lib.evaluation.baselines import INPUT
from restoration_lib.experiments import runs
from restoration_lib.filesystem import write_durably
from restoration_lib.methods.finder import Finder
from restoration_lib.methods.painter import Painter
from restoration_lib.methods.tone import ToneRestorer
from restoration_lib.restore import weights
from restoration_lib.restore.damage import Mender, found, mended

CROP = 256  # px
AGED = 4  # times that each image is aged, each time anew
OURS, SHIPPED = "this model", "shipped"
RELIABILITY = "scratches_reliability.png"
RELIABILITY_CAPTION = (
    "How sure the finder is, and how right: of the pixels to which it gives a probability of damage, the part that is "
    "damaged. Above the line of the exact one it is more often right than it says: it was made so cautious that it "
    f"takes {train_painter.FALSE_ALARMS:.1%} of undamaged photographs for damage."
)
SAMPLES = {"samples": "the project's sample images, CC0 and public domain"}
FREE_PHOTOS = {"free_photos": "CID22 (Cloudinary, CC BY-SA 4.0) and photographs of CLIC 2025 (Unsplash licence)"}
OVERLAYS = {"scratch_masks": "film damage of FilmDamageSimulator (MIT)"}


@dataclass(frozen=True)
class Task:
    """What a model is for, and how it is measured.

    Attributes:
        network: of FREE_PHOTOS and the folders of its training.
        pairs: degraded and clean images, of clean ones and the side of their crop.
        filters: the best classical ones, by name.
        restorers: what comes of a pair with the help of its network, by name; at last the model itself, OURS.
        score: its first metric is the one that the card shows, under the name `metric`.
        samples: names of the sample sets that are measured.
        does, data, limits: for the card.
        draws: how many times `pairs` degrades each image.
    """

    network: Callable[[str, Sequence[str]], nn.Module]
    pairs: Callable[..., list[datasets.Pair]]
    filters: Mapping[str, measure.Restorer]
    restorers: Mapping[str, Callable[[nn.Module, datasets.Pair], Tensor]]
    score: measure.Score
    metric: str
    samples: tuple[str, ...]
    does: str
    data: Mapping[str, str]
    limits: tuple[str, ...]
    draws: int = 1


def finder_and_painter(free_photos: str, folders: Sequence[str]) -> nn.Module:
    """The generator of a painter's training, its finder calibrated on FREE_PHOTOS. Folders are those of painter and
    finder, or that of a finder and SHIPPED: beside it, the painter that ships stays."""
    photographs = validation_files(free_photos)
    painter_stays = folders[1] == SHIPPED
    finder = training.load_best(Finder(steps=1), folders[0] if painter_stays else folders[1])
    generator = train_painter.generator_with(finder, datasets.load(photographs))
    if painter_stays:
        trained = weights.load("scratches").painter
    else:
        painter = training.load_best(Painter(steps=1, generator=generator), folders[0])
        trained = painter.networks["average"].module
    generator.painter.load_state_dict(trained.state_dict())
    return generator


def tone_generator(free_photos: str, folders: Sequence[str]) -> nn.Module:
    return training.load_best(ToneRestorer(steps=1), folders[0]).networks["average"].module


def shuffle_generator(free_photos: str, folders: Sequence[str]) -> nn.Module:
    return training.load_best(train_shuffled.method(1), folders[0]).networks["generator"]


def painted(network: nn.Module, pair: datasets.Pair) -> Tensor:
    return mended(Mender(network), pair.input)[0]


def inpainted(network: nn.Module, pair: datasets.Pair) -> Tensor:
    """Biharmonic inpainting of what the network finds."""
    mask = found(network.finder(2 * pair.input - 1)[0, 0].numpy())
    return scratches.inpainted(lambda *_: torch.from_numpy(mask)[None, None], pair)


def made(network: nn.Module, pair: datasets.Pair) -> Tensor:
    return network(pair.input)


def enlarger(scale: int) -> Task:
    """The task of enlarging `scale` times; pairs are of images that are reduced by so much."""

    def network(free_photos: str, folders: Sequence[str]) -> nn.Module:
        return training.load_best(train_enlarge.method(scale, 1), folders[0]).networks["generator"]

    degrade = degradations.degradation("downscale", scale=scale)
    return Task(
        network=network,
        pairs=partial(datasets.degraded_pairs, degrade=degrade, multiple=scale),
        filters={"bicubic": super_resolution.bicubic(scale)},
        restorers={OURS: made},
        score=super_resolution.score(scale, "psnr_y"),
        metric="PSNR of Y (dB) ↑, bicubic reduction",
        samples=("photographs", "paintings"),
        does=f"Width and height times {scale}, sharper than interpolation makes them.",
        data=SAMPLES | FREE_PHOTOS,
        limits=(
            "It was trained on sharp images that were reduced: blur, grain and JPEG blocks are enlarged too.",
            "It minimises the squared error: it invents no texture.",
        ),
    )


MODELS = {
    "scratches": Task(
        network=finder_and_painter,
        pairs=partial(datasets.degraded_pairs, degrade=partial(degradations.scratched, **PRINT_DAMAGE)),
        filters={"median 5x5": partial(measure.filtered, baselines.SHUFFLE_BASELINES["median 5x5"])},
        restorers={baselines.FOUND_MASK: inpainted, OURS: painted},
        score=measure.image_score("psnr"),
        metric="PSNR (dB) ↑ of drawn damage",
        samples=("photographs",),
        does="Finds scratches, cracks, creases and dust, and paints there; all other pixels stay as they are.",
        data=SAMPLES | FREE_PHOTOS | OVERLAYS,
        limits=(
            "Large missing parts: what is wider than some ten pixels is filled smoothly.",
            "Wires, whiskers, lace and highlights are sometimes taken for damage: a higher `--threshold` spares them, "
            "or a mask that was corrected by hand, see `--mask`.",
            "Faint damage, of less than 20 grey levels, is left.",
        ),
    ),
    "faded": Task(
        network=tone_generator,
        pairs=partial(datasets.degraded_pairs, degrade=age, draws=AGED),
        draws=AGED,
        filters={"histogram stretch": partial(measure.filtered, baselines.stretch)},
        restorers={OURS: made},
        score=measure.image_score("psnr"),
        metric="PSNR (dB) ↑ of aged photographs",
        samples=("photographs",),
        does="Gives a faded photograph its contrast and colours back, by one change for the whole image.",
        data=SAMPLES | FREE_PHOTOS,
        limits=(
            "It was trained on images that were aged by computation; prints fade in more ways.",
            "All of an image changes alike: a corner that faded more stays so, and so does a stain. Of a stain on a "
            "grey print the colour goes.",
            "What colours a scene had is a guess: a red evening may come back too blue. `--strength` takes a part.",
        ),
    ),
    "shuffled": Task(
        network=shuffle_generator,
        pairs=partial(datasets.degraded_pairs, degrade=train_shuffled.high),
        filters={"median 5x5": partial(measure.filtered, baselines.SHUFFLE_BASELINES["median 5x5"])},
        restorers={OURS: made},
        score=measure.image_score("psnr"),
        metric="PSNR (dB) ↑, each pixel switched within 5 x 5",
        samples=("photographs", "paintings"),
        does="Puts pixels back that have switched places with their neighbours.",
        data=SAMPLES | FREE_PHOTOS,
        limits=(
            "It knows no other damage: of a photograph whose pixels are in their places it smooths the finest detail.",
            "It was trained on switches within 5 x 5 pixels; from farther away nothing is brought back.",
        ),
    ),
    "enlarge-2x": enlarger(2),
    "enlarge-4x": enlarger(4),
}
MENDED = ("scratches", "faded")  # models that may mend the vintage samples, which have no undamaged original
SIZES = {"faded": 288}  # px, shorter side of the images of one model, others are measured as they are


@torch.inference_mode()
def rows(name: str, network: nn.Module, sets: Mapping[str, datasets.Images]) -> pd.DataFrame:
    """A row for each image and restorer: `set`, `image`, `method`, and the metric."""
    task = MODELS[name]
    helped = {key: partial(restore, network.eval()) for key, restore in task.restorers.items()}
    restorers = {INPUT: measure.as_it_is, **task.filters, **helped}
    if name.startswith("enlarge"):
        del restorers[INPUT]  # it has another size
    tables = [
        measure.measure(restorers, pairs_of(name, key, images), task.score).assign(set=key)
        for key, images in sets.items()
    ]
    return pd.concat(tables)


def test_sets(name: str, free_photos: str = "", others: str = "-", size: int = 0) -> dict[str, datasets.Images]:
    """The samples' test images, and what is given, with a shorter side of `size` px at most; 0 is the model's own."""
    files = {"samples": [path for kind in MODELS[name].samples for path in samples.split(kind)["test"]]}
    files["samples"] = [path for path in files["samples"] if name not in MENDED or path not in samples.vintage()]
    if free_photos:
        files["free_photos"] = list_images(Path(free_photos, "test"))[VALIDATION_IMAGES:]
    for folder in sorted(Path(others).iterdir()) if others != "-" else ():
        files[folder.name] = list_images(folder)
    return {key: datasets.load(paths, size or SIZES.get(name, 0)) for key, paths in files.items()}


def pairs_of(name: str, key: str, images: datasets.Images) -> list[datasets.Pair]:
    """The centres of our own sets' images, and the whole ones of those that papers measure."""
    return MODELS[name].pairs(images, crop=CROP if key in ("samples", "free_photos") else 0)


def results(table: pd.DataFrame, metric: str, draws: int) -> list[dict]:
    """Means, a row for each set, of which each image was degraded `draws` times."""
    means = table.groupby(["set", "method"], sort=False)[metric].mean().unstack("method")[table["method"].unique()]
    counts = table.groupby("set")["image"].nunique() // draws
    often = f", each {draws} times" if draws > 1 else ""
    return [{"images": f"{key} ({counts[key]}{often})", **row.round(3).to_dict()} for key, row in means.iterrows()]


def trainings(name: str, folders: Sequence[str]) -> dict[str, str]:
    """Steps, minutes and devices of the trainings, the first one first."""
    facts = [weights.record(name)["training"] if folder == SHIPPED else training_of(folder) for folder in folders[::-1]]
    columns = {key: [fact[key] for fact in facts] for key in ("steps", "minutes", "device")}
    columns["device"] = dict.fromkeys(columns["device"])
    return {key: " + ".join(values) for key, values in columns.items()}


def training_of(folder: str) -> dict[str, str]:
    """Steps of a training, those until its best checkpoint first where they are fewer, its minutes and its device."""
    state = torch.load(Path(folder, training.LAST), weights_only=True)
    validated = [row for row in state["history"] if any(name.startswith("validation_") for name in row)]
    first = next(name for name in validated[0] if name.startswith("validation_"))
    best, steps = max(validated, key=lambda row: row[first])["step"], state["step"]
    return {
        "steps": str(steps) if best == steps else f"{best} (of {steps})",
        "minutes": f"{state['seconds'] / 60:.0f}",
        "device": state["device"],
    }


def main(name: str, free_photos: str, others: str, *folders: str) -> None:
    torch.set_num_threads(1)  # sums over several threads end in other bits
    task, commit = MODELS[name], runs.commit()  # before a file is written
    network = weights.load(name) if folders[0] == SHIPPED else task.network(free_photos, folders).eval()
    for parameter in network.parameters():
        parameter.data = parameter.half().float()  # as it will be read
    table = rows(name, network, test_sets(name, free_photos, others))
    metric = table.columns.difference(["set", "image", "method"])[0]
    print(table.groupby(["set", "method"], sort=False)[metric].mean().unstack("method").round(2))
    more = finder_facts(network, free_photos, others) if name == "scratches" else {}
    record = {
        "does": task.does,
        "data": task.data,
        "training": {
            **trainings(name, folders),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "date": datetime.date.today().isoformat(),
            "commit": commit,
        },
        "metric": task.metric,
        "results": results(table, metric, task.draws),
        **more,
        "limits": list(task.limits),
        "failure": f"{name}_failure.jpg",
    }
    write_image(failure(name, network, table, metric), weights.FOLDER / record["failure"])
    print(f'sha256="{weights.ship(name, network, record)}"')


def finder_facts(network: nn.Module, free_photos: str, others: str) -> dict[str, dict]:
    """What the record says of the damage that is found, in whole images; the figure is written."""
    sets = test_sets("scratches", free_photos, others, train_finder.SIZE)
    looked = {name: finding.look(Mender(network), images) for name, images in sets.items()}
    write_durably(weights.FOLDER / RELIABILITY, partial(finding.diagram(looked).savefig, format="png"))
    return {
        "tables": finding.tables(looked),
        "figures": {RELIABILITY: RELIABILITY_CAPTION},
    }


def failure(name: str, network: nn.Module, table: pd.DataFrame, metric: str) -> Tensor:
    """The sample image on which the network gains least over the filter: given, restored, as it was; (3, H, W)."""
    table = table[table["set"] == "samples"].pivot(index="image", columns="method", values=metric)
    worst = (table[OURS] - table[next(iter(MODELS[name].filters))]).idxmin()
    pair = next(pair for pair in pairs_of(name, "samples", test_sets(name)["samples"]) if pair.name == worst)
    with torch.inference_mode():
        shown = [pair.input, MODELS[name].restorers[OURS](network, pair).clamp(0, 1), pair.target]
    shown = [nn.functional.interpolate(image, pair.target.shape[-2:], mode="nearest") for image in shown]
    return torch.cat(shown, 3)[0]


if __name__ == "__main__":
    if len(sys.argv) < 5 or sys.argv[1] not in MODELS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
