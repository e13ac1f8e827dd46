"""Run a notebook over a grid of parameters: `python -m restoration_lib.sweep NAME.yaml --profile quick`.

One folder a run, OUT/PROFILE/NAME/RUN/, with the executed notebook, its HTML and what the notebook wrote. A
run works in the hidden `.partial-RUN` beside it and is renamed when complete, so a stopped sweep goes on
where it stopped. The exit code is 1 when a run failed, 2 when the sweep could not start. The YAML file:

    notebook: ../03_name.ipynb                 # relative to this file
    base: {steps: 300}                         # parameters common to all runs
    cases: {plain: {}, strong: {weight: 2.0}}  # optional: named parameters that change together, over base
    case_parameter: variant                    # the notebook's parameter that receives the case's name
    grid: {rate: [1.0, 0.5], seed: [0, 1]}     # every combination, times the cases
    profiles: {quick: {}, full: {base: {steps: 20000}}}   # base, grid: merged key by key; cases: replaced
    publish: all                               # or "numbers": what `restoration_lib.report` copies
    report: {}                                 # optional: its tables, read by `restoration_lib.report`
"""

import argparse
import ast
import difflib
import fcntl
import hashlib
import itertools
import json
import logging
import os
import re
import sys
import time
import traceback
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from traitlets import default

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


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `error` is the last line of its exception, or None when it is complete."""

    run: Run
    folder: Path
    seconds: float
    error: str | None


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


class OwnKernelManager(AsyncKernelManager):
    """Starts this interpreter's own kernel, whatever `python3` kernel the user has registered elsewhere."""

    @default("kernel_spec_manager")
    def _no_registered_kernels(self):
        return KernelSpecManager(kernel_dirs=[])  # what is left is ipykernel's own: sys.executable


