"""Run notebooks over grids of parameters: `restoration sweep NAME.yaml --profile quick`.

One folder a run, OUT/PROFILE/NAME/RUN/, with the executed notebook and what it wrote. A run works in the hidden
`.partial-RUN` beside it and is renamed when complete, so a stopped sweep goes on where it stopped. The exit code is 1
when a run failed, 2 when the sweep could not start. `experiments.sweep_file` describes the YAML file.
"""

import fcntl
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from traitlets import default

from restoration_lib.experiments.notebooks import RECORD, ExperimentError, is_complete, relink, replaced
from restoration_lib.experiments.sweep_file import PlannedRun, plan

Job = tuple[PlannedRun, Path]  # a run and its final folder


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `error` is the last line of its exception, or None when it is complete."""

    run: PlannedRun
    folder: Path
    seconds: float
    error: str | None


class OwnKernelManager(AsyncKernelManager):
    """Starts this interpreter's own kernel, whatever `python3` kernel the user has registered elsewhere."""

    @default("kernel_spec_manager")
    def _no_registered_kernels(self):
        return KernelSpecManager(kernel_dirs=[])  # what is left is ipykernel's own: sys.executable


def execute(run: PlannedRun, folder: Path, threads: int) -> Outcome:
    """Run one notebook in `.partial-NAME` beside `folder` and rename it to `folder` when it is complete.

    Args:
        folder: its final folder, absolute; left alone where it is complete already.
        threads: how many CPU threads the notebook's kernel may use.

    Returns:
        No exception of the notebook leaves this function. What a failed run wrote stays in the partial folder, with
        `error.txt`.
    """
    partial = _partial(folder)
    start, last_line = time.monotonic(), None
    try:
        if not is_complete(folder):  # a task that a lost worker had finished comes here a second time
            partial.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                raise ExperimentError(f"{folder.name} is there without {RECORD}: move it away")
            for stale in ("error.txt", RECORD):
                (partial / stale).unlink(missing_ok=True)
            _run_notebook(run, partial, threads)
            if not is_complete(partial):
                raise ExperimentError(f"the notebook ended without writing {RECORD}: it must call run.finish(rows)")
            _tidy(partial, folder, run.notebook)
            partial.rename(folder)
    except Exception:
        lines = traceback.format_exc().strip().splitlines()[-40:]
        (partial / "error.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        last_line = lines[-1]
    return Outcome(run, folder, time.monotonic() - start, last_line)


def _partial(folder: Path) -> Path:
    return folder.with_name(f".partial-{folder.name}")


def _run_notebook(run: PlannedRun, partial: Path, threads: int) -> None:
    import papermill  # four seconds: a sweep that is complete, or wrong, answers at once

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it warns of, `plan` or `execute` reports
    # Set here and not in `main`, because dask starts its workers with one thread for MKL and OpenMP.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)))
    os.environ.update(TQDM_DISABLE="1", PYDEVD_DISABLE_FILE_VALIDATION="1")
    # glibc: keep freed memory. To give it back and fault it in anew at each step takes a fifth of the time.
    os.environ.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="8000000000")
    papermill.execute_notebook(
        run.notebook,
        partial / "notebook.ipynb",
        parameters={**run.parameters, "run_folder": str(partial)},
        kernel_name="python3",
        language="python",  # a notebook without outputs may not say so
        kernel_manager_class=OwnKernelManager,
        extra_arguments=["--log-level=50"],  # or each kernel prints warnings of its own among ours
        cwd=run.notebook.parent,
        progress_bar=False,
    )


