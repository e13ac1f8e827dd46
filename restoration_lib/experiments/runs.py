"""A run's folder: parameters, where they were run, history, one row per image, figures."""

import ast
import inspect
import io
import json
import math
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as Pillow

from restoration_lib.checks import hint
from restoration_lib.experiments.notebooks import PROJECT, RECORD, ExperimentError, parameters_cell, typed
from restoration_lib.filesystem import shown, write_durably

SCRATCH = PROJECT / "results" / "scratch"  # ignored by git
HISTORY, FIGURES, CHECKPOINTS, KEPT = "history.csv", "figures", "checkpoints", ".kept"
UNBOUNDED = ("psnr", "psnr_y", "round_trip", "identity")  # metrics that are infinite where there is no error
JPEG = {"quality": 90, "subsampling": 0}
INJECTED = "# Parameters\n"  # first line of the cell that papermill adds


@dataclass
class Run:
    """A run under way. `folder` holds the checkpoints from the start, and run.json once the run is finished."""

    folder: Path
    notebook: str
    parameters: dict
    origin: dict = field(default_factory=lambda: provenance())  # of the start: the code that runs, not what comes later
    begin: float = field(default_factory=time.perf_counter)

    @property
    def checkpoints(self) -> Path:
        return self.folder / CHECKPOINTS

    @property
    def kept(self) -> Path:
        """Where the runs of a sweep keep the measurements that no network enters, see `evaluation.kept`."""
        return self.folder.parent / KEPT

    def arguments(self, taker: Callable) -> dict:
        """The parameters that `taker`, a class or a function, has arguments of the same names for, and all `options`.

        Raises:
            ValueError: an option that `taker` does not take, or that is a parameter of its own.
        """
        takes = inspect.signature(taker).parameters
        options = self.parameters.get("options", {})
        if unknown := sorted(options.keys() - takes.keys()):
            others = ", ".join(name for name in takes if name not in self.parameters)
            raise ValueError(f"options: {taker.__name__} takes {others}, and no {', '.join(unknown)}")
        if twice := sorted(options.keys() & self.parameters.keys()):
            raise ValueError(f"options: {', '.join(twice)} has a line of its own in the parameters cell")
        return {name: value for name, value in self.parameters.items() if name in takes} | options

    def save_figure(self, name: str, figure: Figure) -> Image:
        """Write the figure and hand it on as the notebook shows it: as PNG, or images as JPEG if that is smaller."""
        folder, made = self.folder / FIGURES, {"png": io.BytesIO()}
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # `savefig` would draw a chart twice, the first time to lay it out, which this does as well
        drawn, dpi = Pillow.fromarray(np.asarray(canvas.buffer_rgba())), (figure.dpi, figure.dpi)
        drawn.save(made["png"], "PNG", dpi=dpi)
        if any(part.images for part in (figure, *figure.axes)):
            drawn.convert("RGB").save(made.setdefault("jpg", io.BytesIO()), "JPEG", dpi=dpi, **JPEG)
        suffix = min(made, key=lambda suffix: len(made[suffix].getvalue()))
        folder.mkdir(exist_ok=True)
        for stale in folder.glob(f"{name}.*"):
            stale.unlink()
        path = folder / f"{name}.{suffix}"
        path.write_bytes(made[suffix].getvalue())
        return Image(filename=path)

    def finish(self, rows: pd.DataFrame | None = None, history: pd.DataFrame | None = None, **facts) -> dict:
        """Write history.csv and run.json, the record last: where it stands, the run is complete.

        Args:
            rows: one row per image and method, as `evaluation.measure` makes them.
            history: as `training.fit` returns it.
            facts: anything else worth keeping, as JSON values: skipped files, sizes, counts. JSON has neither infinity
                nor NaN: null stands for both. Text is recorded as `filesystem.shown` shows it.

        Returns:
            The record.
        """
        training = {} if history is None else dict(history.attrs)
        device = {"device": training.pop("device")} if "device" in training else {}
        record = {
            "notebook": self.notebook,
            "parameters": _recorded(self.parameters),
            "provenance": self.origin | device | {"seconds": round(time.perf_counter() - self.begin, 1)},
            "training": training,
            **_recorded(facts),
            "rows": [] if rows is None else json.loads(rows.to_json(orient="records", double_precision=6)),
        }
        if history is not None:
            _write(self.folder / HISTORY, history.to_csv(index=False, float_format="%.6g"))
        _write(self.folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return record


def start(name: str, values: Mapping) -> Run:
    """Begin a run of a notebook: `runs.start("05_scratches", globals())` after its parameters cell.

    The parameter `run_folder` says where to write; "" makes a new folder under results/scratch, so that exploring by
    hand never touches other results. A folder that a stopped run left is taken up again.

    Args:
        name: the notebook's, without suffix; it lies in the working directory, or among the project's notebooks.
        values: present values by name; those that the parameters cell names are the run's parameters.

    Raises:
        ExperimentError: no such notebook, a parameter without a value or with one of another type, or one that the
            notebook does not have, which papermill sets with a mere warning.
    """
    here = Path(f"{name}.ipynb")
    literals = parameters_cell(here if here.is_file() else PROJECT / "notebooks" / here)
    for other in _injected(values.get("In", [])):
        if other not in literals:
            raise ExperimentError(f"{name}: {other} is no parameter{hint(other, literals)}")
    if missing := [parameter for parameter in literals if parameter not in values]:
        raise ExperimentError(
            f"{name}: no value for {', '.join(missing)}; run the parameters cell first, or is this another notebook?"
        )
    parameters = {parameter: typed(parameter, values[parameter], literals, name) for parameter in literals}
    run_folder = parameters.pop("run_folder")
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    folder = Path(run_folder) if run_folder else SCRATCH / name / stamp
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)  # the record of an earlier run must not vouch for this one
    return Run(folder, name, parameters)


