"""Sweeps: the plan is tested on files alone, the execution on notebooks of the standard library only."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

from restoration_lib import grid, sweep

PARAMETERS = """\
rate = 0.5  # share of the pixels, 1 = all
steps = 100  # optimiser steps
seed = 0
variant = "plain"
weight = 1.0
flip = True
sizes = (1, 2)
limit = None
run_folder = "scratch"
"""
FINISH = """\
import json, os, pathlib
folder = pathlib.Path(run_folder)
print(f"writes to {folder.resolve()}")
record = {"rate": rate, "seed": seed, "threads": os.environ["OMP_NUM_THREADS"], "parent": os.getppid()}
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
BREAK = """\
import pathlib
if rate < 1 and pathlib.Path("broken").exists():
    raise RuntimeError("half the\\nrate is too little")
"""


@pytest.fixture(autouse=True)
def same_environment():
    """A sweep sets variables for its kernels; the tests after these should not see them."""
    saved = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture
def write(tmp_path):
    """Write a notebook of the given cells, and a sweep of it; return the path of the sweep."""
    (tmp_path / "notebooks" / "sweeps").mkdir(parents=True)

    def write(*cells, parameters=PARAMETERS, name="tiny", **spec):
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in (parameters, *cells)]
        notebook.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(notebook, tmp_path / "notebooks" / "03_tiny.ipynb")
        path = tmp_path / "notebooks" / "sweeps" / f"{name}.yaml"
        spec = {"notebook": "../03_tiny.ipynb", "profiles": {"quick": {}}} | spec
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        return path

    return write


@pytest.fixture
def run(tmp_path, capsys):
    """Run the command in this process; return its exit code and what it printed."""

    def run(*paths, workers=1):
        options = ["--profile", "quick", "--out", str(tmp_path / "results"), "--workers", str(workers)]
        code = sweep.main([*map(str, paths), *options])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def folders(tmp_path, pattern="[!.]*"):
    """The folders of the sweep `tiny`, by the beginnings of their names."""
    found = (tmp_path / "results" / "quick" / "tiny").glob(pattern)
    return {path.name.removeprefix(".partial-").rpartition("-")[0]: path for path in found}


def test_order_of_cases_and_grid(write):
    cases = {"L1 + adversarial": {"weight": 2}, "plain": {}}
    path = write(cases=cases, case_parameter="variant", grid={"rate": [1, 0.5], "seed": [0, 1]})
    runs = grid.load(path, "quick")
    assert [(r.parameters["variant"], r.parameters["rate"], r.parameters["seed"]) for r in runs] == [
        (case, rate, seed) for case in cases for rate in (1.0, 0.5) for seed in (0, 1)
    ]
    assert runs[0].name.startswith("l1-adversarial_rate-1.0_seed-0-")
    assert runs[0].parameters["weight"] == 2.0 and "weight" not in runs[-1].parameters
    assert isinstance(runs[0].parameters["rate"], float)


def test_profile_merges_base_and_grid_and_replaces_cases(write):
    full = {"base": {"steps": 20000}, "grid": {"seed": [0, 1, 2]}, "cases": {"b": {}}}
    path = write(
        base={"steps": 300, "flip": False},
        grid={"rate": [0.5], "seed": [0]},
        cases={"a": {}},
        case_parameter="variant",
        profiles={"quick": {}, "full": full},
    )
    assert [r.parameters for r in grid.load(path, "full")] == [
        {"steps": 20000, "flip": False, "variant": "b", "rate": 0.5, "seed": seed} for seed in range(3)
    ]
    assert [r.parameters["variant"] for r in grid.load(path, "quick")] == ["a"]


def test_name_and_hash(write):
    [run] = grid.load(write(base={"steps": 7}, grid={"rate": [1]}), "quick")
    text = '{"notebook": "03_tiny", "parameters": {"rate": 1.0, "steps": 7}}'
    assert run.name == f"rate-1.0-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    [alone] = grid.load(write(), "quick")
    assert alone.name.startswith("run-") and alone.notebook.name == "03_tiny.ipynb"


