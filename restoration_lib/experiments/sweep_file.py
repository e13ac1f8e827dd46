"""The runs of a sweep: its YAML file, checked against the notebook before anything is run.

The YAML file:

    extends: other.yaml                        # optional: base and grid are merged with its, the rest replaces its
    notebook: ../03_name.ipynb                 # relative to this file
    base: {steps: 300}                         # parameters common to all runs
    cases: {plain: {}, strong: {losses: {l1: 2.0}}}  # optional: what changes together, over base; `variant` is its name
    grid: {losses.cycle: [5.0, 10.0], seed: [0, 1]}  # every combination, times the cases
    profiles: {quick: {}, full: {base: {steps: 20000}}}  # base, grid: merged key by key; cases: replaced
    publish: all                               # what `restoration report --publish` copies: "numbers" leaves out what
                                               # shows images; "report" too, but for the notebook of `report:`, which
                                               # then must show none of the runs
    report: {}                                 # optional: its tables, see `experiments.report`

A dictionary replaces the notebook's own; `dictionary.key` changes one entry of it.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from restoration_lib.experiments.notebooks import VARIANT, ExperimentError, parameters_cell, typed

PROFILE_KEYS = ("base", "cases", "grid")
REPORT_KEYS = ("columns", "metrics", "tables", "notebook")
SWEEP_KEYS = ("extends", "notebook", "profiles", "publish", "report", *PROFILE_KEYS)
FOLDER_NAME = re.compile(r"\w[\w .-]*")  # that leads nowhere else
LONGEST = 100_000  # characters of a sweep, what aliases stand for counted each time


@dataclass(frozen=True)
class PlannedRun:
    """One run: its folder's name, its notebook, and the parameters to inject, of the notebook's own types."""

    name: str
    notebook: Path
    parameters: dict


def plan(yaml_path: str | Path, profile: str) -> list[PlannedRun]:
    """Read a sweep and check every parameter of every run against the notebook; nothing is run.

    Args:
        profile: one of the names under its `profiles`.

    Returns:
        Cases outermost, then the grid in the order of the file, its last key fastest.

    Raises:
        ExperimentError: a file that cannot be read, an unknown key, profile or parameter, a value of the wrong
            type, a parameter set in two places, two runs that are equal, or a profile that would leave its folder.
    """
    spec = read_yaml(yaml_path)
    with _named(yaml_path):
        spec = _with_profile(spec, profile)
        literals = parameters_cell(spec["notebook"])
        runs = {}
        for case, varied, parameters in _combinations(spec):
            checked = {k: typed(k, value, literals, spec["notebook"].name) for k, value in parameters.items()}
            name = run_name(spec["notebook"].stem, case, {key: checked[key] for key in varied}, checked)
            if name in runs:
                raise ExperimentError(f"grid: two runs are equal: {name}")
            runs[name] = PlannedRun(name, spec["notebook"], _whole(checked, literals))
    return list(runs.values())


@contextmanager
def _named(yaml_path: str | Path) -> Iterator[None]:
    """Put the file's name before the message of an ExperimentError; too deep a file is one, wherever it is noticed."""
    try:
        yield
    except ExperimentError as error:
        raise ExperimentError(f"{yaml_path}: {error}") from None
    except RecursionError:
        raise ExperimentError(f"{yaml_path}: nested too deeply") from None


def run_name(notebook_stem: str, case: str | None, varied: dict, parameters: dict) -> str:
    """The name of a run's folder: what varies, to be read, and a hash of everything, to be unique."""
    parts = [_slug(case or ""), *(f"{_slug(key)}-{_slug(value)}" for key, value in varied.items())]
    readable = "_".join(part for part in parts if part)[:80].strip("-_.") or "run"
    everything = json.dumps({"notebook": notebook_stem, "parameters": parameters}, sort_keys=True)
    return f"{readable}-{hashlib.sha256(everything.encode()).hexdigest()[:8]}"


def _slug(value: object) -> str:
    text = str(value).lower()
    sign = "-" if text.startswith("-") else ""  # a negative number keeps its sign
    return sign + re.sub(r"[^a-z0-9._]+", "-", text).strip("-")


def _whole(parameters: dict, literals: dict) -> dict:
    """The parameters with each `dictionary.key` put into its dictionary, the notebook's own unless one is given."""
    whole = {name: value for name, value in parameters.items() if "." not in name}
    for name, value in parameters.items():
        if name not in whole:
            root, _, key = name.partition(".")
            whole[root] = {**whole.get(root, literals[root]), key: value}
    return whole


def read_yaml(yaml_path: str | Path) -> dict:
    """A sweep as its YAML file has it, with what it extends, paths absolute, the profiles not merged.

    Raises:
        ExperimentError: a file that cannot be read, or a key that is unknown, missing or of another type.
    """
    spec = _read(Path(yaml_path), ())
    with _named(yaml_path):
        for key in ("notebook", "profiles"):
            if key not in spec:
                raise ExperimentError(f"{key}: missing")
        _check_mapping("profiles", spec["profiles"])
        for name in spec["profiles"]:
            if not FOLDER_NAME.fullmatch(name):
                raise ExperimentError(f"profiles: {name!r} is no name of a folder")
        if spec.get("publish", "all") not in ("all", "numbers", "report"):
            raise ExperimentError(f"publish: {spec['publish']!r} is none of `all`, `numbers` and `report`")
        if spec.get("publish") == "report" and not (spec.get("report") or {}).get("notebook"):
            raise ExperimentError("publish: report: no notebook is named under `report:`")
        if spec.get("report"):
            _check_report(spec)
    return spec