def execute(run, folder, threads):
    """Run one notebook in `.partial-NAME` beside `folder` and rename it to `folder` when it is complete.

    Args:
        run: the `Run`.
        folder: its final folder, absolute; left alone where it is complete already.
        threads: how many CPU threads the notebook's kernel may use.

    Returns:
        An `Outcome`; no exception of the notebook leaves this function. What a failed run wrote stays in the
        partial folder, with `error.txt`.
    """
    partial = _partial(folder)
    start, last_line = time.monotonic(), None
    try:
        if not is_complete(folder):  # a task that a lost worker had finished comes here a second time
            partial.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                raise SweepError(f"{folder.name} is there without run.json: move it away")
            for stale in ("error.txt", "run.json"):
                (partial / stale).unlink(missing_ok=True)
            _run_notebook(run, partial, threads)
            if not is_complete(partial):
                raise SweepError("the notebook ended without writing run.json: it must call run.finish(rows)")
            _render(partial, folder, run.notebook)
            partial.rename(folder)
    except Exception:
        lines = traceback.format_exc().strip().splitlines()[-40:]
        (partial / "error.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        last_line = lines[-1]
    return Outcome(run, folder, time.monotonic() - start, last_line)


def _partial(folder):
    return folder.with_name(f".partial-{folder.name}")


def is_complete(folder):
    """Whether the run in `folder` has come to its end: `run.finish` has written run.json."""
    return (folder / "run.json").is_file()


def _run_notebook(run, partial, threads):
    import papermill  # four seconds: a sweep that is complete, or wrong, answers at once

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it warns of, `load` or `execute` reports
    # Set here and not in `main`, because dask starts its workers with one thread for MKL and OpenMP.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)))
    os.environ.update(TQDM_DISABLE="1", PYDEVD_DISABLE_FILE_VALIDATION="1")
    papermill.execute_notebook(
        run.notebook,
        partial / "notebook.ipynb",
        parameters={**run.parameters, "run_folder": str(partial)},
        kernel_name="python3",
        language="python",  # a notebook without outputs may not say so
        kernel_manager_class=OwnKernelManager,
        extra_arguments=["--log-level=50"],  # or each kernel prints warnings of its own among ours
        cwd=run.notebook.parent,
        progress_bar=False,
    )


def _render(partial, folder, notebook):
    """Take this machine's paths out of the executed notebook and write it as HTML too."""
    import nbformat
    from nbconvert import HTMLExporter

    path = partial / "notebook.ipynb"
    executed = nbformat.read(path, as_version=4)
    executed.metadata.papermill.update(input_path=notebook.name, output_path=path.name)
    above = str(folder.parent)
    shown = "/".join(folder.parts[-3:-1])  # from the out folder on: PROFILE/SWEEP
    quoted = above.encode("unicode_escape").decode()  # as papermill writes it in the injected cell
    replacements = {above: shown, quoted: shown, partial.name: folder.name, f"{notebook.parent}/": ""}
    for found, put in replacements.items():
        executed = _replaced(executed, found, put)
    nbformat.write(executed, path)
    html, _ = HTMLExporter().from_notebook_node(executed, {"metadata": {"name": folder.name}})
    (partial / "notebook.html").write_text(html, encoding="utf-8")


def _replaced(node, found, put):
    """A notebook's node with `found` replaced by `put` in every text."""
    if isinstance(node, str):
        return node.replace(found, put)
    if isinstance(node, list):
        return [_replaced(item, found, put) for item in node]
    if isinstance(node, dict):
        return type(node)({key: _replaced(value, found, put) for key, value in node.items()})
    return node


def _outcomes(jobs, workers):
    """The `Outcome` of each (run, folder) as it ends: in this process, or on so many dask workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = max(1, cores // workers)
    if workers == 1:
        yield from (execute(run, folder, threads) for run, folder in jobs)
        return
    try:
        from dask.distributed import Client, LocalCluster, as_completed
    except ImportError:
        raise SweepError("--workers needs dask: pip install restoration_lib[sweep]") from None
    quiet = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, **quiet) as cluster,
        Client(cluster) as client,
    ):
        futures = {client.submit(execute, *job, threads, pure=False): job for job in jobs}
        for future in as_completed(futures):
            run, folder = futures[future]
            lost = future.exception()  # `execute` raises nothing: the worker itself died, again and again
            yield Outcome(run, folder, 0.0, repr(lost)) if lost else future.result()


@contextmanager
def _locked(folder):
    """Hold a sweep's folder: two sweeps at once would write into the same partial folders."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepError(f"{folder}: another sweep is running here") from None
        yield


def _report(jobs, workers, complete):
    """Run the jobs, print a line for each as it ends, and return how many failed."""
    start, failed = time.monotonic(), 0
    if complete:
        print(f"{complete} complete already", flush=True)
    with closing(_outcomes(jobs, min(workers, max(1, len(jobs))))) as outcomes:
        for number, outcome in enumerate(outcomes, 1):
            count = f"[{number:{len(str(len(jobs)))}}/{len(jobs)}]"
            print(f"{count} {outcome.run.name}  {outcome.seconds:.0f} s", flush=True)
            if outcome.error:
                failed += 1
                notebook = os.path.relpath(_partial(outcome.folder) / "notebook.ipynb")
                print(f"    FAILED: {outcome.error}\n    see {notebook}", flush=True)
    done = len(jobs) - failed
    print(f"{done} done, {complete} complete already, {failed} failed; {time.monotonic() - start:.0f} s in all")
    return failed


def main(arguments=None):
    """The command line; returns its exit code: 0, 1 a run failed, 2 nothing was started, 130 stopped."""
    parser = argparse.ArgumentParser(prog="python -m restoration_lib.sweep", description="Run sweeps.")
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="NAME.yaml")
    parser.add_argument("--profile", required=True, help="one of the profiles in the YAML files")
    parser.add_argument("--out", type=Path, default=Path("results"), help="default: results")
    parser.add_argument("--workers", type=int, default=1, help="how many runs at a time; default: 1")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error("--workers: at least 1")
    try:
        runs = {}
        for path in options.sweeps:
            folder = options.out.resolve() / options.profile / path.stem
            if folder in runs:
                raise SweepError(f"{path}: a second sweep of the name {path.stem}")
            runs[folder] = load(path, options.profile)
        with ExitStack() as locks:
            for folder in runs:
                locks.enter_context(_locked(folder))
            jobs = [(run, folder / run.name) for folder, sweep in runs.items() for run in sweep]
            pending = [(run, folder) for run, folder in jobs if not is_complete(folder)]
            return 1 if _report(pending, options.workers, len(jobs) - len(pending)) else 0
    except SweepError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sweep: stopped; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    from restoration_lib.sweep import main  # under its own name, so that dask's workers can import `execute`

    sys.exit(main())
