"""The runs of a sweep: its YAML file, checked against the notebook before anything is run.

The YAML file:

    notebook: ../03_name.ipynb                 # relative to this file
    base: {steps: 300}                         # parameters common to all runs
    cases: {plain: {}, strong: {weight: 2.0}}  # optional: named parameters that change together, over base
    case_parameter: variant                    # the notebook's parameter that receives the case's name
    grid: {rate: [1.0, 0.5], seed: [0, 1]}     # every combination, times the cases
    profiles: {quick: {}, full: {base: {steps: 20000}}}   # base, grid: merged key by key; cases: replaced
    publish: all                               # or "numbers": what `restoration_lib.report` copies
    report: {}                                 # optional: its tables, read by `restoration_lib.report`
"""

import ast
import difflib
import hashlib
import itertools
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

SWEEP_KEYS = ("notebook", "base", "cases", "case_parameter", "grid", "profiles", "publish", "report")
PROFILE_KEYS = ("base", "cases", "grid")


class SweepError(ValueError):
    """A sweep that cannot start. The message is one line and names the file and the key."""


@dataclass(frozen=True)
class Run:
    """One run: its folder's name, its notebook, and the parameters to inject, of the notebook's own types."""

    name: str
    notebook: Path
    parameters: dict


def load(yaml_path, profile):
    """Read a sweep and check every parameter of every run against the notebook; nothing is run.

    Args:
        yaml_path: the sweep's YAML file.
        profile: one of the names under its `profiles`.

    Returns:
        A list of `Run`: cases outermost, then the grid in the order of the file, its last key fastest.

    Raises:
        SweepError: a file that cannot be read, an unknown key, profile or parameter, a value of the wrong
            type, a parameter set in two places, or two runs that are equal.
    """
    spec = read_yaml(yaml_path)
    with _named(yaml_path):
        spec = _with_profile(spec, profile)
        notebook = (Path(yaml_path).parent / spec["notebook"]).resolve()
        literals = parameters_cell(notebook)
        runs = {}
        for case, varied, parameters in _combinations(spec):
            typed = {key: _typed(key, value, literals, notebook) for key, value in parameters.items()}
            name = run_name(notebook.stem, case, varied, typed)
            if name in runs:
                raise SweepError(f"grid: two runs are equal: {name}")
            runs[name] = Run(name, notebook, typed)
    return list(runs.values())


@contextmanager
def _named(yaml_path):
    """Put the file's name before the message of a SweepError."""
    try:
        yield
    except SweepError as error:
        raise SweepError(f"{yaml_path}: {error}") from None


def parameters_cell(notebook):
    """The names and literals of a notebook's cell tagged `parameters`.

    Args:
        notebook: path of the notebook.

    Returns:
        A dict from each name to its default, in the order of the cell.

    Raises:
        SweepError: no such notebook, not exactly one such cell, a line that is not `name = literal`, or no
            text parameter `run_folder`, through which the sweep says where the run writes.
    """
    notebook = Path(notebook)
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SweepError(f"notebook: {notebook} cannot be read: {error!r}") from None
    if len(tagged) != 1:
        raise SweepError(f"notebook: {notebook.name} has {len(tagged)} cells tagged `parameters`, wants one")
    literals = {}
    try:
        for statement in ast.parse("".join(tagged[0]["source"])).body:
            [target] = statement.targets
            literals[target.id] = ast.literal_eval(statement.value)
    except (SyntaxError, AttributeError, ValueError) as error:
        where = getattr(error, "lineno", None) or statement.lineno
        raise SweepError(f"notebook: {notebook.name}, parameters cell, line {where}: not `name = literal`") from None
    if not isinstance(literals.get("run_folder"), str):
        raise SweepError(f"notebook: {notebook.name} has no text parameter `run_folder` in its parameters cell")
    return literals


def run_name(notebook_stem, case, varied, parameters):
    """The name of a run's folder: what varies, to be read, and a hash of everything, to be unique."""
    parts = [_slug(case or "")] + [f"{_slug(key)}-{_slug(parameters[key])}" for key in varied]
    readable = "_".join(part for part in parts if part)[:80].strip("-_.") or "run"
    everything = json.dumps({"notebook": notebook_stem, "parameters": parameters}, sort_keys=True)
    return f"{readable}-{hashlib.sha256(everything.encode()).hexdigest()[:8]}"


def _slug(value):
    text = str(value).lower()
    sign = "-" if text.startswith("-") else ""  # a negative number keeps its sign
    return sign + re.sub(r"[^a-z0-9._]+", "-", text).strip("-")