def _check_report(spec: dict) -> None:
    section = spec["report"]
    _check_mapping("report", section, REPORT_KEYS)
    for key, kind in (("columns", dict), ("tables", list)):
        values = section.get(key)
        if not isinstance(values, dict) or not values or not all(isinstance(v, kind) for v in values.values()):
            fault = f"{values!r} is no mapping of {kind.__name__}s"
            raise ExperimentError(f"report.{key}: {fault}, see `experiments.report`")
    if len(section["columns"]) > 1:
        raise ExperimentError(f"report.columns: one parameter, not {len(section['columns'])}")


def _read(path: Path, extending: tuple[Path, ...]) -> dict:
    with _named(path):
        if path.resolve() in extending:
            raise ExperimentError("extends: the file extends itself")
        try:
            text = path.read_text(encoding="utf-8")
            _check_length(yaml.compose(text, yaml.SafeLoader))
            spec = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ExperimentError(f"cannot be read: {' '.join(str(error).split())}") from None
        _check_mapping("the file", spec, SWEEP_KEYS)
        for key in PROFILE_KEYS:
            _check_mapping(key, spec.get(key, {}))
        for key in ("notebook", "extends"):
            if not isinstance(spec.get(key, ""), str):
                raise ExperimentError(f"{key}: {spec[key]!r} is not text")
        if "notebook" in spec:
            spec["notebook"] = (path.parent / spec["notebook"]).resolve()
        if isinstance(spec.get("report"), dict) and "notebook" in spec["report"]:
            spec["report"]["notebook"] = (path.parent / spec["report"]["notebook"]).resolve()
        if "extends" not in spec:
            return spec
    return _merged(_read(path.parent / spec.pop("extends"), (*extending, path.resolve())), spec)


def _check_length(document: yaml.Node | None) -> None:
    """ExperimentError for a few lines that aliases of aliases make endless: to load or to name them would not end."""
    waiting, length = [document] if document else [], 0
    while waiting:
        part = waiting.pop()
        inner = part if isinstance(part, tuple) else part.value  # a mapping's value is a list of pairs
        if isinstance(inner, str):
            length += len(inner) + 1
        else:
            length += 1
            waiting += inner
        if length > LONGEST:
            raise ExperimentError(f"longer than {LONGEST} characters, aliases counted each time")


def _merged(spec: dict, changes: dict) -> dict:
    """`changes` over `spec`: base and grid key by key, everything else replaced."""
    merged = {key: {**spec.get(key, {}), **changes.get(key, {})} for key in ("base", "grid")}
    return {**spec, **changes, **merged}


def _check_mapping(where: str, value: object, known: Collection[str] = ()) -> None:
    """ExperimentError unless `value` is a mapping whose keys are text and, where `known` is given, known."""
    if not isinstance(value, dict):
        raise ExperimentError(f"{where}: {value!r} is not a mapping")
    for key in value:
        if not isinstance(key, str) or (known and key not in known):
            hint = f"; known: {', '.join(known)}" if known else ""
            raise ExperimentError(f"{where}: unknown key {key!r}{hint}")


def _with_profile(spec: dict, profile: str) -> dict:
    """The sweep with the profile merged in: `base`, `cases` and `grid` are there, no name is set twice."""
    if profile not in spec["profiles"]:
        raise ExperimentError(f"profiles: no {profile!r}; there are: {', '.join(spec['profiles'])}")
    changes = spec["profiles"][profile]
    _check_mapping(f"profiles.{profile}", changes, PROFILE_KEYS)
    for key in PROFILE_KEYS:
        _check_mapping(f"profiles.{profile}.{key}", changes.get(key, {}))
    spec = {"cases": {}} | _merged(spec, changes)
    for name, bundle in spec["cases"].items():
        _check_mapping(f"cases.{name}", bundle)
    for key, values in spec["grid"].items():
        if not isinstance(values, list) or not values:
            raise ExperimentError(f"grid.{key}: {values!r} is not a list of values")
    _check_sources(spec)
    return spec


def _check_sources(spec: dict) -> None:
    """A parameter set in two places: one of the two would do nothing, so it is an error."""
    base, grid, bundled = set(spec["base"]), set(spec["grid"]), set().union(*spec["cases"].values())
    named = {VARIANT} if spec["cases"] else set()
    for key in sorted((grid & (base | bundled)) | (named & (base | bundled | grid))):
        raise ExperimentError(f"{key}: set in two places, of base, cases, their names and grid")
    if "run_folder" in base | bundled | grid:
        raise ExperimentError("run_folder: the sweep sets it")


def _combinations(spec: dict) -> Iterator[tuple[str | None, dict, dict]]:
    """One (case, what the grid varies, parameters) a run."""
    for case, bundle in (spec["cases"] or {None: {}}).items():
        named = {} if case is None else {VARIANT: case}
        for values in itertools.product(*spec["grid"].values()):
            point = dict(zip(spec["grid"], values, strict=True))
            yield case, point, _over(_over(spec["base"], bundle), {**named, **point})


def _over(below: dict, above: dict) -> dict:
    """`above` over `below`: a whole dictionary takes the place of single entries of it too."""
    return {name: value for name, value in below.items() if name.partition(".")[0] not in above} | above
