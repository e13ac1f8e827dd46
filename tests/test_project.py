"""The project's own papers agree: pyproject.toml and environment.yml, notebooks, README and published results."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from restoration_lib import report

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_keep_the_house_style(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in code]
    assert len(cells) <= 30
    assert "".join(cells[0]["source"]).startswith("# "), "no title"
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code), "stored outputs"
    [parameters] = [k for k, cell in enumerate(code) if "parameters" in cell["metadata"].get("tags", [])]
    for k, source in enumerate(sources):
        assert k == parameters or len(source.splitlines()) <= 15, source
        assert "class " not in source and "backward(" not in source, source
    for line in sources[parameters].splitlines():
        assert "  # " in line, f"no unit or meaning: {line}"
    names = {statement.targets[0].id for statement in ast.parse(sources[parameters]).body}
    rest = ast.parse("\n".join(sources[parameters + 1 :]))
    used = {node.id for node in ast.walk(rest) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    stored = {node.id for node in ast.walk(rest) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert names <= used, f"used by nothing: {names - used}"
    assert not names & stored, f"assigned again below: {names & stored}"


def test_the_readme_shows_what_is_published():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    published = PROJECT / "results" / "published"
    block = text.split(report.BEGIN, 1)[1].split(report.END, 1)[0].strip()
    assert block == report.overviews(published, "full", PROJECT).strip()
    everything = (published / "README.md").read_text(encoding="utf-8")
    assert everything.strip() == (report.TITLE + report.overviews(published, "*", published)).strip()


def test_no_file_of_the_library_is_long():
    for path in (PROJECT / "restoration_lib").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 250, path.name


def test_every_link_of_the_readme_leads_somewhere():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert links and not [link for link in links if not (PROJECT / link).exists()]
