"""Running sweeps: the execution of notebooks of the standard library only, stopped, failed and gone on with."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from restoration_lib.__main__ import main
from restoration_lib.experiments import sweep_file
from restoration_lib.experiments.sweep import _first_of_each

pytestmark = pytest.mark.usefixtures("light")

FINISH = """\
import json, os, pathlib
folder = pathlib.Path(run_folder)
print(f"writes to {folder.resolve()}")
record = {"seed": seed, "losses": losses, "threads": os.environ["OMP_NUM_THREADS"], "process": os.getpid()}
(folder / "run.json").write_text(json.dumps(record))
"""
SLEEP = """\
import os, pathlib, time
checkpoint = pathlib.Path(run_folder) / "checkpoint.txt"
if rate < 1:  # such a run comes to its end only when it is started for the third time
    with checkpoint.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    while len(checkpoint.read_text().split()) < 3:
        checkpoint.with_name("beat.txt").touch()
        time.sleep(0.1)
"""
MEET = """\
import pathlib, time
(pathlib.Path(run_folder) / "here.txt").touch()
for _ in range(600):
    if len(list(pathlib.Path(run_folder).parent.glob(".partial-*/here.txt"))) == 2:
        break
    time.sleep(0.1)
else:
    raise RuntimeError("alone")
time.sleep(0.5)  # for the other one to see it
"""
BREAK = """\
import pathlib
if rate < 1 and pathlib.Path("broken").exists():
    raise RuntimeError("half the\\nrate is too little")
