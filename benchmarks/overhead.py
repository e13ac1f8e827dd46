"""Seconds of a run beside its training, for each notebook: `python benchmarks/overhead.py [--cold] [SWEEP …]`.

The first run of each sweep of `make results`, of the quick profile but for a training of a few steps, alone on one
thread; with `--cold` by a kernel that is started anew, as kernels are where none can be forked. Prints one JSON line a
notebook: `seconds` from the start of the kernel to the finished folder, `training` as `training.fit` counts it
(validations included), `beside` the difference, and the slowest `cells` but for the training, by the beginnings of
their last lines. `again` is the beside of a second run with another seed, which finds what the first one kept, as all
but one run of a sweep do. `overhead_cpu.jsonl` has the rows of a quiet machine.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import nbformat
from steps import commit

from restoration_lib.devices import describe, pick_device
from restoration_lib.experiments import execution, kernels, sweep_file
from restoration_lib.experiments.notebooks import PROJECT

SHORT = {"steps": 20, "validate_every": 20, "pretraining_steps": 20, "adversarial_steps": 10}
SWEEPS = ("data_loading", "old_photos", "loss_ablation", "pix2pix_limits", "identity", "srgan_pretraining")


def timed(run: sweep_file.PlannedRun, folder: Path) -> tuple[float, float, dict[str, float]]:
    """Seconds in all, of training, and of the other cells."""
    outcome = execution.execute(run, folder, threads=1)
    if outcome.error:
        sys.exit(f"{run.name}: {outcome.error}")
    cells = {}
    for cell in nbformat.read(folder / "notebook.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and "training.fit" not in cell.source:
            line = cell.source.strip().splitlines()[-1].strip()[:40]
            cells[line] = round(cell.metadata.papermill.duration, 1)
    slowest = dict(sorted(cells.items(), key=lambda item: -item[1])[:4])
    training = json.loads((folder / "run.json").read_text())["training"].get("seconds", 0.0)
    return outcome.seconds, training, slowest


def planned(sweep: str) -> sweep_file.PlannedRun:
    """The first run of a sweep, with a short training."""
    run = sweep_file.plan(PROJECT / "notebooks" / "sweeps" / f"{sweep}.yaml", "quick")[0]
    short = {name: value for name, value in SHORT.items() if name in run.parameters}
    return replace(run, parameters=run.parameters | short)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweeps", nargs="*", default=SWEEPS)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    kernels.FORKS &= not options.cold
    kernels.warm_up(threads=1)  # once a sweep, not once a run
    for name in options.sweeps:
        run = planned(name)
        with tempfile.TemporaryDirectory() as out:
            seconds, training, cells = timed(run, Path(out) / "first")
            other = replace(run, parameters=run.parameters | ({"seed": 9} if "seed" in run.parameters else {}))
            again, training_again, cells_again = timed(other, Path(out) / "second")
        row = {"notebook": run.notebook.stem, "commit": commit(), "cold": options.cold}
        row |= {"device": describe(pick_device("cpu"))}
        row |= {"seconds": round(seconds, 1), "training": training, "beside": round(seconds - training, 1)}
        row |= {"again": round(again - training_again, 1), "cells": cells, "cells_again": cells_again}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
