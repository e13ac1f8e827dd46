"""Small notebooks and sweeps of them, and the command line that runs them."""

import os
import runpy
from pathlib import Path

import nbformat
import pytest
import yaml

from restoration_lib.__main__ import main
from restoration_lib.experiments import kernels

PARAMETERS = """\
rate = 0.5  # share of the pixels, 1 = all
steps = 100  # optimiser steps
seed = 0
variant = "plain"
weight = 1.0
flip = True
sizes = (1, 2)
limit = None
losses = {"cycle": 10.0, "identity": 5.0, "rounds": 2}
run_folder = "scratch"
"""


@pytest.fixture(autouse=True)
def same_environment():
    """A sweep sets variables for its kernels; the tests after these should not see them."""
    saved = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture
def light(monkeypatch):
    """What `light.py` says, for this process; returns its path, for others."""
    monkeypatch.setattr(kernels, "SERVER", kernels.SERVER)  # to be put back
    path = Path(__file__).with_name("light.py")
    runpy.run_path(str(path))
    return path


@pytest.fixture
def write_notebook():
    """Write a notebook: a cell of parameters, cells of code, and first, if there is any, a text."""

    def write_notebook(path, *cells, parameters=PARAMETERS, text=""):
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in (parameters, *cells)]
        notebook.cells[0].metadata["tags"] = ["parameters"]
        notebook.cells[:0] = [nbformat.v4.new_markdown_cell(text)] if text else []
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return write_notebook


@pytest.fixture
def write(tmp_path, write_notebook):
    """Write a notebook of the given cells, and a sweep of it; return the path of the sweep."""
    (tmp_path / "notebooks" / "sweeps").mkdir(parents=True)

    def write(*cells, parameters=PARAMETERS, text="", name="tiny", **spec):
        write_notebook(tmp_path / "notebooks" / "03_tiny.ipynb", *cells, parameters=parameters, text=text)
        path = tmp_path / "notebooks" / "sweeps" / f"{name}.yaml"
        spec = {"notebook": "../03_tiny.ipynb", "profiles": {"quick": {}}} | spec
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        return path

    return write


@pytest.fixture
def run(tmp_path, capsys):
    """Run the sweeps in this process; return the exit code and what was printed."""

    def run(*paths, workers=1):
        options = ["--profile", "quick", "--out", str(tmp_path / "results"), "--workers", str(workers)]
        code = main(["sweep", *map(str, paths), *options])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run
