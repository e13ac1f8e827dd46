"""The command line: what it hands to its commands, and how it answers wrong use."""

import math
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from restoration_lib.__main__ import main
from restoration_lib.data import samples
from restoration_lib.experiments import report, sweep
from restoration_lib.networks import vgg_weights

PROJECT = Path(__file__).resolve().parents[1]
WRONG = [  # arguments, and what the last line of the message says
    ([], "required: COMMAND"),
    (["smaples"], "invalid choice: 'smaples'"),
    (["samples", "faces"], "unrecognized arguments: faces"),
    (["samples", "--profile", "quick"], "unrecognized arguments: --profile quick"),
    (["sweep"], "required: NAME.yaml, --profile"),
    (["sweep", "a.yaml"], "required: --profile"),
    (["sweep", "--profile", "quick"], "required: NAME.yaml"),
    (["sweep", "a.yaml", "--profile"], "--profile: expected one argument"),
    (["sweep", "a.yaml", "--profile", "quick", "--workers", "two"], "--workers: invalid int value: 'two'"),
    (["sweep", "a.yaml", "--profile", "quick", "--publish"], "unrecognized arguments: --publish"),
    (["restore"], "required: IN, -o/--out"),
    (["report"], "required: NAME.yaml, --profile"),
    (["report", "a.yaml"], "required: --profile"),
    (["report", "a.yaml", "--profile", "quick", "--workers", "2"], "unrecognized arguments: --workers 2"),
]
PLAIN_SWEEP = {"count": 1, "scheduler": "", "time_limit": math.inf, "fresh": False}


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_arguments_end_with_one_message(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    usage, fault = captured.err.rstrip("\n").rsplit("\n", 1)
    assert caught.value.code == 2 and captured.out == ""
    assert usage.startswith("usage: restoration") and "error" not in usage
    assert fault.startswith("restoration") and ": error: " in fault and message in fault


@pytest.mark.parametrize("arguments", [[], ["samples"], ["sweep"], ["report"], ["restore"]])
def test_help_is_there(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    printed = capsys.readouterr().out
    assert caught.value.code == 0 and printed.startswith(" ".join(["usage: restoration", *arguments]))
    assert arguments or all(command in printed for command in ("samples", "sweep", "report", "restore"))


@pytest.mark.parametrize("command", ["sweep", "report"])
def test_faults_of_files_are_one_line(capsys, tmp_path, command):
    empty, broken = tmp_path / "empty.yaml", tmp_path / "broken.yaml"
    empty.touch()
    broken.write_text("grid: [")
    for path in (empty, broken, tmp_path / "missing.yaml"):
        assert main([command, str(path), "--profile", "quick", "--out", str(tmp_path / "results")]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith(f"{command}: {path}: ") and captured.err.count("\n") == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("workers", ["0", "-3"])
def test_sweeps_need_a_worker(capsys, tmp_path, workers):
    assert main(["sweep", "a.yaml", "--profile", "quick", "--out", str(tmp_path / "x"), "--workers", workers]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"sweep: --workers: expected 1 or more, got {workers}\n")
    assert not (tmp_path / "x").exists()


def test_a_wrong_sweep_answers_at_once(tmp_path):
    """In a process of its own, in one line, before anything slow is imported."""
    path = tmp_path / "missing.yaml"
    arguments = ["sweep", str(path), "--profile", "quick", "--out", str(tmp_path / "results")]
    command = [sys.executable, "-m", "restoration_lib", *arguments]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith(f"sweep: {path}: cannot be read: ") and ended.stderr.count("\n") == 1
    slow = {"torch", "papermill", "dask", "distributed", "pandas", "scipy", "skimage", "matplotlib"}
    code = (
        f"import sys\nfrom restoration_lib.__main__ import main\nmain({arguments})\nprint({slow} & sys.modules.keys())"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "set()\n"


@pytest.mark.slow
def test_what_is_complete_imports_nothing_slow(tmp_path):
    """`make results` with nothing left to do: samples and weights that are there, runs and tables that are."""
    published, out = PROJECT / "results" / "published" / "quick", tmp_path / "results" / "quick"
    shutil.copytree(published / "old_photos", out / "old_photos")
    options = ["--profile", "quick", "--out", str(tmp_path / "results")]
    yaml = str(PROJECT / "notebooks" / "sweeps" / "old_photos.yaml")
    slow = {"torch", "torchvision", "papermill", "pandas", "scipy", "skimage", "matplotlib", "IPython"}
    code = f"""
import sys
from restoration_lib.__main__ import main
assert main(["samples"]) == 0 and main(["report", {yaml!r}, *{options}]) == 0
print({slow} & sys.modules.keys())
"""
    assert main(["report", yaml, *options]) == 0  # the second time, there is nothing to do
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "set()", ended.stderr


@pytest.mark.parametrize(
    ("module", "function", "options", "more"),
    [
        (sweep, "run_sweeps", ["--workers", "3"], {**PLAIN_SWEEP, "count": 3}),
        (sweep, "run_sweeps", [], PLAIN_SWEEP),
        (
            sweep,
            "run_sweeps",
            ["--scheduler", "tcp://a:1", "--time-limit", "1.5", "--fresh"],
            {"count": 1, "scheduler": "tcp://a:1", "time_limit": 1.5, "fresh": True},
        ),
        (report, "report", ["--publish"], {"publish": True}),
        (report, "report", [], {"publish": False}),
    ],
)
def test_commands_take_their_options_and_their_code_is_the_exit_code(monkeypatch, module, function, options, more):
    given = []

    def command(**options):
        given.append(options)
        return 7

    monkeypatch.setattr(module, function, command)
    name = module.__name__.rpartition(".")[2]
    assert main([name, "a.yaml", "b/c.yaml", "--profile", "quick", *options]) == 7
    assert main([name, "a.yaml", "--profile", "full", "--out", "x/y", *options]) == 7
    assert given == [
        {"sweeps": [Path("a.yaml"), Path("b/c.yaml")], "profile": "quick", "out": Path("results"), **more},
        {"sweeps": [Path("a.yaml")], "profile": "full", "out": Path("x/y"), **more},
    ]


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """What would be fetched, as it is fetched."""
    names = []
    monkeypatch.setenv("RESTORATION_LIB_CACHE", str(tmp_path))
    monkeypatch.setattr(samples, "rows", lambda: names.append("rows") or [{"set": "faces", "n": 3}])
    monkeypatch.setattr(vgg_weights, "fetch_vgg16", lambda: names.append("vgg16"))
    return names


def test_samples_are_fetched_with_the_weights_and_listed(capsys, fetched, tmp_path):
    assert main(["samples"]) == 0 and fetched == ["rows", "vgg16"]
    captured = capsys.readouterr()
    assert captured.out == f"  set n\nfaces 3\n{tmp_path}\n" and captured.err == ""


@pytest.mark.parametrize(
    ("module", "name", "error"),
    [
        (samples, "rows", samples.FetchError("cannot fetch the sample faces\nplace it by hand")),
        (vgg_weights, "fetch_vgg16", samples.FetchError("cannot fetch the weights of VGG-16")),
        (vgg_weights, "fetch_vgg16", vgg_weights.Unreachable("cannot fetch the weights of VGG-16")),
    ],
)
def test_samples_that_cannot_be_had_are_one_message(capsys, monkeypatch, fetched, module, name, error):
    def fail():
        raise error

    monkeypatch.setattr(module, name, fail)
    assert main(["samples"]) == 1
    assert capsys.readouterr().err == f"{error}\n"


def test_the_command_restoration_is_this_one():
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    module, name = scripts["restoration"].split(":")
    assert getattr(import_module(module), name) is main
