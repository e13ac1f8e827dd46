"""A run's folder: parameters, where they were run, history, one row per picture, figures."""

import json
import math
import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

PROJECT = Path(__file__).resolve().parent.parent
SCRATCH = PROJECT / "results" / "scratch"  # ignored by git
RECORD, HISTORY, FIGURES, CHECKPOINTS = "run.json", "history.csv", "figures", "checkpoints"


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

    def save_figure(self, name: str, figure: Figure) -> Figure:
        """Write figures/`name`.png and hand the figure on, for the notebook to show."""
        folder = self.folder / FIGURES
        folder.mkdir(exist_ok=True)
        figure.savefig(folder / f"{name}.png")
        return figure

    def finish(
        self, rows: pd.DataFrame | None = None, history: pd.DataFrame | None = None, device: str = "", **facts
    ) -> dict:
        """Write history.csv and run.json, the record last: where it stands, the run is complete.

        Args:
            rows: one row per picture and method, as `evaluation.evaluate` makes them.
            history: as `training.fit` returns it.
            device: what the run computed on, in words.
            facts: anything else worth keeping, as JSON values: skipped files, sizes, counts. JSON has neither infinity
                nor NaN: null stands for both.

        Returns:
            The record.
        """
        measured = {"device": device, "seconds": round(time.perf_counter() - self.begin, 1)}
        record = {
            "notebook": self.notebook,
            "parameters": self.parameters,
            "provenance": self.origin | measured,
            **_finite(facts),
            "rows": [] if rows is None else json.loads(rows.to_json(orient="records", double_precision=6)),
        }
        if history is not None:
            _write(self.folder / HISTORY, history.to_csv(index=False, float_format="%.6g"))
        _write(self.folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return record


def start(run_folder: str, notebook: str, **parameters) -> Run:
    """Begin a run.

    Args:
        run_folder: where to write; "" makes a new folder under results/scratch, so that exploring by hand never touches
            other results. A folder that a stopped run left is taken up again.
        notebook: the notebook's name.
        parameters: every parameter of the notebook, as it is recorded.
    """
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    folder = Path(run_folder) if run_folder else SCRATCH / notebook / stamp
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)  # the record of an earlier run must not vouch for this one
    return Run(folder, notebook, parameters)


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


def load(folder: Path) -> dict:
    """The record of a finished run, with `folder` and `history` (a DataFrame, or None) added.

    Raises:
        FileNotFoundError: no finished run in this folder.
    """
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    history = folder / HISTORY
    return record | {"folder": folder, "history": pd.read_csv(history) if history.exists() else None}


def load_all(folder: Path) -> list[dict]:
    """The finished runs of a sweep's folder, by name; unfinished ones (hidden folders) are left out."""
    found = sorted(folder.glob(f"*/{RECORD}"))
    return [load(path.parent) for path in found if not path.parent.name.startswith(".")]


def rows(records: list[dict]) -> pd.DataFrame:
    """All per-picture rows of several runs, each with its run's parameters beside it."""
    frames = []
    for record in records:
        frame = pd.DataFrame(record["rows"])
        for name in {"psnr", "psnr_y", "round_trip", "identity"}.intersection(frame):
            # JSON has no infinity: null is the PSNR of a picture without any error
            frame[name] = frame[name].astype(float).fillna(math.inf)
        beside = {name: value for name, value in _scalars(record["parameters"]).items() if name not in frame}
        frames.append(frame.assign(**beside))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _scalars(parameters: dict) -> dict:
    return {name: value for name, value in parameters.items() if not isinstance(value, list | dict)}


def _finite(value: object) -> object:
    """The same JSON value with None for every number that is not finite."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
