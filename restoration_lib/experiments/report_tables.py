"""The tables of a finished sweep, as its `report:` section asks for them, see `experiments.report`."""

from pathlib import Path

from restoration_lib.evaluation.metrics import METRICS
from restoration_lib.experiments import runs, tables
from restoration_lib.experiments.notebooks import VARIANT, ExperimentError
from restoration_lib.experiments.sweep_file import read_yaml


def write_tables(sweep: Path, folder: Path) -> bool:
    """Write the tables of a sweep's finished runs; returns whether the numbers changed.

    Raises:
        ExperimentError: no finished runs, or a `report:` section that does not fit them.
    """
    spec = read_yaml(sweep)
    section = spec["report"]
    records = runs.read_all(folder)
    if not records:
        raise ExperimentError(f"{folder}: no finished runs; start `restoration sweep {sweep.name}` first")
    _check_records(spec, records)
    [(column, labels)] = section["columns"].items()
    rows = tables.name_rows(runs.rows(records))
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
    summary = tables.over_seeds(rows, column)
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
    varied = {VARIANT, *spec.get("grid", {})}
    varied |= {key for changes in spec["profiles"].values() for key in changes.get("grid", {})}
    known: dict[tuple, str] = {}
    for record in records:
        name, values = record["folder"].name, runs.flat(record["parameters"])
        if missing := {VARIANT, "seed", "crop", "batch_size"} - values.keys() | {"dataset", "images"} - record.keys():
            raise ExperimentError(f"{name}: {runs.RECORD} has no {', '.join(sorted(missing))}, which the tables need")
        key = tuple(str(values.get(parameter)) for parameter in sorted({*varied, "seed"}))
        if key in known:
            raise ExperimentError(f"{known[key]} and {name} are runs of one case and seed; move one of them away")
        known[key] = name