def _typed(key, value, literals, notebook):
    """The value as the notebook's own type, or SweepError."""
    if key not in literals:
        close = difflib.get_close_matches(key, literals, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SweepError(f"{key}: no such parameter in {notebook.name}{hint}")
    literal = literals[key]
    if type(literal) is float and type(value) is int:
        return float(value)
    if type(value) is type(literal) or (type(value), type(literal)) == (list, tuple):
        return value
    if literal is None and isinstance(value, bool | int | float | str | list | dict):
        return value
    wanted = "a value" if literal is None else f"{type(literal).__name__}, as in {literal!r}"
    message = f"{key}: {value!r} is {type(value).__name__}, {notebook.name} wants {wanted}"
    number = re.fullmatch(r"([-+]?\d+)(\.\d*)?[eE]([-+]?\d+)", str(value))
    if number and type(literal) is float:
        written = f"{number[1]}{number[2] or '.0'}e{int(number[3]):+d}"
        message += f"; YAML reads {value} as text, write {written}"
    raise SweepError(message)


def read_yaml(yaml_path):
    """A sweep as its YAML file has it, the profiles not merged; SweepError where a key is unknown or missing."""
    with _named(yaml_path):
        try:
            spec = yaml.safe_load(Path(yaml_path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SweepError(f"cannot be read: {' '.join(str(error).split())}") from None
        _check_mapping("the file", spec, SWEEP_KEYS)
        for key in ("notebook", "profiles"):
            if key not in spec:
                raise SweepError(f"{key}: missing")
        for key in ("notebook", "case_parameter"):
            if not isinstance(spec.get(key, ""), str):
                raise SweepError(f"{key}: {spec[key]!r} is not text")
        if spec.get("publish", "all") not in ("all", "numbers"):
            raise SweepError(f"publish: {spec['publish']!r} is neither `all` nor `numbers`")
        return spec


def _check_mapping(where, value, known=None):
    """SweepError unless `value` is a mapping whose keys are text and, where `known` is given, known."""
    if not isinstance(value, dict):
        raise SweepError(f"{where}: {value!r} is not a mapping")
    for key in value:
        if not isinstance(key, str) or (known and key not in known):
            raise SweepError(f"{where}: unknown key {key!r}" + (f"; known: {', '.join(known)}" if known else ""))


def _with_profile(spec, profile):
    """The sweep with the profile merged in: `base`, `cases` and `grid` are there, no name is set twice."""
    _check_mapping("profiles", spec["profiles"])
    if profile not in spec["profiles"]:
        raise SweepError(f"profiles: no {profile!r}; there are: {', '.join(spec['profiles'])}")
    changes = spec["profiles"][profile]
    _check_mapping(f"profiles.{profile}", changes, PROFILE_KEYS)
    for where, sections in (("", spec), (f"profiles.{profile}.", changes)):
        for key in PROFILE_KEYS:
            _check_mapping(f"{where}{key}", sections.get(key, {}))
    base = {**spec.get("base", {}), **changes.get("base", {})}
    grid = {**spec.get("grid", {}), **changes.get("grid", {})}
    cases = changes.get("cases", spec.get("cases", {}))
    for name, bundle in cases.items():
        _check_mapping(f"cases.{name}", bundle)
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise SweepError(f"grid.{key}: {values!r} is not a list of values")
    if cases and "case_parameter" not in spec:
        raise SweepError("case_parameter: missing, it names the parameter that receives the case's name")
    _check_sources(base, cases, spec["case_parameter"] if cases else None, grid)
    return {**spec, "base": base, "cases": cases, "grid": grid}


def _check_sources(base, cases, case_parameter, grid):
    """A parameter set in two places: one of the two would do nothing, so it is an error."""
    bundled = set().union(*cases.values())
    twice = (set(grid) & (set(base) | bundled)) | ({case_parameter} & (set(base) | bundled | set(grid)))
    for key in sorted(twice):
        raise SweepError(f"{key}: set in two places, of base, cases, case_parameter and grid")
    if "run_folder" in {*base, *bundled, *grid, case_parameter}:
        raise SweepError("run_folder: the sweep sets it")


def _combinations(spec):
    """One (case, names from the grid, parameters) a run."""
    for case, bundle in (spec["cases"] or {None: {}}).items():
        named = {} if case is None else {spec["case_parameter"]: case}
        for values in itertools.product(*spec["grid"].values()):
            point = dict(zip(spec["grid"], values, strict=True))
            yield case, point, {**spec["base"], **bundle, **named, **point}
