"""Where runs are executed: on threads of this process, or on the workers of a dask cluster."""

import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from restoration_lib.experiments import kernels
from restoration_lib.experiments.execution import Outcome, execute
from restoration_lib.experiments.notebooks import ExperimentError
from restoration_lib.experiments.sweep_file import PlannedRun

CONNECT, CLOSE, LOOK = 10, 2, 0.5  # seconds
RUN = "run"  # the resource of dask workers: how many runs one takes at a time
HOW = f"dask worker ADDRESS --resources {RUN}=1"


@dataclass(frozen=True)
class Workers:
    """`submit` a run, its final folder and its time limit; `answers` says whether what executes them is there."""

    submit: Callable[[PlannedRun, Path, float], Future]
    answers: Callable[[], bool]


@contextmanager
def threads(count: int, folders: Sequence[Path]) -> Iterator[Workers]:
    """So many threads of this process, which share its cores; on leaving, runs below `folders` are stopped."""
    pool, share = ThreadPoolExecutor(count), max(1, cores() // count)
    try:
        wait([pool.submit(kernels.warm_up, share)])  # once a sweep, for all its runs; where it fails, these say why
        yield Workers(lambda run, folder, limit: pool.submit(execute, run, folder, share, limit), lambda: True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        ending = threading.Thread(target=pool.shutdown)
        ending.start()
        while ending.is_alive():  # again and again: one may be about to start
            kernels.stop_below(folders)
            ending.join(0.1)


@contextmanager
def cluster(address: str, folders: Sequence[Path]) -> Iterator[Workers]:
    """The workers of a dask cluster, each as many runs at a time as its resource `run` says.

    They see the same folders under the same names, and have the same environment. On leaving, runs below `folders` are
    stopped.

    Raises:
        ExperimentError: dask is not installed, or no scheduler answers at this address.
    """
    try:
        from dask.distributed import Client
    except ImportError:
        raise ExperimentError("--scheduler needs dask: pip install -e '.[sweep]'") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # one line of ours says what its pages would
    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ExperimentError(f"--scheduler: no dask scheduler answers at {address}: {error}") from None
    executor = client.get_executor(pure=False, resources={RUN: 1})
    try:
        if not any(worker["resources"].get(RUN) for worker in client.scheduler_info(-1)["workers"].values()):
            print(f"waiting for a worker that takes runs: {HOW}", flush=True)
        yield Workers(
            lambda run, folder, limit: executor.submit(_execute_on_worker, run, folder, limit),
            lambda: client.status == "running",
        )
    finally:
        if client.status == "running":
            executor.shutdown(wait=False)
            client.run(kernels.stop_below, list(folders))
        client.close(timeout=CLOSE)


def _execute_on_worker(run: PlannedRun, folder: Path, time_limit: float = math.inf) -> Outcome:
    """In a process of a dask worker: `execute` with its share of the cores, for as long as the scheduler is there."""
    from dask.distributed import get_worker

    worker, ended = get_worker(), threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK):
            if worker.status.name != "running":  # it lost its scheduler: another sweep may soon begin the same run
                kernels.stop_below([folder.parent])

    threading.Thread(target=watch, daemon=True).start()
    try:
        return execute(run, folder, max(1, int(cores() / worker.state.total_resources[RUN])), time_limit)
    finally:
        ended.set()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
