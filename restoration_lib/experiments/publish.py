"""Results copied to where others read them, OUT/published/PROFILE/, with a README, and a block in the project's own."""

import json
import shutil
from pathlib import Path

import pandas as pd
import yaml

from restoration_lib.evaluation.baselines import FIXED, INPUT, TRUE_MASK
from restoration_lib.evaluation.metrics import METRICS
from restoration_lib.experiments import runs, tables
from restoration_lib.experiments.notebooks import PROJECT, ExperimentError, is_complete, link_figures, relink
from restoration_lib.experiments.sweep_file import read_yaml

README, SUMMARY = PROJECT / "README.md", PROJECT / "notebooks" / "summary.yaml"
FINDINGS = PROJECT / "notebooks" / "findings.yaml"
BEGIN, END = "<!-- results: begin (written by `restoration report`) -->", "<!-- results: end -->"
TITLE = """# Published results

Written by `restoration report`. A table's folder holds the rows of its runs, `run.json`, and where the images are free
the figures and executed notebooks. The *quick* profile is what `make results` makes; what is published of *full* was
trained on one CPU core too, by sweeps with sizes of their own: nothing here comes from a GPU.

*half stretch* is the mean of a network's image and a histogram stretch of the input; *first stage* is SRGAN before its
adversarial stage; *true mask* knows where the damage is, *found mask* has it from the network; *drawn* damage is
computed, *overlays* are scans of real film damage; the *way to the other domain* says how far a translation went, by a
judge that saw real images alone.

"""
UNPUBLISHED = (runs.CHECKPOINTS, "error.txt")
IMAGES = ("notebook.ipynb", runs.FIGURES)
EXPLAINED = (
    "What one change does, image by image: the mean difference, in brackets its 95 % bootstrap interval over images\n"
    "and the range of single seeds. An interval that contains 0, or seeds on both sides of it, is no finding.\n"
)
LIMIT = 15_000_000  # bytes that a published profile may hold: a clone stays small


def publish_profile(sweeps: list[Path], source: Path, published: Path) -> None:
    """Publish the sweeps of a profile, whose results are in `source`, and the notebooks that read them, nothing unless
    all were made from committed code; then write all published tables anew.

    Raises:
        ExperimentError: changes that are not committed, now or when the runs were made, too many bytes, or as
            `write_readme`.
    """
    if runs.commit().endswith("+"):
        raise ExperimentError("the library or the notebooks have changes that are not committed: commit them first")
    numbers_only: dict[str, bool] = {}  # by folder
    for sweep in sweeps:
        spec = read_yaml(sweep)
        kind = spec.get("publish", "all")
        numbers_only[sweep.stem] = kind != "all"
        if kind != "numbers" and (notebook := (spec.get("report") or {}).get("notebook")):
            numbers_only[notebook.stem] = False
    found = {name: publishable(source / name) for name in numbers_only}  # all are looked at before one is copied
    target = published / source.name
    for name, records in found.items():
        publish(source / name, target / name, records, numbers_only[name])
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"published {target.name}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise ExperimentError(f"{target}: {size / 1e6:.1f} MB are more than {LIMIT / 1e6:.0f} MB; publish less")
    (published / "README.md").write_text(f"{TITLE}{overviews(published)}\n", encoding="utf-8")
    write_readme(published, README)


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
        corner = f"| [{tables.escaped(path.parent.name)}]({where}), {path.parent.parent.name} profile |"
        blocks.append(path.read_text(encoding="utf-8").replace("| |", corner, 1))
    return "\n".join(blocks).rstrip()


def write_readme(published: Path, readme: Path) -> None:
    """Replace the block between the README's marks by a row for each system, and the findings.

    Raises:
        ExperimentError: the README lacks the marks, or a row that notebooks/summary.yaml or findings.yaml names is not
            published.
    """
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ExperimentError(f"{readme.name}: the marks {BEGIN} and {END} are missing")
    block = f"{summary_table(published, SUMMARY)}\n\n{EXPLAINED}\n{findings(published, FINDINGS)}"
    readme.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}", encoding="utf-8")


def summary_table(published: Path, path: Path) -> str:
    """A Markdown table with a row for each entry of the file: the degraded input; the best classical method, or the row
    that the entry names instead; ours."""
    lines = [
        "| task | measured in | degraded input | compared with | ours | what it means |",
        "|---|---|---|---|---|---|",
    ]
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        [(parameter, value)] = entry["column"].items()
        rows, metric = _published_rows(published, entry["sweep"], path), entry["metric"]
        summary = tables.over_seeds(rows, parameter)
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


def findings(published: Path, path: Path) -> str:
    """Markdown: a line for each entry of the file, of what a change does, by `tables.effect`.

    Raises:
        ExperimentError: a row, a column or a metric that an entry names is not published.
    """
    items = []
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        rows, pair = _published_rows(published, entry["sweep"], path), (entry["with"], entry["without"])
        [(column, value)] = entry["column"].items()
        measured = tables.name_rows(rows[rows[column] == value])["row"] if column in rows else ()
        missing = [f"row {name} at {column} {value}" for name in pair if name not in set(measured)]
        missing += [f"metric {name}" for name in entry["metrics"] if name not in rows or name not in METRICS]
        if missing:
            raise ExperimentError(f"{path.name}: {entry['sweep']}: no {missing[0]} is published")
        link = (Path("results/published") / entry["sweep"]).as_posix()
        items.append(f"- [{entry['change']}]({link}): {tables.effect(rows, column, value, pair, entry['metrics'])}.")
    return "\n".join(items)


def _published_rows(published: Path, sweep: str, path: Path) -> pd.DataFrame:
    """The rows of a published sweep's runs, which the file `path` names."""
    records = runs.read_all(published / sweep)
    if not records:
        raise ExperimentError(f"{path.name}: {sweep}: nothing of it is published")
    return runs.rows(records)
