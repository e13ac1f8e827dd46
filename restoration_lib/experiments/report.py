"""Tables of finished sweeps: `restoration report NAME.yaml … --profile quick [--publish]`.

For each sweep with a `report:` section, OUT/PROFILE/NAME/ receives table.csv, table.md (the tables of the section) and
overview.md (all rows in one); if the section names a notebook that reads the runs, that is executed too. With --publish
the results are copied to OUT/published/PROFILE/ (no checkpoints; a sweep with `publish: numbers` without its images)
and the tables are written anew: all that are published into OUT/published/README.md, a row for each system, as
notebooks/summary.yaml says, into the README's block. The section:

    report:
      columns: {rate: {1.0: high, 0.5: low}}   # a parameter, and a label for each of its values
      metrics: [psnr, ssim]                    # optional: which of the rows' metrics, of `evaluation.metrics`
      tables: {Title: [case, case]}            # rows, after the degraded input and the classical filters
      notebook: ../04_loss_ablation.ipynb      # optional; its parameters are `runs_folder` and `run_folder`
"""

import json
import os
import shutil
import sys
from pathlib import Path

import yaml

from restoration_lib.evaluation.baselines import FIXED, INPUT, TRUE_MASK
from restoration_lib.evaluation.metrics import METRICS
from restoration_lib.experiments import runs, tables
from restoration_lib.experiments.execution import execute
from restoration_lib.experiments.notebooks import PROJECT, ExperimentError, is_complete, link_figures, relink
from restoration_lib.experiments.sweep_file import PlannedRun, read_yaml

README, SUMMARY = PROJECT / "README.md", PROJECT / "notebooks" / "summary.yaml"
BEGIN, END = "<!-- results: begin (written by `restoration report`) -->", "<!-- results: end -->"
TITLE = "# Published results\n\nWritten by `restoration report`; the rows and figures are in the folders.\n\n"
UNPUBLISHED = (runs.CHECKPOINTS, "error.txt")
IMAGES = ("notebook.ipynb", runs.FIGURES)
LIMIT = 15_000_000  # bytes that a published profile may hold: a clone stays small