def test_names_are_readable_and_short(write):
    path = write(cases={"../Ünder + " * 20: {}}, case_parameter="variant", grid={"rate": [-0.5, 1e-05]})
    for run in grid.load(path, "quick"):
        assert len(run.name) < 90 and set(run.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
        assert run.name[0] not in ".-_"
    negative, small = grid.load(write(grid={"rate": [-0.5, 1e-05]}), "quick")
    assert negative.name.startswith("rate--0.5-") and small.name.startswith("rate-1e-05-")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"base": {"step": 3}}, ["step:", "03_tiny.ipynb", "did you mean steps?"]),
        ({"base": {"rate": "2e-4"}}, ["rate:", "'2e-4'", "float", "write 2.0e-4"]),
        ({"base": {"rate": "1.5E3"}}, ["write 1.5e+3"]),
        ({"base": {"steps": "1e4"}}, ["steps:", "'1e4'", "int"]),
        ({"base": {"steps": 1.0}}, ["steps:", "1.0", "int"]),
        ({"base": {"steps": True}}, ["steps:", "True", "bool", "int"]),
        ({"base": {"rate": False}}, ["rate:", "False", "float"]),
        ({"base": {"flip": 1}}, ["flip:", "bool"]),
        ({"base": {"variant": 3}}, ["variant:", "str"]),
        ({"base": {"rate": None}}, ["rate:", "None"]),
        ({"base": {"run_folder": "x"}}, ["run_folder:"]),
        ({"base": {"seed": 1}, "grid": {"seed": [0]}}, ["seed:", "two places"]),
        ({"cases": {"a": {"variant": "b"}}, "case_parameter": "variant"}, ["variant:", "two places"]),
        ({"cases": {"a": {}}}, ["case_parameter"]),
        ({"cases": {"a": {}}, "case_parameter": "varient"}, ["varient", "did you mean variant?"]),
        ({"cases": {"a": 3}, "case_parameter": "variant"}, ["cases.a"]),
        ({"grid": {"seed": 0}}, ["grid.seed", "list"]),
        ({"grid": {"seed": []}}, ["grid.seed", "list"]),
        ({"grid": {"rate": [1, 1.0]}}, ["two runs are equal"]),
        ({"bass": {}}, ["unknown key 'bass'"]),
        ({"profiles": {"quick": {"notebook": "x"}}}, ["profiles.quick", "unknown key 'notebook'"]),
        ({"profiles": {"full": {}}}, ["profiles", "no 'quick'", "full"]),
        ({"profiles": {"quick": None}}, ["profiles.quick"]),
        ({"notebook": "../missing.ipynb"}, ["notebook:", "missing.ipynb"]),
        ({"notebook": 3}, ["notebook:", "3"]),
        ({"publish": "some"}, ["publish", "'some'"]),
    ],
)
def test_faults_are_named_on_one_line(write, run, tmp_path, spec, words):
    path = write(**spec)
    code, printed = run(path)
    assert code == 2 and printed.count("\n") == 1 and str(path) in printed
    assert [word for word in words if word not in printed] == []
    assert not (tmp_path / "results").exists()


def test_lists_none_and_whole_numbers_are_accepted(write):
    base = {"sizes": [3], "limit": "x", "rate": 1, "flip": False}
    [run] = grid.load(write(base=base), "quick")
    assert run.parameters == base and type(run.parameters["rate"]) is float


@pytest.mark.parametrize("text", ["grid: [", "- a", "", "notebook: x\n"])
def test_broken_yaml(run, tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    code, printed = run(path)
    assert code == 2 and printed.count("\n") == 1 and str(path) in printed


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("rate = 0.5", "run_folder"),
        ("run_folder = None", "run_folder"),
        ("run_folder = 'x'\nrate = 1 / 2", "line 2"),
        ("run_folder = 'x'\na = b = 1", "line 2"),
        ("run_folder = 'x'\nprint(1)", "line 2"),
        ("run_folder = 'x'\nrate = = 1", "line 2"),
    ],
)
def test_parameters_cell_holds_literals_only(write, parameters, words):
    with pytest.raises(grid.SweepError, match=words):
        grid.load(write(parameters=parameters), "quick")


