"""Run notebooks over grids of parameters: `restoration sweep NAME.yaml --profile quick`.

One folder a run, OUT/PROFILE/NAME/RUN/, with the executed notebook and what it wrote. A run works in the hidden
`.partial-RUN` beside it and is renamed when complete, so a stopped sweep goes on where it stopped. The exit code is 1
when a run failed, 2 when the sweep could not start or lost its scheduler. `experiments.sweep_file` describes the YAML.
"""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from restoration_lib import progress
from restoration_lib.experiments.claims import claimed
from restoration_lib.experiments.notebooks import ExperimentError, is_complete, partial_of
from restoration_lib.experiments.sweep_file import PlannedRun, plan

Job = tuple[PlannedRun, Path]  # a run and its final folder
LOOK = 2.0  # seconds between two looks at what the runs are doing


def run_sweeps(
    sweeps: list[Path],
    profile: str,
    out: Path,
    count: int = 1,
    scheduler: str = "",
    time_limit: float = math.inf,
    fresh: bool = False,
) -> int:
    """Run what is missing of the sweeps, below `out`/`profile`.

    Args:
        count: how many runs at a time, on this machine.
        scheduler: address of a dask scheduler, whose workers take the runs instead; "" is none.
        time_limit: minutes that a run may take.
        fresh: remove what unfinished runs have left, their checkpoints too, and begin them anew.

    Returns:
        The exit code: 0, 1 a run failed, 2 the sweep could not start or lost its scheduler, 130 stopped.
    """
    try:
        if count < 1:
            raise ExperimentError(f"--workers: expected 1 or more, got {count}")
        if not time_limit > 0:
            raise ExperimentError(f"--time-limit: expected minutes above 0, got {time_limit:g}")
        runs = {}
        for path in sweeps:
            folder = out.resolve() / profile / path.stem
            if folder in runs:
                raise ExperimentError(f"{path}: a second sweep of the name {path.stem}")
            runs[folder] = plan(path, profile)
        with ExitStack() as claims:
            for folder in runs:
                claims.enter_context(claimed(folder))
            jobs = [(run, folder / run.name) for folder, sweep in runs.items() for run in sweep]
            pending = _first_of_each([(run, folder) for run, folder in jobs if not is_complete(folder)])
            for left in (partial_of(folder) for _, folder in pending if fresh):
                if left.exists():
                    shutil.rmtree(left)
            if complete := len(jobs) - len(pending):
                print(f"{complete} complete already", flush=True)
            start = time.monotonic()
            failed = _run(pending, list(runs), count, scheduler, 60 * time_limit) if pending else 0
            seconds = time.monotonic() - start
            done = len(pending) - failed
            print(f"{done} done, {complete} complete already, {failed} failed; {seconds:.0f} s in all")
            return 1 if failed else 0
    except ExperimentError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sweep: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _first_of_each(jobs: list[Job]) -> list[Job]:
    """The jobs, but one of each sweep before all others: what it measures and keeps, they find."""
    first = {folder.parent: folder for _, folder in reversed(jobs)}
    return sorted(jobs, key=lambda job: job[1] != first[job[1].parent])


def _run(jobs: list[Job], folders: list[Path], count: int, scheduler: str, time_limit: float) -> int:
    """Run the jobs, print a line for each as it ends, and return how many failed."""
    from restoration_lib.experiments import workers  # and with them Jupyter: a complete sweep answers at once

    count = min(count, len(jobs))
    where = f"on the workers of {scheduler}" if scheduler else f"{count} at a time"
    print(f"{len(jobs)} to run, {where}", flush=True)
    failed = 0
    executing = workers.cluster(scheduler, folders) if scheduler else workers.threads(count, folders)
    with executing as crew, tqdm(total=len(jobs), unit="run", disable=None, leave=False) as bar:
        futures = {crew.submit(run, folder, time_limit): (run, folder) for run, folder in jobs}
        for number, future in enumerate(_as_they_end(futures, crew.answers, bar), 1):
            run, folder = futures[future]
            lines = [f"[{number:{len(str(len(jobs)))}}/{len(jobs)}] {run.name}"]
            try:
                outcome = future.result()
                lines[0] += f"  {outcome.seconds:.0f} s"
                error = outcome.error
            except Exception as lost:  # `execute` raises nothing: its worker died, again and again
                error = f"{type(lost).__name__}: {lost}"
            if error:
                failed += 1
                notebook = os.path.relpath(partial_of(folder) / "notebook.ipynb")
                lines += [f"    FAILED: {error}", f"    see {notebook}"]
            bar.write("\n".join(lines))
            bar.update()
    return failed


def _as_they_end(futures: dict[Future, Job], answers: Callable[[], bool], bar: tqdm) -> Iterator[Future]:
    """The futures as they end; meanwhile the bar says how far the runs are.

    Raises:
        ExperimentError: what executes them does not answer any more, or has let go of one.
    """
    pending = set(futures)
    while pending:
        done, pending = wait(pending, LOOK, FIRST_COMPLETED)
        if not answers() or any(future.cancelled() for future in done):  # as dask does when it has lost sight
            raise ExperimentError(
                f"the scheduler does not answer any more, {len(pending) + len(done)} runs are not complete; "
                "the same command goes on from here, with a scheduler that stands"
            )
        yield from done
        if not bar.disable:
            under_way = [(run.name, partial_of(folder)) for run, folder in map(futures.get, pending)]
            states = [f"{name} {progress.described(partial)}" for name, partial in under_way if partial.exists()]
            bar.set_postfix_str("; ".join(sorted(states)))