def _tidy(partial: Path, folder: Path, notebook: Path) -> None:
    """Take this machine's paths out of the executed notebook, and let its links count from its folder."""
    import nbformat

    path = partial / "notebook.ipynb"
    executed = nbformat.read(path, as_version=4)
    executed.metadata.papermill.update(input_path=notebook.name, output_path=path.name)
    above, shown = str(folder.parent), "/".join(folder.parts[-3:-1])  # from the out folder on: PROFILE/SWEEP
    quoted = above.encode("unicode_escape").decode()  # as papermill writes it in the injected cell
    names = {above: shown, quoted: shown, partial.name: folder.name, f"{notebook.parent}/": ""}

    def without_paths(text: str) -> str:
        for found, put in names.items():
            text = text.replace(found, put)
        return text

    executed = replaced(executed, without_paths)
    relink(executed, notebook.parent, folder)
    nbformat.write(executed, path)


def _outcomes(jobs: list[Job], workers: int) -> Iterator[Outcome]:
    """The `Outcome` of each job as it ends: in this process, or on so many dask workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = max(1, cores // workers)
    if workers == 1:
        yield from (execute(run, folder, threads) for run, folder in jobs)
        return
    try:
        import dask
        from dask.distributed import Client, LocalCluster, as_completed
    except ImportError:
        raise ExperimentError("--workers needs dask: pip install -e '.[sweep]'") from None
    # Without an address of its own, dask takes port 8787 and warns when another sweep has it.
    dask.config.set({"distributed.worker.profile.enabled": False})  # it samples all the time, and nobody looks
    quiet = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, **quiet) as cluster,
        Client(cluster) as client,
    ):
        futures = {client.submit(execute, *job, threads, pure=False): job for job in jobs}
        for future in as_completed(futures):
            run, folder = futures[future]
            lost = future.exception()  # `execute` raises nothing: the worker itself died, again and again
            yield Outcome(run, folder, 0.0, repr(lost)) if lost else future.result()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a sweep's folder: two sweeps at once would write into the same partial folders."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExperimentError(f"{folder}: another sweep is running here") from None
        yield


def _report(jobs: list[Job], workers: int, complete: int) -> int:
    """Run the jobs, print a line for each as it ends, and return how many failed."""
    start, failed = time.monotonic(), 0
    if complete:
        print(f"{complete} complete already", flush=True)
    if jobs:
        print(f"{len(jobs)} to run, {workers} at a time", flush=True)
    with closing(_outcomes(jobs, max(1, workers))) as outcomes:
        for number, outcome in enumerate(outcomes, 1):
            count = f"[{number:{len(str(len(jobs)))}}/{len(jobs)}]"
            print(f"{count} {outcome.run.name}  {outcome.seconds:.0f} s", flush=True)
            if outcome.error:
                failed += 1
                notebook = os.path.relpath(_partial(outcome.folder) / "notebook.ipynb")
                print(f"    FAILED: {outcome.error}\n    see {notebook}", flush=True)
    done = len(jobs) - failed
    print(f"{done} done, {complete} complete already, {failed} failed; {time.monotonic() - start:.0f} s in all")
    return failed


def run_sweeps(sweeps: list[Path], profile: str, out: Path, workers: int = 1) -> int:
    """Run what is missing of the sweeps, below `out`/`profile`.

    Returns:
        The exit code: 0, 1 a run failed, 2 nothing was started, 130 stopped.
    """
    try:
        if workers < 1:
            raise ExperimentError(f"--workers: expected 1 or more, got {workers}")
        runs = {}
        for path in sweeps:
            folder = out.resolve() / profile / path.stem
            if folder in runs:
                raise ExperimentError(f"{path}: a second sweep of the name {path.stem}")
            runs[folder] = plan(path, profile)
        with ExitStack() as locks:
            for folder in runs:
                locks.enter_context(_locked(folder))
            jobs = [(run, folder / run.name) for folder, sweep in runs.items() for run in sweep]
            pending = [(run, folder) for run, folder in jobs if not is_complete(folder)]
            return 1 if _report(pending, min(workers, len(pending)), len(jobs) - len(pending)) else 0
    except ExperimentError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sweep: stopped; the same command goes on from here", file=sys.stderr)
        return 130
