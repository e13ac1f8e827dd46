"""Notebooks as files: their parameters, their links, their figures, and whether one has been executed."""

import ast
import base64
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from restoration_lib.checks import hint
from restoration_lib.filesystem import shown

PROJECT = Path(__file__).resolve().parent.parent.parent
RECORD = "run.json"  # what a notebook writes last
VARIANT = "variant"  # the parameter that names a choice of method: the case of a sweep, a row of its tables
LINK = re.compile(r"(\]\()((?![a-z]+:|#|/)[^)\s]+)(\))")  # of Markdown, relative


class ExperimentError(ValueError):
    """A run, sweep or report that cannot start. The message is one line and names the file and the key."""

    def __init__(self, message: str):
        super().__init__(shown(message))


def is_complete(folder: Path) -> bool:
    """Whether the run in `folder` has come to its end: `runs.Run.finish` has written its record."""
    return (folder / RECORD).is_file()


def partial_of(folder: Path) -> Path:
    """Where the run of this final folder works until it is complete."""
    return folder.with_name(f".partial-{folder.name}")


def parameters_cell(notebook: str | Path) -> dict:
    """The names and literals of a notebook's cell tagged `parameters`, in the order of the cell.

    Raises:
        ExperimentError: no such notebook, not exactly one such cell, a line that is not `name = literal`, or no text
            parameter `run_folder`, through which a sweep says where the run writes.
    """
    notebook = Path(notebook)
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExperimentError(f"notebook: {notebook} cannot be read: {error!r}") from None
    if len(tagged) != 1:
        raise ExperimentError(f"notebook: {notebook.name} has {len(tagged)} cells tagged `parameters`, wants one")
    literals = {}
    try:
        for statement in ast.parse("".join(tagged[0]["source"])).body:
            [target] = statement.targets
            literals[target.id] = ast.literal_eval(statement.value)
    except (SyntaxError, AttributeError, ValueError) as error:
        where = getattr(error, "lineno", None) or statement.lineno
        fault = f"{notebook.name}, parameters cell, line {where}: not `name = literal`"
        raise ExperimentError(f"notebook: {fault}") from None
    if not isinstance(literals.get("run_folder"), str):
        raise ExperimentError(f"notebook: {notebook.name} has no text parameter `run_folder` in its parameters cell")
    return literals


def typed(name: str, value: object, literals: Mapping, notebook: str) -> object:
    """A value for a notebook's parameter, as its literal's own type: a whole number serves for a fraction.

    Args:
        name: of a parameter, or `parameter.key` for one entry of a dictionary.
        literals: of the notebook's parameters cell.
        notebook: its name, for the message.

    Raises:
        ExperimentError: no such parameter, or a value of another type.
    """
    root, dot, key = name.partition(".")
    if root not in literals:
        raise ExperimentError(f"{name}: no such parameter in {notebook}{hint(root, literals)}")
    literal = literals[root]
    if dot:
        if not key or not isinstance(literal, dict):
            raise ExperimentError(f"{name}: names no entry of a dictionary in {notebook}")
        numbers = literal and all(type(entry) is float for entry in literal.values())
        literal = literal.get(key, 0.0 if numbers else None)  # else any: what takes the dictionary checks its names
    if isinstance(literal, dict) and isinstance(value, dict):
        return {key: typed(f"{name}.{key}", entry, literals, notebook) for key, entry in value.items()}
    if type(literal) is float and type(value) is int:
        return float(value)
    if type(value) is type(literal) or (type(value), type(literal)) == (list, tuple):
        return value
    if literal is None and isinstance(value, bool | int | float | str | list | dict):
        return value
    wanted = "a value" if literal is None else f"{type(literal).__name__}, as in {literal!r}"
    message = f"{name}: {value!r} is {type(value).__name__}, {notebook} wants {wanted}"
    number = re.fullmatch(r"([-+]?\d+)(\.\d*)?[eE]([-+]?\d+)", str(value))
    if number and type(literal) is float:
        written = f"{number[1]}{number[2] or '.0'}e{int(number[3]):+d}"
        message += f"; YAML reads {value} as text, write {written}"
    if isinstance(literal, dict) and isinstance(value, str):
        message += "; papermill takes a dictionary by -y"
    raise ExperimentError(message)


def relink(notebook: dict, before: Path, after: Path) -> None:
    """Let the relative links of a notebook's texts, which count from `before`, lead to the same from `after`.

    A link to nothing that exists from `before` is left alone.
    """

    def moved(match: re.Match) -> str:
        place, mark, anchor = match[2].partition("#")
        target = (before / place).resolve()
        if not target.exists():
            return match[0]
        return match[1] + Path(os.path.relpath(target, after)).as_posix() + mark + anchor + match[3]

    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = LINK.sub(moved, "".join(cell["source"]))


def link_figures(notebook: dict, folder: Path) -> None:
    """In a notebook's outputs, put links in the place of images that lie in `folder`/figures too: each stored once."""
    saved = {path.read_bytes(): path.relative_to(folder) for path in folder.glob("figures/*")}
    for output in (output for cell in notebook["cells"] for output in cell.get("outputs", [])):
        data = output.get("data", {})
        for kind in ("image/png", "image/jpeg"):
            if path := saved.get(base64.b64decode("".join(data.get(kind, "")))):
                data.clear()
                data |= {"text/markdown": f"![{path.stem}]({path.as_posix()})", "text/plain": path.as_posix()}
                output.get("metadata", {}).clear()
