"""The project's own papers agree: pyproject.toml and environment.yml, notebooks, README and published results."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from restoration_lib.data.damage import PRINT_DAMAGE
from restoration_lib.experiments import publish, sweep_file, tables
from restoration_lib.experiments.notebooks import LINK

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
PUBLISHED = PROJECT / "results" / "published"
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def test_conda_users_get_the_same_requirements():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    wanted += [*project["optional-dependencies"]["sweep"], "python" + project["requires-python"]]
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())["dependencies"]
    assert sorted(map(_conda, wanted)) == sorted(environment)


def _conda(requirement: str) -> str:
    name = requirement.split(">")[0]
    return CONDA_NAMES.get(name, name) + requirement.removeprefix(name)


def sources(path: Path) -> tuple[str, str, list[dict]]:
    """A notebook's parameters cell, all its later code, and its cells."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    [place] = [k for k, cell in enumerate(code) if "parameters" in cell["metadata"].get("tags", [])]
    return "".join(code[place]["source"]), "\n".join("".join(cell["source"]) for cell in code[place + 1 :]), cells


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_keep_the_house_style(path):
    parameters, rest, cells = sources(path)
    title = "".join(cells[0]["source"]).splitlines()[0]
    assert title.startswith("# ") and "?" in title, "the title is no question"
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert "class " not in rest and "backward(" not in rest, "the library's work"
    for line in parameters.splitlines():
        assert "# " in line or line == "}", f"no unit or meaning: {line}"
    for line in rest.splitlines():
        assert not re.match(r"\s*plots\.", line), f"a figure that is not saved: {line}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_is_used_and_none_is_assigned_again(path):
    parameters, rest, cells = sources(path)
    names = {statement.targets[0].id for statement in ast.parse(parameters).body}
    tree = ast.parse(rest)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    imported = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for taker in re.findall(r"run\.arguments\((\w+)\)", rest):
        module = re.search(rf"from (\S+) import .*\b{taker}\b", imported)[1]
        used |= {"options", *inspect.signature(getattr(importlib.import_module(module), taker)).parameters}
    assert names <= used | {"run_folder"}, f"used by nothing: {names - used}"
    assert not names & stored, f"assigned again below: {names & stored}"
    assert f'runs.start("{path.stem}", globals())' in rest, "runs.start names another notebook"


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_of_every_sweep_fits_its_notebook(path):
    for profile in sweep_file.read_yaml(path)["profiles"]:
        assert sweep_file.plan(path, profile)


def test_the_sweep_of_the_shipped_finder_has_the_damage_that_it_learned():
    path = PROJECT / "notebooks" / "sweeps" / "shipped_scratches.yaml"
    damage = sweep_file.read_yaml(path)["base"]["damage"]
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in damage.items()} == PRINT_DAMAGE


# ---- README and what is published


def test_the_readme_shows_what_is_published():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    block = text.split(publish.BEGIN, 1)[1].split(publish.END, 1)[0].strip()
    table, _, findings = block.split("\n\n")
    assert table == publish.summary_table(PUBLISHED, publish.SUMMARY)
    assert len(table.splitlines()) == 7
    assert findings == publish.findings(PUBLISHED, publish.FINDINGS)
    assert len(findings.splitlines()) == 6
    everything = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    assert everything.strip() == (publish.TITLE + publish.overviews(PUBLISHED)).strip()