def test_a_notebook_without_a_parameters_cell(tmp_path):
    path = tmp_path / "plain.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    with pytest.raises(grid.SweepError, match="0 cells tagged"):
        grid.parameters_cell(path)


def test_every_sweep_is_checked_before_the_first_run(write, run, tmp_path):
    good, bad = write(name="tiny"), write(name="bad", base={"step": 1})
    code, printed = run(good, bad)
    assert code == 2 and str(bad) in printed and not (tmp_path / "results").exists()
    assert run(good, good)[0] == 2  # one folder cannot hold two sweeps


def test_the_kernel_is_this_interpreter(monkeypatch, tmp_path):
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/elsewhere"], "display_name": "x", "language": "x"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert sweep.OwnKernelManager(kernel_name="python3").kernel_spec.argv[0] == sys.executable


@pytest.mark.slow
def test_failed_fixed_complete_removed(write, run, tmp_path):
    broken = tmp_path / "notebooks" / "broken"
    broken.touch()
    path = write(BREAK, FINISH, grid={"rate": [0.5, 1.0]})
    code, printed = run(path)
    assert code == 1 and "[1/2] rate-0.5-" in printed and "[2/2] rate-1.0-" in printed
    assert "FAILED: rate is too little" in printed and "1 done, 0 complete already, 1 failed" in printed
    assert list(folders(tmp_path)) == ["rate-1.0"]
    failed = folders(tmp_path, ".partial-*")["rate-0.5"]
    assert "RuntimeError: half the" in (failed / "error.txt").read_text()
    assert "rate is too little" in (failed / "notebook.ipynb").read_text()
    assert os.path.relpath(failed / "notebook.ipynb") in printed

    complete = folders(tmp_path)["rate-1.0"]
    assert sorted(p.name for p in complete.iterdir()) == ["notebook.html", "notebook.ipynb", "run.json"]
    for name in ("notebook.ipynb", "notebook.html"):
        text = (complete / name).read_text()
        assert str(tmp_path) not in text and f"quick/tiny/{complete.name}" in text
    nbformat.validate(nbformat.read(complete / "notebook.ipynb", as_version=4))

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


def test_a_notebook_that_does_not_finish_its_run(write, run, tmp_path):
    path = write()
    [planned] = grid.load(path, "quick")
    partial = tmp_path / "results" / "quick" / "tiny" / f".partial-{planned.name}"
    partial.mkdir(parents=True)
    (partial / "run.json").touch()  # of an earlier attempt: it must not count
    code, printed = run(path)
    assert code == 1 and "run.json" in printed and not folders(tmp_path)


@pytest.mark.slow
def test_stopped_sweep_goes_on(write, run, tmp_path):
    path = write(SLEEP, FINISH, grid={"rate": [1.0, 0.5]})
    command = [sys.executable, "-m", "restoration_lib.sweep", str(path), "--profile", "quick"]
    command += ["--out", str(tmp_path / "results")]
    kernels = []
    for stop, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        with subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            stderr=subprocess.PIPE,
            text=True,
            # where the tests run in the background, they are started with Ctrl-C ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            kernels = wait_for_kernels(tmp_path, len(kernels) + 1)
            refused, printed = run(path)
            assert refused == 2 and "another sweep is running" in printed
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
    pytest.importorskip("dask.distributed")
    code, printed = run(write(FINISH, grid={"seed": [0, 1]}), workers=2)
    assert code == 0 and "[2/2] seed-" in printed and "2 done" in printed
    records = [json.loads((path / "run.json").read_text()) for path in folders(tmp_path).values()]
    assert sorted(record["seed"] for record in records) == [0, 1]
    assert len({record["parent"] for record in records}) == 2
    assert {record["threads"] for record in records} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
