"""Tables of finished sweeps: `restoration report NAME.yaml … --profile quick [--publish]`.

For each sweep with a `report:` section, OUT/PROFILE/NAME/ receives table.csv, table.md (the tables of the section) and
overview.md (all rows in one); if the section names a notebook that reads the runs, that is executed too. With --publish
the results are copied to OUT/published/PROFILE/ (no checkpoints; without what shows images if `publish:` says so)
and the tables are written anew: all that are published into OUT/published/README.md, a row for each system, as
notebooks/summary.yaml says, into the README's block. The section:

    report:
      columns: {rate: {1.0: high, 0.5: low}}   # a parameter, and a label for each of its values
      metrics: [psnr, ssim]                    # optional: which of the rows' metrics, of `evaluation.metrics`
      tables: {Title: [case, case]}            # rows, after the degraded input and the classical filters
      notebook: ../04_loss_ablation.ipynb      # optional; its parameters are `runs_folder` and `run_folder`
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from restoration_lib.experiments.claims import claimed
from restoration_lib.experiments.notebooks import PROJECT, RECORD, ExperimentError, is_complete
from restoration_lib.experiments.sweep_file import PlannedRun, read_yaml

TABLES = ("table.md", "overview.md", "table.csv")  # in the order of their writing


def report(sweeps: list[Path], profile: str, out: Path, publish: bool = False) -> int:
    """Make the tables of the sweeps and execute the notebooks that read them, where anything has changed since.

    Returns:
        The exit code: 0, or 2 with one line that names the fault.
    """
    source, published = out.resolve() / profile, out.resolve() / "published"
    try:
        for sweep in sweeps:
            folder = source / sweep.stem
            spec = read_yaml(sweep)
            if profile not in spec["profiles"]:
                raise ExperimentError(f"{sweep}: profiles: no {profile!r}")
            if not (section := spec.get("report")):
                print(f"{sweep.stem}: no `report:` section, no tables\n")
                continue
            notebook = section.get("notebook")
            if not is_fresh(sweep, folder, notebook):
                with claimed(folder):
                    make_report(sweep, folder, notebook)
            print((folder / "table.md").read_text(encoding="utf-8"))
        if publish:
            from restoration_lib.experiments.publish import publish_profile  # this and the tables import pandas

            with claimed(published):
                publish_profile(sweeps, source, published)
    except (ExperimentError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


def is_fresh(sweep: Path, folder: Path, notebook: Path | None) -> bool:
    """Whether the tables, and what the notebook made of the runs, are newer than all that they are made from."""
    made = [folder / name for name in TABLES] + ([_result_of(notebook, folder) / RECORD] if notebook else [])
    if not all(path.is_file() for path in made) or (notebook and not _is_read(notebook, folder)):
        return False
    library = (PROJECT / "restoration_lib").rglob("*.py")
    sources = [folder, *folder.glob(f"*/{RECORD}"), *sweep.parent.glob("*.yaml"), *library, *filter(None, [notebook])]
    return _newest(sources) <= _newest(made[:3])


def _newest(paths: Iterable[Path]) -> int:
    return max(path.stat().st_mtime_ns for path in paths if path.exists())


def make_report(sweep: Path, folder: Path, notebook: Path | None) -> None:
    """Write the tables of a sweep's finished runs, and execute the notebook that reads them, unless that is there and
    the numbers are the same."""
    from restoration_lib.experiments.tables import write_tables

    changed = write_tables(sweep, folder)
    if notebook and (changed or not is_complete(_result_of(notebook, folder)) or not _is_read(notebook, folder)):
        from restoration_lib.experiments.execution import execute

        target = _result_of(notebook, folder)
        shutil.rmtree(target, ignore_errors=True)
        outcome = execute(PlannedRun(notebook.stem, notebook, _reading(notebook, folder)), target, threads=1)
        if outcome.error:
            raise ExperimentError(f"{notebook.name}: {outcome.error}")


def _result_of(notebook: Path, folder: Path) -> Path:
    """The folder of the notebook that reads the runs in `folder`."""
    return folder.parent / notebook.stem


def _reading(notebook: Path, folder: Path) -> dict[str, str]:
    """The parameters with which the notebook reads the runs in `folder`; they name no path of the machine."""
    return {"runs_folder": os.path.relpath(folder, notebook.parent)}


def _is_read(notebook: Path, folder: Path) -> bool:
    """Whether what the notebook made is of the runs in `folder`, not of another sweep's beside it."""
    record = json.loads((_result_of(notebook, folder) / RECORD).read_text(encoding="utf-8"))
    return record["parameters"] == _reading(notebook, folder)
