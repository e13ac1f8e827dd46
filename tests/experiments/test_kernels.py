"""Kernels forked from a warm process: like any other kernel, and none is left behind."""

import functools
import json
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from restoration_lib.experiments import execution, kernels, sweep_file, workers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not kernels.FORKS, reason="kernels are forked on Linux alone"),
]

FACTS = """\
import gc, json, os, pathlib, random, signal, sys
import numpy, torch
import matplotlib
with pathlib.Path(run_folder, "run.json").open("w") as file:
    json.dump({
        "process": os.getpid(), "group": os.getpgid(0), "session": os.getsid(0), "parent": os.getppid(),
        "folder": os.getcwd(), "threads": [torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]],
        "home": os.environ.get("OF_THIS_RUN"), "draws": [random.random(), numpy.random.rand(), torch.rand(()).item()],
        "backend": matplotlib.get_backend(), "executable": sys.executable,
        "child": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL, "frozen": gc.get_freeze_count(),
    }, file)
"""
TRAIN = """\
import torch
from restoration_lib import training
from restoration_lib.data import batches, datasets
from restoration_lib.degradations import pixel_shuffle
from restoration_lib.methods.shuffle import AdversarialRestorer
images = datasets.Images()
noise = torch.randint(256, (40, 40, 3), generator=torch.Generator().manual_seed(0))
images.names, images.arrays = ["noise"], [noise.byte().numpy()]
torch.manual_seed(seed)
method = AdversarialRestorer(steps=steps, channels=8, blocks=1, losses={"l1": 1.0, "ms_ssim": 0.2, "adversarial": 1e-3})
drawn = batches.CropBatches(images, pixel_shuffle, crop=32, batch_size=2, steps=steps, seed=seed)
history = training.fit(method, drawn, run_folder, lambda method: {"psnr": 0.0}, validate_every=steps)
(training.Path(run_folder) / "run.json").write_text(str(float(history["generator"].iloc[-1])))
"""
QUICK = """\
import pathlib
pathlib.Path(run_folder, "run.json").touch()
"""
BUSY = """\
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(run_folder, "busy.txt").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


@pytest.fixture
def planned(write):
    """The run of a sweep of one notebook with the given cells."""

    def planned(*cells, **base):
        return sweep_file.plan(write(*cells, base=base), "quick")[0]

    return planned


def read(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def lives(process: int) -> bool:
    """Whether there is such a process, and it is not a corpse that its parent has not taken away yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def children(process: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("known", [{}, {"rfc3987_syntax": sys}], ids=["unknown", "imported"])
def test_papermill_is_imported_without_grammars_and_they_can_be_imported_afterwards(known, monkeypatch):
    monkeypatch.delitem(sys.modules, "rfc3987_syntax", raising=False)
    for name, module in known.items():
        monkeypatch.setitem(sys.modules, name, module)
    kernels._import_papermill()
    assert "papermill" in sys.modules
    assert {name: sys.modules[name] for name in sys.modules if name == "rfc3987_syntax"} == known


def test_a_forked_kernel_finds_what_a_new_interpreter_would(planned, tmp_path, monkeypatch):
    run = planned(FACTS)
    found = []
    for number in (1, 2):
        monkeypatch.setenv("OF_THIS_RUN", f"run {number}")
        outcome = execution.execute(run, tmp_path / f"run{number}", threads=1)
        assert outcome.error is None
        found.append(read(tmp_path / f"run{number}"))
    first, second = found
    assert first["process"] == first["group"] == first["session"] != second["process"]
    assert first["parent"] == second["parent"] == kernels.server_of(1).pid
    assert (first["home"], second["home"]) == ("run 1", "run 2")
    assert first["folder"] == str(run.notebook.parent) and os.getcwd() != first["folder"]
    assert first["threads"] == [1, "1"] and first["executable"] == sys.executable and first["child"]
    assert "inline" in first["backend"]
    assert first["frozen"] > 100_000, "the garbage collector leaves alone what was imported before the fork"
    assert all(one != other for one, other in zip(first["draws"], second["draws"], strict=True))
    wait_until(lambda: not lives(first["process"]) and not lives(second["process"]))


def test_cold_and_warm_kernels_train_the_same_weights(planned, tmp_path, monkeypatch):
    run = planned(TRAIN, steps=6)
    assert execution.execute(run, tmp_path / "warm", threads=1).error is None
    monkeypatch.setattr(kernels, "FORKS", False)
    assert execution.execute(run, tmp_path / "cold", threads=1).error is None
    assert (tmp_path / "warm" / "run.json").read_text() == (tmp_path / "cold" / "run.json").read_text()
    weights = [(tmp_path / kind / "best.safetensors").read_bytes() for kind in ("warm", "cold")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("end", ["killed", "time limit", "stopped", "interrupted"])
@pytest.mark.usefixtures("light")
def test_no_process_is_left_however_a_run_ends(planned, tmp_path, end):
    run, folder = planned(BUSY), tmp_path / "run"
    busy = folder.with_name(".partial-run") / "busy.txt"
    with ThreadPoolExecutor(1) as pool:
        limit = 5.0 if end == "time limit" else float("inf")
        future = pool.submit(execution.execute, run, folder, 1, limit)
        wait_until(lambda: busy.exists() and len(busy.read_text().split()) == 2)
        kernel, child = map(int, busy.read_text().split())
        assert lives(kernel) and lives(child)
        if end == "killed":
            os.killpg(kernel, signal.SIGKILL)
        elif end == "stopped":
            kernels.stop_below([tmp_path])
        elif end == "interrupted":
            os.kill(kernel, signal.SIGINT)
        outcome = future.result(timeout=60)
    reasons = {
        "killed": "Kernel died",
        "time limit": "not complete after 0.0833 minutes, its time limit",
        "stopped": "stopped",
        "interrupted": "KeyboardInterrupt",
    }
    assert reasons[end] in outcome.error and not folder.exists()
    assert reasons[end] in (busy.parent / "error.txt").read_text()
    wait_until(lambda: not lives(kernel))
    if end != "interrupted":  # a notebook's own child survives its interruption in any kernel
        wait_until(lambda: not lives(child))
    else:
        with suppress(ProcessLookupError):  # but not always what Jupyter does after it
            os.kill(child, signal.SIGKILL)
    assert kernel not in children(kernels.server_of(1).pid)


def test_kernels_end_with_the_process_that_started_them(planned, light, tmp_path):
    run = planned(BUSY)
    code = f"""\
import runpy
from pathlib import Path
from restoration_lib.experiments import execution, kernels, sweep_file
runpy.run_path({str(light)!r})
print(kernels.server_of(1).pid, flush=True)
run = sweep_file.PlannedRun("busy", Path({str(run.notebook)!r}), {{}})
execution.execute(run, Path({str(tmp_path / "run")!r}), 1)
"""
    busy = tmp_path / ".partial-run" / "busy.txt"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        server = int(process.stdout.readline())
        wait_until(lambda: busy.exists() and len(busy.read_text().split()) == 2, 60)
        kernel, child = map(int, busy.read_text().split())
        process.kill()
    wait_until(lambda: not lives(server) and not lives(kernel))
    os.kill(child, signal.SIGKILL)


@pytest.mark.usefixtures("light")
def test_the_first_run_of_a_sweep_finds_a_process_that_forks_ready(planned, tmp_path, monkeypatch):
    asked = []
    ask = kernels.ask

    def answered(server, request):
        answer = ask(server, request)
        asked.append(request)
        return answer

    monkeypatch.setattr(kernels, "ask", answered)
    run = planned(QUICK)
    with workers.threads(1, [tmp_path]) as crew:
        assert asked == [None], "no run yet, and it has answered"
        assert crew.submit(run, tmp_path / "run", math.inf).result().error is None
    assert [request is None for request in asked] == [True, True, False], "one kernel is forked, for the run"


@pytest.mark.usefixtures("light")
def test_a_new_server_is_started_when_the_old_one_has_died(planned, tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "_start_server", functools.cache(kernels._start_server.__wrapped__))  # the others stay
    run = planned(QUICK)
    kernels.server_of(1).kill()
    outcome = execution.execute(run, tmp_path / "first", threads=1)
    assert "the process that starts kernels has died" in outcome.error
    assert execution.execute(run, tmp_path / "second", threads=1).error is None


def test_runs_that_begin_at_once_share_a_server(monkeypatch):
    started = []

    def slow(threads, program):
        started.append(threads)
        time.sleep(0.2)
        return threads

    monkeypatch.setattr(kernels, "_start_server", functools.cache(slow))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(kernels.server_of, [1, 1, 2, 1])) == [1, 1, 2, 1]
    assert sorted(started) == [1, 2]
    monkeypatch.setattr(kernels, "FORKS", False)
    kernels.warm_up(3)
    assert sorted(started) == [1, 2], "where kernels are not forked, nothing is started"


def test_the_kernel_is_this_interpreter(monkeypatch, tmp_path):
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/elsewhere"], "display_name": "x", "language": "x"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert kernels.RunKernelManager(kernel_name="python3").kernel_spec.argv[0] == sys.executable
