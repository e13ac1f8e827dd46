"""Sweeps on a dask cluster that stands: workers and scheduler are processes of their own, and are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

import pytest

from restoration_lib.__main__ import main
from restoration_lib.experiments import workers

pytest.importorskip("dask.distributed")
pytestmark = pytest.mark.slow

# each attempt leaves a line in a file that outlives it; the run of `seed` 0 takes long
COUNTED = """\
import json, os, pathlib, time
with pathlib.Path("attempts.txt").open("a") as file:
    file.write(f"{seed} {os.getpid()} {os.environ['OMP_NUM_THREADS']}\\n")
time.sleep(0.3)
while pathlib.Path("wait.txt").exists():
    time.sleep(0.1)
(pathlib.Path(run_folder) / "run.json").write_text(json.dumps({"seed": seed}))
"""


@pytest.fixture
def cluster(tmp_path, light):
    """`cluster.scheduler()` and `cluster.worker()` start a process each; all are killed at the end."""

    class Cluster:
        address = tmp_path / "scheduler.json"
        processes: list = []  # noqa: RUF012

        def start(self, kind, *options):
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
            with (tmp_path / f"{kind}{len(self.processes)}.log").open("w") as log:
                process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
            self.processes.append(process)
            return process

        def scheduler(self):
            process = self.start(
                "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self.address
            )
            wait_until(lambda: self.address.exists() and self.address.read_text().strip().endswith("}"))
            return process, json.loads(self.address.read_text())["address"]

        def worker(self):
            options = ["--no-dashboard", "--no-nanny", "--resources", "run=1", "--scheduler-file", self.address]
            return self.start("worker", *options, "--local-directory", tmp_path / "dask", "--preload", light)

    with ExitStack() as stack:
        started = Cluster()
        started.processes = []
        yield started
        for process in started.processes:
            with_children(process.pid)


def with_children(process):
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def attempts(tmp_path):
    path = tmp_path / "notebooks" / "attempts.txt"
    return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []


def sweep_process(path, tmp_path, address, light):
    command = [sys.executable, str(light), "sweep", str(path), "--profile", "quick"]
    command += ["--out", str(tmp_path / "results"), "--scheduler", address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_runs_of_a_killed_worker_go_to_another_one(write, cluster, light, tmp_path):
    _, address = cluster.scheduler()
    first, _ = cluster.worker(), cluster.worker()
    path = write(COUNTED, grid={"seed": list(range(12))})
    with sweep_process(path, tmp_path, address, light) as sweep:
        wait_until(lambda: len(attempts(tmp_path)) >= 4)
        os.killpg(first.pid, signal.SIGKILL)
        printed, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 0 and errors == ""
    assert "12 to run, on the workers of" in printed and "12 done, 0 complete already, 0 failed" in printed
    complete = [json.loads(file.read_text())["seed"] for file in tmp_path.glob("results/quick/tiny/*/run.json")]
    assert sorted(complete) == list(range(12)) and not list(tmp_path.glob("results/quick/tiny/.partial-*"))
    tried = attempts(tmp_path)
    assert set(tried) == set(range(12)) and len(tried) <= 13, "what the killed worker had in hand, and nothing else"
    cores = len(os.sched_getaffinity(0))
    text = (tmp_path / "notebooks" / "attempts.txt").read_text()
    assert {line.split()[2] for line in text.splitlines()} == {str(cores)}, "one run at a time has all of a worker's"


def test_a_lost_scheduler_is_one_error_and_the_next_sweep_runs_what_is_missing(write, cluster, light, tmp_path, capsys):
    scheduler, address = cluster.scheduler()
    cluster.worker()
    path = write(COUNTED, grid={"seed": list(range(4))})
    with sweep_process(path, tmp_path, address, light) as sweep:
        wait_until(lambda: len(list(tmp_path.glob("results/quick/tiny/[!.]*/run.json"))) >= 1)
        (tmp_path / "notebooks" / "wait.txt").touch()
        wait_until(lambda: len(set(attempts(tmp_path))) >= 2)
        scheduler.kill()
        printed, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 2, printed
    assert errors.count("\n") == 1 and "the scheduler does not answer any more" in errors, errors
    wait_until(lambda: any(tmp_path.glob("results/quick/tiny/.partial-*/error.txt")))
    [stopped] = tmp_path.glob("results/quick/tiny/.partial-*/error.txt")
    assert "RunStopped: stopped" in stopped.read_text(), "a worker without its scheduler leaves its run to others"
    complete = {file: file.stat().st_mtime_ns for file in tmp_path.glob("results/quick/tiny/[!.]*/run.json")}
    assert 1 <= len(complete) < 4
    (tmp_path / "notebooks" / "wait.txt").unlink()
    options = ["--profile", "quick", "--out", str(tmp_path / "results")]
    assert main(["sweep", str(path), *options]) == 0
    assert f"{len(complete)} complete already" in capsys.readouterr().out
    assert all(file.stat().st_mtime_ns == before for file, before in complete.items())


def test_no_scheduler_is_one_line(write, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workers, "CONNECT", 1)
    path = write(COUNTED)
    options = ["--profile", "quick", "--out", str(tmp_path / "results"), "--scheduler", "tcp://127.0.0.1:9"]
    assert main(["sweep", str(path), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no dask scheduler answers at tcp://127.0.0.1:9" in error
    assert not attempts(tmp_path)
