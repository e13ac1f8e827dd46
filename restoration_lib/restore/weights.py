"""The networks that come with the library, their weights, and a card of each.

A model is an entry of MODELS and a file, weights/NAME.safetensors: numbers in half precision, and the record of the run
that made them. `ship` writes the file and, from the record, the card weights/NAME.md, and says the hash for the entry.
A file is read only if it has the hash of its entry, and a safetensors file holds numbers and text: none runs code.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from restoration_lib.checks import check_choice
from restoration_lib.filesystem import write_durably

if TYPE_CHECKING:  # the command line names the models before it needs torch
    from torch import nn

FOLDER = Path(__file__).with_name("weights")
MOST_BYTES = 8_000_000  # of a file
RECORD = "record"  # its place in a file's header
NOTES = {  # on the steps of a record that have a sign
    " + ": "Trainings that are added up were made one after the other, each from what the last one had learned.",
    "(of ": "(of N): the best came before the end of the N steps.",
}
FACTS = ("does", "data", "training", "metric", "results", "limits", "failure")  # of a record

IMAGE, DAMAGE, COLOUR = KINDS = ("image", "damage", "colour")


class WeightsError(RuntimeError):
    """Weights that are not there or are not those of the entry. The message is one line."""


@dataclass(frozen=True)
class Model:
    """A network that comes with its weights.

    Args:
        kind: how it is used:
            "image" - images in [0, 1] to restored ones, of `scale` times the size; seen in tiles, so that it must not
            look at the image as a whole;
            "damage" - `RefinedGenerator`: finds the damage, and paints there;
            "colour" - looks once at a reduced copy of the whole photograph, see `colour.adjust`.
        network: module and class among `restoration_lib.networks`.
        arguments: of the class.
        sha256: of the file.
        does: in a few words, for help and messages.
        side: of a "colour" model, px: shorter side of the reduced copy, as in its training.
    """

    kind: str
    network: str
    arguments: Mapping
    sha256: str
    does: str
    side: int = 256

    def __post_init__(self):
        check_choice("kind", self.kind, KINDS)

    def build(self) -> "nn.Module":
        """The network with weights of chance."""
        module, _, name = self.network.partition(".")
        network = getattr(import_module(f"restoration_lib.networks.{module}"), name)(**self.arguments)
        return network.eval().requires_grad_(False)


MODELS: dict[str, Model] = {
    "scratches": Model(
        kind=DAMAGE,
        network="refined.RefinedGenerator",
        arguments={"features": 24, "depth": 3},
        sha256="6662a8cb88a09dd0a30aa0d87415374677e5439616c203354df2a357cddd75fb",
        does="scratches, cracks, creases and dust found and painted over",
    ),
    "faded": Model(
        kind=COLOUR,
        network="tone.ToneGenerator",
        arguments={},
        sha256="e711a084ff7e4b97b2a52d13d49ff5be014ec6f267b602026c166a155af4f84e",
        does="contrast and colours of a faded photograph",
        side=64,
    ),
    "shuffled": Model(
        kind=IMAGE,
        network="picker.Picker",
        arguments={"channels": 96, "blocks": 10, "corrected": True},
        sha256="e795c5dd4152ba216dfe53b4cc42dc5120d2a918640c871d48ffdbb7e1ccdbe0",
        does="pixels that changed places with their neighbours",
    ),
    "enlarge-2x": Model(
        kind=IMAGE,
        network="srresnet.SRResNet",
        arguments={"scale": 2, "features": 48, "blocks": 10, "norm": "none", "residual": True},
        sha256="eb4b792a82bd58850031e595c3b63bcd8dda7fb170a80038af4e771c1129d799",
        does="twice the width and height",
    ),
    "enlarge-4x": Model(
        kind=IMAGE,
        network="srresnet.SRResNet",
        arguments={"scale": 4, "features": 64, "blocks": 16, "norm": "none", "residual": True},
        sha256="88b6e31b377d7172a16695d191a4c7375040e8c868ef66cfe56f63b0215900a0",
        does="four times the width and height",
    ),
}
"""By name, as `--model` takes them."""


def load(name: str) -> "nn.Module":
    """The network of a model with its weights, in single precision, on the CPU, ready to restore.

    Raises:
        WeightsError: its file is missing, damaged, or another one.
    """
    from safetensors.torch import load as tensors_of

    network = MODELS[name].build()
    tensors = {key: value.float() for key, value in tensors_of(_checked(name)).items()}
    network.load_state_dict(tensors)
    return network


def record(name: str) -> dict:
    """The record of the run that made a model's weights. Errors as in `load`."""
    return _record(_checked(name))


