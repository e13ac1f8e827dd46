"""Numbers of finished runs, brought together: means and spreads over seeds, paired differences, a sweep's tables."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from restoration_lib.evaluation.baselines import FIXED, RESTORED
from restoration_lib.evaluation.metrics import METRICS, Metric
from restoration_lib.experiments import runs
from restoration_lib.experiments.notebooks import VARIANT, ExperimentError
from restoration_lib.experiments.sweep_file import read_yaml
from restoration_lib.filesystem import shown

# Where Markdown, or a tag or entity of HTML in it, begins; an arrow, as in a <-> b, is neither.
MARKUP = re.compile(r"[\\`|*\[\]]|<(?=[a-zA-Z/!?])|&(?=#?\w+;)")


def name_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column `row`, as tables call them: the variant in the place of "restored", else the method."""
    names = [
        str(method).replace(RESTORED, str(variant), 1) if str(method).startswith(RESTORED) else method
        for method, variant in zip(rows["method"], rows[VARIANT], strict=True)
    ]
    return rows.assign(row=names)


def over_seeds(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over the images of each run, then mean and sample standard deviation over the seeds.

    Args:
        rows: per-image rows with the run's parameters beside them, as `runs.rows` gives them.
        column: the parameter that makes the columns.

    Returns:
        Index (row, column value); columns `<metric>_mean`, `<metric>_std` (NaN for a single seed) of each metric that
        the rows have, `seeds`, `images`.
    """
    metrics = [metric for metric in METRICS if metric in rows]
    named = name_rows(rows)
    # the input is measured by every run, always on the same pixels: once is enough
    named = named[~(named["row"].isin(FIXED) & named.duplicated(["row", column, "seed", "image"]))]
    groups = named.groupby(["row", column, "seed"])[metrics].mean().groupby(["row", column])
    table = groups.agg(["mean", "std"])
    table.columns = [f"{metric}_{statistic}" for metric, statistic in table.columns]
    table["seeds"] = groups.size()
    table["images"] = named.groupby(["row", column])["image"].nunique()
    fixed = table.index.get_level_values("row").isin(FIXED)
    spreads = [f"{metric}_std" for metric in metrics]
    table.loc[fixed, spreads] = table.loc[fixed, spreads].mask(lambda spread: spread < 1e-9)  # no seed enters
    return table


def fixed_rows(summary: pd.DataFrame) -> list[str]:
    """The degraded input and the classical baselines that a summary has."""
    return [row for row in FIXED if row in summary.index.get_level_values("row")]


def layout(summary: pd.DataFrame, rows: list[str], columns: dict, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and spreads of `over_seeds` as matrices: the given rows, a column for each value with its label."""
    matrices = (summary[f"{metric}_{statistic}"].unstack() for statistic in ("mean", "std"))
    return tuple(matrix.reindex(index=rows, columns=list(columns)).rename(columns=columns) for matrix in matrices)


def escaped(text: object) -> str:
    """A name as one line of Markdown that is read as text and nothing else, in a cell of a table too."""
    return MARKUP.sub(r"\\\g<0>", shown(text))


def markdown(summary: pd.DataFrame, rows: list[str], columns: dict, metrics: Sequence[str] = ("psnr", "ssim")) -> str:
    """A Markdown table: a line for each row, the metrics of each column as mean ± spread."""
    heads = [f"{METRICS[metric].heading}, {escaped(label)}" for label in columns.values() for metric in metrics]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for row in rows:
        cells = [cell(summary, (row, value), metric) for value in columns for metric in metrics]
        lines.append(f"| {escaped(row)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(summary: pd.DataFrame, key: tuple, metric: str) -> str:
    """Mean ± spread of a row and column, or a dash where nothing was measured."""
    if key not in summary.index:
        return "–"
    decimals = METRICS[metric].decimals
    mean, spread = summary.loc[key, [f"{metric}_mean", f"{metric}_std"]]
    if np.isnan(mean):
        return "–"
    shown = f"{round(mean, decimals) + 0:.{decimals}f}"  # + 0: no "-0.0"
    return shown + ("" if np.isnan(spread) else f" ± {spread:.{decimals}f}")


def paired_differences(
    rows: pd.DataFrame, column: str, pairs: list[tuple[str, str]], metric: str = "psnr"
) -> pd.DataFrame:
    """How much better the first row of each pair is than the second, image by image.

    Both were measured on the same damaged images, so the difference of an image, its mean over the seeds that both
    have, is free of how hard that image is. The interval is a bootstrap over images (BCa, 95 %): it says what
    other images of the kind would give with these trainings, and `seed_low`, `seed_high`, the smallest and largest
    mean of one seed, what another training would.

    Returns:
        A row for each pair and column value: `difference`, `low`, `high`, `seed_low`, `seed_high`, `images`.
    """
    values = name_rows(rows).pivot_table(index=[column, "seed", "image"], columns="row", values=metric)
    table = {}
    for better, other in pairs:
        for value, difference in (values[better] - values[other]).dropna().groupby(level=0, sort=False):
            images = difference.groupby("image").mean()
            seeds = difference.groupby("seed").mean()
            low, high = _interval(images)
            table[f"{better}  −  {other}", value] = {
                "difference": images.mean(),
                "low": low,
                "high": high,
                "seed_low": seeds.min(),
                "seed_high": seeds.max(),
                "images": len(images),
            }
    return pd.DataFrame.from_dict(table, orient="index")


def effect(rows: pd.DataFrame, column: str, value: object, pair: tuple[str, str], metrics: Sequence[str]) -> str:
    """`paired_differences` of a pair in one column as words: each metric's mean difference, with a decimal more than
    tables have, then in brackets its interval, where there are images enough for one, and the range of single seeds."""
    rows = rows[rows[column] == value]
    return ", ".join(_effect(paired_differences(rows, column, [pair], name).iloc[0], METRICS[name]) for name in metrics)


def _effect(found: pd.Series, metric: Metric) -> str:
    def signed(name: str) -> str:
        decimals = metric.decimals + 1
        return f"{round(found[name], decimals) + 0:+.{decimals}f}".replace("-", "−")

    interval = "" if np.isnan(found["low"]) else f"{signed('low')} to {signed('high')}; "
    seeds = f"seeds {signed('seed_low')} to {signed('seed_high')}"
    return f"{metric.heading} {signed('difference')} ({interval}{seeds})"


def _interval(values: pd.Series) -> tuple[float, float]:
    """Bootstrap interval of the mean; (NaN, NaN) for a single value, which says nothing of others."""
    if len(values) < 2:
        return np.nan, np.nan
    interval = bootstrap((values,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    return interval.low, interval.high


def caption(records: list[dict]) -> str:
    """One line of Markdown: data set, images, steps, seeds, device, dates and commits of the runs."""
    provenance = [record["provenance"] for record in records]
    trained = [record for record in records if record["training"]["steps"]]
    training = [record["training"] for record in trained]
    images = [record["images"] for record in records]
    seeds = {record["parameters"]["seed"] for record in records}
    parts = ["data set " + _list(record["dataset"] for record in records)]
    if training:
        sizes = [record["parameters"] for record in trained]
        crops = _list(f"{p['batch_size']} crop{'s' * (p['batch_size'] != 1)} of {p['crop']} px" for p in sizes)
        parts.append(_list(f"{count['train']} training and {count['test']} test images" for count in images))
        parts.append(f"{_list(facts['steps'] for facts in training)} steps of {crops}")
    else:
        parts += [_list(f"{count['test']} test images" for count in images), "networks that ship, not trained here"]
    parts.append(f"seed{'s' * (len(seeds) > 1)} {_list(seeds)}")
    if len(seeds) > 1:
        parts[-1] += " (± is the standard deviation over them)"
    parts.append("on " + _list(p["device"] for p in provenance))
    if training:
        parts.append(f"{_span(facts['seconds'] / 60 for facts in training)} minutes of training a run")
    parts.append(_list(p["date"][:10] for p in provenance))
    parts.append("commit " + _list(p["commit"] for p in provenance))
    return "; ".join(parts)


def _span(values: Iterable[float]) -> str:
    ordered = [f"{value:.1f}" for value in sorted(values)]
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


def _list(values: Iterable) -> str:
    return ", ".join(escaped(value) for value in sorted(set(values)))


def best_of(summary: pd.DataFrame, rows: Iterable[str], column: object, metric: str) -> str | None:
    """Which of the rows has the best mean of a metric in a column; None where none has one."""
    means = {row: summary.loc[(row, column), f"{metric}_mean"] for row in rows if (row, column) in summary.index}
    means = {row: mean for row, mean in means.items() if not np.isnan(mean)}
    choose = min if METRICS[metric].better == "↓" else max
    return choose(means, key=means.get, default=None)


def write_tables(sweep: Path, folder: Path) -> bool:
    """Write the tables that a sweep's `report:` section asks for; returns whether the numbers changed.

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
    rows = name_rows(runs.rows(records))
    named = [name for cases in section["tables"].values() for name in cases]
    if unknown := set(named) - set(rows["row"]):
        raise ExperimentError(f"{sweep}: report.tables: no finished run of {', '.join(sorted(unknown))}")
    metrics = section.get("metrics", ["psnr", "ssim"])
    if unknown := [name for name in metrics if name not in METRICS or name not in rows]:
        raise ExperimentError(f"{sweep}: report.metrics: the runs did not measure {', '.join(map(str, unknown))}")
    if column not in rows:
        raise ExperimentError(f"{sweep}: report.columns: the runs have no {column}")
    labels = {value: label for value, label in labels.items() if value in set(rows[column])}  # of this profile
    if not labels:
        raise ExperimentError(f"{sweep}: report.columns: no run has one of the values of {column}")
    summary = over_seeds(rows, column)
    fixed = fixed_rows(summary)
    titled = [
        f"**{title}**\n\n{markdown(summary, fixed + cases, labels, metrics)}"
        for title, cases in section["tables"].items()
    ]
    ending = f"\n\n{caption(records)}\n"
    (folder / "table.md").write_text("\n\n".join(titled) + ending, encoding="utf-8")
    others = [name for name in dict.fromkeys([*named, *rows["row"].unique()]) if name not in fixed]
    overview = markdown(summary, fixed + others, labels, metrics)
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