def test_the_meanings_in_the_readmes_table_hold_no_numbers():
    for entry in yaml.safe_load(publish.SUMMARY.read_text(encoding="utf-8")):
        assert not re.search(r"\d", entry["meaning"].replace("Set5", "")), entry


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*/*/table.md")), ids=lambda path: "/".join(path.parts[-3:-1]))
def test_published_tables_are_those_of_their_runs(path, tmp_path, monkeypatch):
    """Written anew from the run folders, they are the same to the letter."""
    folder = tmp_path / path.parent.name
    folder.symlink_to(path.parent, target_is_directory=True)
    written = {}
    monkeypatch.setattr(Path, "write_text", lambda self, text, **options: written.setdefault(self.name, text))
    tables.write_tables(PROJECT / "notebooks" / "sweeps" / f"{path.parent.name}.yaml", folder)
    assert set(written) == {"table.md", "overview.md", "table.csv"}
    for name, text in written.items():
        assert text == (path.parent / name).read_text(encoding="utf-8"), name


def markdown_files() -> list[Path]:
    return [PROJECT / "README.md", PROJECT / "notebooks" / "sweeps" / "README.md", PUBLISHED / "README.md"]


@pytest.mark.parametrize("path", markdown_files(), ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_every_link_of_a_readme_leads_somewhere(path):
    links = [match[2] for match in LINK.finditer(path.read_text(encoding="utf-8"))]
    assert links and not [link for link in links if not (path.parent / link).exists()]


@pytest.mark.parametrize(
    "path", [*NOTEBOOKS, *sorted(PUBLISHED.rglob("*.ipynb"))], ids=lambda path: path.relative_to(PROJECT).as_posix()
)
def test_every_link_of_a_notebook_leads_somewhere(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    texts += [data for cell in cells for data in map(linked, cell.get("outputs", []))]
    links = [match[2] for text in texts for match in LINK.finditer(text)]
    assert not [link for link in links if not (path.parent / link).exists()]


def linked(output: dict) -> str:
    return "".join(output.get("data", {}).get("text/markdown", ""))


def test_published_notebooks_hold_no_figure_twice():
    for path in PUBLISHED.rglob("*.ipynb"):
        assert "image/png" not in path.read_text(encoding="utf-8"), path
        assert "image/jpeg" not in path.read_text(encoding="utf-8"), path


def commands(path: Path) -> list[str]:
    """The commands in a page's code blocks, continued lines joined, comments left out."""
    blocks = re.findall(r"^```\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+# .*", "", line).strip() for line in lines if line.strip()]


def test_the_makefile_has_the_commands_of_the_readme():
    made = [command for command in commands(PROJECT / "README.md") if command.startswith("make ")]
    assert made == ["make results", "make test"]
    for command in made:
        subprocess.run([*command.split(), "--dry-run"], cwd=PROJECT, check=True, capture_output=True)


def test_the_commands_of_the_page_on_sweeps_are_understood(monkeypatch, capsys):
    from restoration_lib.__main__ import _parser

    for command in commands(PROJECT / "notebooks" / "sweeps" / "README.md"):
        program, *arguments = command.partition("#")[0].split()
        if program == ".venv/bin/dask":
            assert arguments[0] in ("scheduler", "worker")
            continue
        assert program == ".venv/bin/restoration"
        options = _parser().parse_args(arguments)
        assert sweep_file.plan(PROJECT / options.sweeps[0], options.profile)


@pytest.mark.slow
def test_the_readmes_own_command_restores_ones_own_photographs(tmp_path):
    """To the letter, in a home with two folders of photographs; only the sizes and the steps are made small."""
    [command] = [command for command in commands(PROJECT / "README.md") if "papermill" in command]
    rng = np.random.default_rng(0)
    for folder in ("old", "new"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for k in range(6):
            coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
            coarse.resize((96, 72), Image.Resampling.BICUBIC).save(tmp_path / "photos" / folder / f"{folder}{k}.jpg")
    (tmp_path / "notebooks").symlink_to(PROJECT / "notebooks")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    small = "-p size 66 -p crop 64 -p features 4 -p steps 4 -p validate_every 2"
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.setdefault("RESTORATION_LIB_CACHE", str(Path.home() / ".cache" / "restoration_lib"))
    run_folder = f"-p run_folder {tmp_path / 'run'}"
    subprocess.run(f"{command} {small} {run_folder}", shell=True, cwd=tmp_path, env=environment, check=True)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (tmp_path / "mine.ipynb").exists() and record["dataset"] == "old -> new"
    assert "psnr" not in record["rows"][0], "nothing was degraded, so there is nothing to compare with"
    assert {row["domain"] for row in record["rows"]} == {"a", "b"}