def card(name: str, record: Mapping) -> str:
    """A model's card, in Markdown: what its record says, see `ship`.

    Raises:
        ValueError: the record lacks something.
    """
    if missing := [fact for fact in FACTS if fact not in record]:
        raise ValueError(f"{name}: the record says nothing of {', '.join(missing)}")
    training = [f"- {key}: {value}" for key, value in record["training"].items()]
    data = [f"- {key}: {value}" for key, value in record["data"].items()]
    limits = [f"- {limit}" for limit in record["limits"]]
    parts = [
        f"# {name}",
        record["does"],
        "## Trained on",
        "\n".join(data),
        "\n".join(training),
        *[note for sign, note in NOTES.items() if sign in str(record["training"].get("steps"))],
        f"## Measured: {record['metric']}",
        _table(record["results"]),
        *[part for heading, rows in record.get("tables", {}).items() for part in (f"## {heading}", _table(rows))],
        *[f"![{file}]({file})\n\n*{caption}*" for file, caption in record.get("figures", {}).items()],
        "## What it cannot do",
        "\n".join(limits),
    ]
    if record["failure"]:
        parts.append(f"![A failure]({record['failure']})")
        parts.append("*A failure: given, restored, as it was.*")
    return "\n\n".join(parts) + "\n"


def ship(name: str, network: "nn.Module", record: Mapping, folder: Path = FOLDER) -> str:
    """Write weights/NAME.safetensors, in half precision, and its card: both whole or not at all.

    Args:
        network: trained, of the class and the arguments of the entry in MODELS.
        record: of the run, as JSON values; the card shows

            "does": what the model does, a sentence or two,
            "data": names of image sets and their licences,
            "training": steps, device, seconds, commit, date … by name,
            "metric": heading of the results, with unit and the better direction, such as "PSNR (dB) ↑",
            "results": a list of rows, each {"images": name and number of the images, "degraded input": …, the name of
                the best classical filter: …, "this model": …},
            "tables": further ones by their headings, lists of rows, and "figures": captions by file names, beside the
                card; both may be left out,
            "limits": a list of what it cannot do,
            "failure": file name of an image of a failure, beside the card: given, restored, as it was; "" where
                there is none.

    Returns:
        The SHA-256 for the entry.

    Raises:
        ValueError: a record without one of these, weights that half precision cannot hold, or more than 8 MB.
    """
    import torch
    from safetensors.torch import save

    text = card(name, record)  # first: it says what the record lacks
    tensors = {key: value.detach().cpu().half().contiguous() for key, value in network.state_dict().items()}
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise ValueError(f"{name}: half precision cannot hold its weights")
    data = save(tensors, {RECORD: json.dumps(record, ensure_ascii=False, allow_nan=False)})
    if len(data) > MOST_BYTES:
        raise ValueError(f"{name}: {len(data)} bytes, and {MOST_BYTES} is the most that is shipped")
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / f"{name}.safetensors", lambda path: path.write_bytes(data))
    write_durably(folder / f"{name}.md", lambda path: path.write_text(text, encoding="utf-8"))
    return hashlib.sha256(data).hexdigest()


def _checked(name: str) -> bytes:
    """A model's file, read once: what is used is what was compared."""
    path = FOLDER / f"{name}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"the weights of {name} cannot be read: {error.strerror} ({path.name})") from None
    if len(data) > MOST_BYTES or hashlib.sha256(data).hexdigest() != MODELS[name].sha256:
        raise WeightsError(f"the weights of {name} are damaged or others: {path.name} has not the hash of its entry")
    return data


def _record(data: bytes) -> dict:
    """From the header of a safetensors file: 8 bytes with its length, then JSON."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"][RECORD])


def _table(rows: Sequence[Mapping]) -> str:
    """In Markdown; a row may lack some of the others' columns."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(key, "–")) for key in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
