"""One run: a notebook executed with its parameters, in a folder that is complete or not there."""

import json
import logging
import math
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from restoration_lib.experiments import kernels
from restoration_lib.experiments.notebooks import RECORD, ExperimentError, is_complete, partial_of, relink
from restoration_lib.experiments.sweep_file import PlannedRun


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `error` is the last line of its exception, or None when it is complete."""

    seconds: float
    error: str | None


def execute(run: PlannedRun, folder: Path, threads: int, time_limit: float = math.inf) -> Outcome:
    """Run one notebook in `.partial-NAME` beside `folder` and rename it to `folder` when it is complete.

    Args:
        folder: its final folder, absolute; left alone where it is complete already.
        threads: how many CPU threads the notebook's kernel may use.
        time_limit: seconds after which it is stopped and has failed; its last checkpoint stays.

    Returns:
        No exception of the notebook leaves this function. What a failed run wrote stays in the partial folder, with
        `error.txt`.
    """
    partial = partial_of(folder)
    start, error = time.monotonic(), None
    try:
        if not is_complete(folder):  # a task that a lost worker had finished comes here a second time
            partial.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                raise ExperimentError(f"{folder.name} is there without {RECORD}: move it away")
            for stale in ("error.txt", RECORD):
                (partial / stale).unlink(missing_ok=True)
            _run_notebook(run, partial, threads, time_limit)
            if not is_complete(partial):
                raise ExperimentError(f"the notebook ended without writing {RECORD}: it must call run.finish(rows)")
            _tidy(partial, folder, run.notebook)
            partial.rename(folder)
    except Exception:
        lines = traceback.format_exc().strip().splitlines()[-40:]
        error = lines[-1]
        with suppress(OSError):  # on a full disk the line in the terminal has to do
            (partial / "error.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Outcome(time.monotonic() - start, error)


def _run_notebook(run: PlannedRun, partial: Path, threads: int, time_limit: float) -> None:
    kernels.warm_up(threads)
    import papermill

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it warns of, `plan` or `execute` reports
    with kernels.stoppable(partial, time_limit):
        papermill.execute_notebook(
            run.notebook,
            partial / "notebook.ipynb",
            parameters={**run.parameters, "run_folder": str(partial)},
            kernel_name="python3",
            language="python",  # a notebook without outputs may not say so
            # The kernel alone works in the notebook's folder: papermill's `cwd` would move all threads of this process.
            kernel_manager_class=kernels.manager_of(partial, run.notebook.parent, threads),
            extra_arguments=["--log-level=50"],  # or each kernel prints warnings of its own among ours
            progress_bar=False,
        )


def _tidy(partial: Path, folder: Path, notebook: Path) -> None:
    """Take this machine's paths out of the executed notebook, and let its links count from its folder."""
    import nbformat

    path = partial / "notebook.ipynb"
    text = path.read_text(encoding="utf-8")
    above, shown = str(folder.parent), "/".join(folder.parts[-3:-1])  # from the out folder on: PROFILE/SWEEP
    quoted = above.encode("unicode_escape").decode()  # as papermill writes it in the injected cell
    for name, put in {above: shown, quoted: shown, partial.name: folder.name, f"{notebook.parent}/": ""}.items():
        text = text.replace(_in_json(name), _in_json(put))
    executed = nbformat.reads(text, as_version=4)
    executed.metadata.papermill.update(input_path=notebook.name, output_path=path.name)
    relink(executed, notebook.parent, folder)
    nbformat.write(executed, path)


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