def report(sweeps: list[Path], profile: str, out: Path, publish: bool = False) -> int:
    """Make the tables of the sweeps and execute the notebooks that read them.

    Returns:
        The exit code: 0, or 2 with one line that names the fault.
    """
    source, published = out.resolve() / profile, out.resolve() / "published"
    try:
        for sweep in sweeps:
            folder = source / sweep.stem
            spec = read_yaml(sweep)
            if profile not in spec["profiles"]:
                raise ExperimentError(f"{sweep}: profiles: no {profile!r}")
            if section := spec.get("report"):
                changed = write_tables(sweep, folder)
                if notebook := section.get("notebook"):
                    read_runs(notebook, folder, changed)
                print((folder / "table.md").read_text(encoding="utf-8"))
            else:
                print(f"{sweep.stem}: no `report:` section, no tables\n")
        if publish:
            publish_all(sweeps, source, published / profile)
            (published / "README.md").write_text(f"{TITLE}{overviews(published)}\n", encoding="utf-8")
            write_readme(published, README)
    except (ExperimentError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


def write_tables(sweep: Path, folder: Path) -> bool:
    """Write the tables of a sweep's finished runs; returns whether the numbers changed.

    Raises:
        ExperimentError: no finished runs, or a `report:` section that does not fit them.
    """
    spec = read_yaml(sweep)
    section, case = spec["report"], spec["case_parameter"]
    records = runs.read_all(folder)
    if not records:
        raise ExperimentError(f"{folder}: no finished runs; start `restoration sweep {sweep.name}` first")
    _check_records(spec, records)
    [(column, labels)] = section["columns"].items()
    rows = tables.name_rows(runs.rows(records), case)
    if unknown := {name for cases in section["tables"].values() for name in cases} - set(rows["row"]):
        raise ExperimentError(f"{sweep}: report.tables: no finished run of {', '.join(sorted(unknown))}")
    metrics = section.get("metrics", ["psnr", "ssim"])
    if unknown := [name for name in metrics if name not in METRICS or name not in rows]:
        raise ExperimentError(f"{sweep}: report.metrics: the runs did not measure {', '.join(map(str, unknown))}")
    if column not in rows:
        raise ExperimentError(f"{sweep}: report.columns: the runs have no {column}")
    labels = {value: label for value, label in labels.items() if value in set(rows[column])}  # of this profile
    if not labels:
        raise ExperimentError(f"{sweep}: report.columns: no run has one of the values of {column}")
    summary = tables.over_seeds(rows, case, column)
    fixed = tables.fixed_rows(summary)
    titled = [
        f"**{title}**\n\n{tables.markdown(summary, fixed + cases, labels, metrics)}"
        for title, cases in section["tables"].items()
    ]
    ending = f"\n\n{tables.caption(records)}\n"
    (folder / "table.md").write_text("\n\n".join(titled) + ending, encoding="utf-8")
    named = dict.fromkeys([*(name for cases in section["tables"].values() for name in cases), *rows["row"].unique()])
    overview = tables.markdown(summary, fixed + [n for n in named if n not in fixed], labels, metrics)
    (folder / "overview.md").write_text(overview + ending, encoding="utf-8")
    csv = summary.reset_index().to_csv(index=False, float_format="%.4f")
    target = folder / "table.csv"
    changed = not target.exists() or target.read_text(encoding="utf-8") != csv
    target.write_text(csv, encoding="utf-8")
    return changed


def _check_records(spec: dict, records: list[dict]) -> None:
    """ExperimentError if a record lacks what the caption says, or two runs are of one case and seed."""
    varied = {spec["case_parameter"], *spec.get("grid", {})}
    varied |= {key for changes in spec["profiles"].values() for key in changes.get("grid", {})}
    known: dict[tuple, str] = {}
    for record in records:
        name, parameters = record["folder"].name, runs.flat(record["parameters"])
        if missing := {"seed", "crop", "batch_size"} - parameters.keys() | {"dataset", "images"} - record.keys():
            raise ExperimentError(f"{name}: {runs.RECORD} has no {', '.join(sorted(missing))}, which the tables need")
        key = tuple(str(parameters.get(parameter)) for parameter in sorted({*varied, "seed"}))
        if key in known:
            raise ExperimentError(f"{known[key]} and {name} are runs of one case and seed; move one of them away")
        known[key] = name


def read_runs(notebook: Path, folder: Path, changed: bool) -> None:
    """Execute the notebook that reads the runs in a folder, unless it is there and the numbers are the same."""
    target = folder.parent / notebook.stem
    if changed or not is_complete(target):
        shutil.rmtree(target, ignore_errors=True)
        parameters = {"runs_folder": os.path.relpath(folder, notebook.parent)}  # records name no path of the machine
        outcome = execute(PlannedRun(notebook.stem, notebook, parameters), target, threads=1)
        if outcome.error:
            raise ExperimentError(f"{notebook.name}: {outcome.error}")


def publish_all(sweeps: list[Path], source: Path, target: Path) -> None:
    """Publish the sweeps and the notebooks that read them; nothing, unless all were made from committed code.

    Raises:
        ExperimentError: changes that are not committed, now or when the runs were made, or too many bytes.
    """
    if runs.commit().endswith("+"):
        raise ExperimentError("the library or the notebooks have changes that are not committed: commit them first")
    numbers_only: dict[str, bool] = {}  # by folder
    for sweep in sweeps:
        spec = read_yaml(sweep)
        numbers_only[sweep.stem] = spec.get("publish", "all") == "numbers"
        if not numbers_only[sweep.stem] and (notebook := (spec.get("report") or {}).get("notebook")):
            numbers_only[notebook.stem] = False
    found = {name: publishable(source / name) for name in numbers_only}  # all are looked at before one is copied
    for name, records in found.items():
        publish(source / name, target / name, records, numbers_only[name])
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"published {target.name}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise ExperimentError(f"{target}: {size / 1e6:.1f} MB are more than {LIMIT / 1e6:.0f} MB; publish less")


def publishable(source: Path) -> list[dict]:
    """The records of a sweep's results, or a notebook's, which others may read.

    Raises:
        ExperimentError: no finished runs, or one that was made from changes that are not committed.
    """
    records = runs.read_all(source) + ([runs.read(source)] if is_complete(source) else [])
    if not records:
        raise ExperimentError(f"{source}: nothing to publish; `restoration sweep` and `restoration report` make it")
    if dirty := [r["folder"].name for r in records if r["provenance"]["commit"].endswith("+")]:
        raise ExperimentError(f"{dirty[0]}: was made from changes that were never committed; remove it and run it anew")
    return records


def publish(source: Path, target: Path, records: list[dict], numbers_only: bool) -> None:
    """Copy a sweep's results, or a notebook's, for others to read; what was published of it before goes.

    Runs of all seeds publish their numbers, those of the first seed their notebook and their images too.
    """
    first = min(record["parameters"].get("seed", 0) for record in records)
    without = {r["folder"].name for r in records if numbers_only or r["parameters"].get("seed", 0) != first}

    def left_out(folder: str, names: list[str]) -> list[str]:
        images = IMAGES if Path(folder).name in without else []
        return [name for name in names if name in (*UNPUBLISHED, *images) or name.startswith(".")]

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=left_out)
    for path in target.rglob("notebook.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        relink(notebook, source / path.parent.relative_to(target), path.parent)
        link_figures(notebook, path.parent)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def overviews(published: Path) -> str:
    """All published overviews, one after the other, with a link to its folder in each one's corner."""
    blocks = []
    for path in sorted(published.glob("*/*/overview.md"), key=lambda path: path.parts[-3:]):
        where = path.parent.relative_to(published).as_posix()
        corner = f"| [{path.parent.name}]({where}), {path.parent.parent.name} profile |"
        blocks.append(path.read_text(encoding="utf-8").replace("| |", corner, 1))
    return "\n".join(blocks).rstrip()


def write_readme(published: Path, readme: Path) -> None:
    """Replace the block between the README's marks by a row for each system.

    Raises:
        ExperimentError: the README lacks the marks, or a row that notebooks/summary.yaml names is not published.
    """
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ExperimentError(f"{readme.name}: the marks {BEGIN} and {END} are missing")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(f"{before}{BEGIN}\n{summary_table(published, SUMMARY)}\n{END}{after}", encoding="utf-8")


def summary_table(published: Path, path: Path) -> str:
    """A Markdown table with a row for each entry of the file: degraded input, best classical method, ours."""
    lines = [
        "| task | measured in | degraded input | best classical | ours | what it means |",
        "|---|---|---|---|---|---|",
    ]
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        folder = published / entry["sweep"]
        [(parameter, value)] = entry["column"].items()
        records = runs.read_all(folder)
        if not records:
            raise ExperimentError(f"{path.name}: {entry['sweep']}: nothing of it is published")
        summary, metric = tables.over_seeds(runs.rows(records), "variant", parameter), entry["metric"]
        classical = [row for row in FIXED if row not in (INPUT, TRUE_MASK)]  # the true mask is an oracle's
        best = entry.get("instead") or tables.best_of(summary, classical, value, metric)
        cells = [tables.cell(summary, (row, value), metric) for row in (INPUT, best, entry["ours"])]
        for row, cell in ((entry.get("instead"), cells[1]), (entry["ours"], cells[2])):
            if row and cell == "–":
                raise ExperimentError(f"{path.name}: {entry['sweep']}: no row {row} is published")
        link = (Path("results/published") / entry["sweep"]).as_posix()
        named = f"{cells[1]} ({best})" if best else "–"
        lines.append(
            f"| [{entry['task']}]({link}) | {METRICS[metric].heading} | {cells[0]} | {named} | **{cells[2]}** "
            f"| {entry['meaning']} |"
        )
    return "\n".join(lines)