def _injected(cells: list[str]) -> list[str]:
    """The names that papermill's cell sets, among the sources of a notebook's executed cells."""
    added = [ast.parse(cell) for cell in cells if cell.startswith(INJECTED)]
    return [target.id for cell in added for statement in cell.body for target in statement.targets]


def provenance() -> dict:
    """Date, commit and versions."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "scikit-image": version("scikit-image"),
    }


def commit() -> str:
    """Short hash of the checked-out commit, with "+" if the library or the notebooks differ from it."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--", "restoration_lib", "notebooks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + "+" * bool(changed)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", PROJECT, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def read(folder: Path) -> dict:
    """The record of a finished run, with `folder` and `history` (a DataFrame, or None) added.

    Raises:
        FileNotFoundError: no finished run in this folder.
    """
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    history = folder / HISTORY
    return record | {"folder": folder, "history": pd.read_csv(history) if history.exists() else None}


def read_all(folder: str | Path) -> list[dict]:
    """The finished runs of a sweep's folder, by name; unfinished ones (hidden folders) are left out."""
    found = sorted(Path(folder).glob(f"*/{RECORD}"))
    return [read(path.parent) for path in found if not path.parent.name.startswith(".")]


def rows(records: list[dict]) -> pd.DataFrame:
    """All per-image rows of several runs, each with its run's parameters beside it (`losses.cycle` for one of a
    dictionary; lists are no value of a cell)."""
    frames = []
    for record in records:
        frame = pd.DataFrame(record["rows"])
        for name in frame.columns.intersection(UNBOUNDED):
            frame[name] = frame[name].astype(float).fillna(math.inf)  # JSON has no infinity
        frames.append(frame.assign(**{k: v for k, v in flat(record["parameters"]).items() if k not in frame}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def flat(parameters: dict) -> dict:
    """Parameters with those in dictionaries as `dictionary.key`; lists are left out."""
    [values] = pd.json_normalize(parameters).to_dict("records")
    return {name: value for name, value in values.items() if not isinstance(value, list | tuple)}


def _recorded(value: object) -> object:
    """The same JSON value with None for every number that is not finite, and text that can be stored and printed."""
    if isinstance(value, dict):
        return {_recorded(name): _recorded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_recorded(part) for part in value]
    if isinstance(value, str):
        return shown(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, text: str) -> None:
    write_durably(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