"""


def folders(tmp_path, pattern="[!.]*"):
    """The folders of the sweep `tiny`, by the beginnings of their names."""
    found = (tmp_path / "results" / "quick" / "tiny").glob(pattern)
    return {path.name.removeprefix(".partial-").rpartition("-")[0]: path for path in found}


@pytest.mark.slow
def test_failed_fixed_complete_removed(write, run, tmp_path):
    broken = tmp_path / "notebooks" / "broken"
    broken.touch()
    text = "[sweep](sweeps/tiny.yaml#grid), [gone](gone.md), [web](https://example.org/sweeps/tiny.yaml)"
    path = write(BREAK, FINISH, grid={"rate": [0.5, 1.0]}, text=text)
    code, printed = run(path)
    assert code == 1 and "[1/2] rate-0.5-" in printed and "[2/2] rate-1.0-" in printed
    assert "FAILED: rate is too little" in printed and "1 done, 0 complete already, 1 failed" in printed
    assert list(folders(tmp_path)) == ["rate-1.0"]
    failed = folders(tmp_path, ".partial-*")["rate-0.5"]
    assert "RuntimeError: half the" in (failed / "error.txt").read_text()
    assert "rate is too little" in (failed / "notebook.ipynb").read_text()
    assert os.path.relpath(failed / "notebook.ipynb") in printed

    complete = folders(tmp_path)["rate-1.0"]
    assert sorted(p.name for p in complete.iterdir()) == ["notebook.ipynb", "run.json"]
    text = (complete / "notebook.ipynb").read_text()
    assert str(tmp_path) not in text and f"quick/tiny/{complete.name}" in text
    executed = nbformat.read(complete / "notebook.ipynb", as_version=4)
    nbformat.validate(executed)
    to_sweep, gone, web = re.findall(r"\]\(([^)]+)\)", executed.cells[0].source)
    assert to_sweep.endswith("#grid") and (complete / to_sweep.removesuffix("#grid")).samefile(path)
    assert (gone, web) == ("gone.md", "https://example.org/sweeps/tiny.yaml")

    broken.unlink()
    code, printed = run(path)
    assert code == 0 and "1 complete already" in printed and "[1/1] rate-0.5-" in printed
    assert not folders(tmp_path, ".partial-*") and not (folders(tmp_path)["rate-0.5"] / "error.txt").exists()

    before = (complete / "run.json").stat().st_mtime_ns
    code, printed = run(path)
    assert code == 0 and "0 done, 2 complete already" in printed

    shutil.rmtree(folders(tmp_path)["rate-0.5"])
    code, printed = run(path)
    assert code == 0 and "1 done, 1 complete already" in printed and len(folders(tmp_path)) == 2
    assert (complete / "run.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_notebook_that_does_not_finish_its_run(write, run, tmp_path):
    path = write()
    [planned] = sweep_file.plan(path, "quick")
    partial = tmp_path / "results" / "quick" / "tiny" / f".partial-{planned.name}"
    partial.mkdir(parents=True)
    (partial / "run.json").touch()  # of an earlier attempt: it must not count
    code, printed = run(path)
    assert code == 1 and "run.json" in printed and not folders(tmp_path)


def test_a_folder_in_the_way_is_left_alone(write, run, tmp_path):
    path = write()
    [planned] = sweep_file.plan(path, "quick")
    there = tmp_path / "results" / "quick" / "tiny" / planned.name
    there.mkdir(parents=True)
    (there / "mine.txt").write_text("mine")
    code, printed = run(path)
    assert code == 1 and f"{planned.name} is there without run.json: move it away" in printed
    assert [found.name for found in there.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_full_disk_is_a_line_for_each_run_and_the_others_are_tried(write, run, tmp_path, monkeypatch):
    (tmp_path / "notebooks" / "broken").touch()
    written = Path.write_text

    def full(path, *arguments, **options):
        if path.name == "error.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    code, printed = run(write(BREAK, FINISH, grid={"rate": [0.5, 1.0]}))
    assert code == 1 and printed.count("FAILED") == 1 and "Traceback" not in printed
    assert "1 done, 0 complete already, 1 failed" in printed and list(folders(tmp_path)) == ["rate-1.0"]


@pytest.mark.parametrize("place", ["results", "results/quick", "results/quick/tiny"])
def test_a_file_in_the_place_of_a_folder_is_one_line(write, run, tmp_path, place):
    path, file = write(FINISH), tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    code, printed = run(path)
    assert code == 2 and printed.count("\n") == 1 and "tiny" in printed and file.read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_one_line(write, run, tmp_path, monkeypatch):
    def refused(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = write(FINISH)
    monkeypatch.setattr(Path, "mkdir", refused)
    code, printed = run(path)
    folder = tmp_path / "results" / "quick" / "tiny"
    assert code == 2 and printed == f"sweep: {folder}: cannot be written to: Permission denied\n"


@pytest.mark.slow
def test_a_run_over_its_time_limit_fails_and_keeps_what_it_wrote(write, tmp_path, capsys):
    path = write(SLEEP, FINISH, grid={"rate": [1.0, 0.5]})
    options = ["--profile", "quick", "--out", str(tmp_path / "results"), "--time-limit", "0.05"]
    assert main(["sweep", str(path), *options]) == 1
    printed = capsys.readouterr().out
    assert "FAILED: restoration_lib.experiments.kernels.RunStopped: not complete after 0.05 minutes" in printed
    assert "1 done, 0 complete already, 1 failed" in printed
    [partial] = folders(tmp_path, ".partial-*").values()
    assert (partial / "checkpoint.txt").exists()


@pytest.mark.slow
def test_fresh_begins_unfinished_runs_anew_and_leaves_complete_ones(write, tmp_path, capsys):
    path = write(BREAK, FINISH, grid={"rate": [0.5, 1.0]})
    broken = tmp_path / "notebooks" / "broken"
    broken.touch()
    options = ["sweep", str(path), "--profile", "quick", "--out", str(tmp_path / "results")]
    assert main(options) == 1
    [complete], [partial] = folders(tmp_path).values(), folders(tmp_path, ".partial-*").values()
    (partial / "checkpoints").mkdir()
    (partial / "checkpoints" / "last.pt").write_bytes(b"damaged")
    before = (complete / "run.json").stat().st_mtime_ns
    broken.unlink()
    assert main([*options, "--fresh"]) == 0
    assert (complete / "run.json").stat().st_mtime_ns == before
    assert not (folders(tmp_path)["rate-0.5"] / "checkpoints").exists()


@pytest.mark.parametrize("limit", ["0", "-1", "nan"])
def test_a_time_limit_of_nothing_is_refused(write, tmp_path, capsys, limit):
    options = ["--profile", "quick", "--out", str(tmp_path / "results"), f"--time-limit={limit}"]
    assert main(["sweep", str(write(FINISH)), *options]) == 2
    assert "--time-limit: expected minutes above 0" in capsys.readouterr().err


@pytest.mark.slow
def test_stopped_sweep_goes_on(write, run, light, tmp_path):
    path = write(SLEEP, FINISH, grid={"rate": [1.0, 0.5]})
    command = [sys.executable, str(light), "sweep", str(path), "--profile", "quick"]
    command += ["--out", str(tmp_path / "results")]
    kernels = []
    for stop, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        with subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
            # where the tests run in the background, they are started with Ctrl-C ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            kernels = wait_for_kernels(tmp_path, len(kernels) + 1)
            refused, printed = run(path)
            assert refused == 2 and "another sweep or report is running" in printed
            process.send_signal(stop)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == code
        assert errors == ("sweep: stopped; the same command goes on from here\n" if code == 130 else "")
        wait_for_silence(tmp_path)
    first = folders(tmp_path)["rate-1.0"] / "run.json"
    before = first.read_text()
    code, printed = run(path)
    assert code == 0 and "1 done, 1 complete already" in printed and first.read_text() == before
    resumed = folders(tmp_path)["rate-0.5"]
    assert (resumed / "checkpoint.txt").read_text().split()[:2] == kernels


def wait_for_kernels(tmp_path, number):
    """The process numbers in the checkpoint of the run at rate 0.5, when there are so many."""
    for _ in range(1200):
        checkpoints = (tmp_path / "results").glob("quick/tiny/.partial-rate-0.5*/checkpoint.txt")
        kernels = [kernel for path in checkpoints for kernel in path.read_text().split()]
        if len(kernels) == number:
            return kernels
        time.sleep(0.1)
    raise AssertionError("the run does not start")


def wait_for_silence(tmp_path):
    """Wait until no kernel writes: one that outlives its sweep would write beside the next one."""
    [beat] = (tmp_path / "results").glob("quick/tiny/.partial-rate-0.5*/beat.txt")
    for _ in range(20):
        last = beat.stat().st_mtime_ns
        time.sleep(1.5)
        if beat.stat().st_mtime_ns == last:
            return
    raise AssertionError("the kernel outlives its sweep")


@pytest.mark.slow
def test_two_workers(write, run, tmp_path):
    """Each of the two runs ends only when it sees the other begin."""
    code, printed = run(write(MEET, FINISH, base={"losses.cycle": 3}, grid={"seed": [0, 1]}), workers=2)
    assert code == 0 and "[2/2] seed-" in printed and "2 done" in printed
    records = [json.loads((path / "run.json").read_text()) for path in folders(tmp_path).values()]
    assert sorted(record["seed"] for record in records) == [0, 1]
    assert [record["losses"] for record in records] == [{"cycle": 3.0, "identity": 5.0, "rounds": 2}] * 2
    assert len({record["process"] for record in records}) == 2
    assert {record["threads"] for record in records} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}


def test_one_run_of_each_sweep_goes_before_all_others(tmp_path):
    jobs = [(name, tmp_path / name[0] / name) for name in ("a1", "a2", "a3", "b1", "b2", "c1")]
    assert [name for name, _ in _first_of_each(jobs)] == ["a1", "b1", "c1", "a2", "a3", "b2"]
