"""Numbers of finished runs, brought together: means and spreads over seeds, paired differences."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

METRICS = {  # heading and decimals
    "psnr": ("PSNR (dB)", 2),
    "ssim": ("SSIM", 4),
    "ciede2000": ("CIEDE2000", 2),
    "checkerboard": ("checkerboard (dB)", 1),
    "round_trip": ("round trip (dB)", 2),
    "identity": ("identity (dB)", 2),
    "colour_shift": ("colour shift (CIEDE2000)", 2),
    "coverage": ("damaged part", 3),
    "inside": ("PSNR inside the damage (dB)", 2),
    "outside": ("PSNR outside it (dB)", 2),
    "change": ("largest change outside it (levels)", 0),
    "unmasked_change": ("outside the mask found (levels)", 0),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "f1": ("F1 of the mask", 3),
    "psnr_y": ("PSNR of Y (dB)", 2),
    "ssim_y": ("SSIM of Y", 4),
    "lpips": ("LPIPS", 3),
}
RESTORED = "restored"


def over_seeds(rows: pd.DataFrame, case: str, column: str) -> pd.DataFrame:
    """Mean over the pictures of each run, then mean and sample standard deviation over the seeds.

    Args:
        rows: per-picture rows with the run's parameters beside them, as `runs.rows` gives them.
        case: the parameter that names a choice of method; the degraded input and the classical filters, which no
            run changes, take their own names as rows.
        column: the parameter that makes the columns.

    Returns:
        Index (row, column value); columns `<metric>_mean`, `<metric>_std` (NaN for a single seed) of each metric that
        the rows have, `seeds`, `pictures`.
    """
    metrics = [metric for metric in METRICS if metric in rows]
    named = rows.assign(row=rows[case].where(rows["method"] == RESTORED, rows["method"]))
    # the input is measured by every run, always on the same pixels: once is enough
    named = named.drop_duplicates(["row", column, "seed", "picture"])
    runs = named.groupby(["row", column, "seed"])[metrics].mean()
    groups = runs.groupby(["row", column])
    table = groups.agg(["mean", "std"])
    table.columns = [f"{metric}_{figure}" for metric, figure in table.columns]
    table["seeds"] = groups.size()
    table["pictures"] = named.groupby(["row", column])["picture"].nunique()
    fixed = table.index.get_level_values("row").isin(named["row"][named["method"] != RESTORED])
    spreads = [f"{metric}_std" for metric in metrics]
    table.loc[fixed, spreads] = table.loc[fixed, spreads].mask(lambda spread: spread < 1e-9)  # no seed enters
    return table


def layout(summary: pd.DataFrame, rows: list[str], columns: dict, metric: str, figure: str = "mean") -> pd.DataFrame:
    """One figure of `over_seeds` as a matrix: the given rows, a column for each value with its label."""
    matrix = summary[f"{metric}_{figure}"].unstack()
    return matrix.reindex(index=rows, columns=list(columns)).rename(columns=columns)


def markdown(summary: pd.DataFrame, rows: list[str], columns: dict, metrics: Sequence[str] = ("psnr", "ssim")) -> str:
    """A Markdown table: a line for each row, the metrics of each column as mean ± spread."""
    heads = [f"{METRICS[metric][0]}, {label}" for label in columns.values() for metric in metrics]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for row in rows:
        cells = [_cell(summary, (row, value), metric) for value in columns for metric in metrics]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(summary: pd.DataFrame, key: tuple, metric: str) -> str:
    if key not in summary.index:
        return "–"
    digits = METRICS[metric][1]
    mean, spread = summary.loc[key, [f"{metric}_mean", f"{metric}_std"]]
    if np.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" + ("" if np.isnan(spread) else f" ± {spread:.{digits}f}")


def paired_differences(
    rows: pd.DataFrame, case: str, column: str, pairs: list[tuple[str, str]], metric: str = "psnr"
) -> pd.DataFrame:
    """How much better the first case of each pair is than the second, picture by picture.

    Both were measured on the same damaged pictures, so the difference of a picture, its mean over the seeds that both
    have, is free of how hard that picture is. The interval is a bootstrap over pictures (BCa, 95 %): it says what
    other pictures of the kind would give with these trainings, and `seed_low`, `seed_high`, the smallest and largest
    mean of one seed, what another training would.

    Returns:
        A row for each pair and column value: `difference`, `low`, `high`, `seed_low`, `seed_high`, `pictures`.
    """
    restored = rows[rows["method"] == RESTORED]
    values = restored.pivot_table(index=[column, "seed", "picture"], columns=case, values=metric)
    table = {}
    for better, other in pairs:
        for value, difference in (values[better] - values[other]).dropna().groupby(level=0, sort=False):
            pictures = difference.groupby("picture").mean()
            seeds = difference.groupby("seed").mean()
            low, high = _interval(pictures)
            table[f"{better}  −  {other}", value] = {
                "difference": pictures.mean(),
                "low": low,
                "high": high,
                "seed_low": seeds.min(),
                "seed_high": seeds.max(),
                "pictures": len(pictures),
            }
    return pd.DataFrame.from_dict(table, orient="index")


def _interval(values: pd.Series) -> tuple[float, float]:
    """Bootstrap interval of the mean; (NaN, NaN) for a single value, which says nothing of others."""
    if len(values) < 2:
        return np.nan, np.nan
    interval = bootstrap((values,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    return interval.low, interval.high


def caption(records: list[dict]) -> str:
    """One line: data set, pictures, steps, seeds, device, dates and commits of the runs."""
    parameters = [record["parameters"] for record in records]
    provenance = [record["provenance"] for record in records]
    pictures = sorted({(r["pictures"]["train"], r["pictures"]["test"]) for r in records})
    return "; ".join(
        [
            "data set " + _list(record["dataset"] for record in records),
            _list(f"{train} training and {test} test pictures" for train, test in pictures),
            f"{_list(p['steps'] for p in parameters)} steps of {_list(p['batch_size'] for p in parameters)} crops "
            f"of {_list(p['crop'] for p in parameters)} px",
            f"seeds {_list(p['seed'] for p in parameters)} (± is the standard deviation over them)",
            "on " + _list(p["device"] for p in provenance),
            f"{_span(record['training_seconds'] / 60 for record in records)} minutes of training a run",
            _list(p["date"][:10] for p in provenance),
            "commit " + _list(p["commit"] for p in provenance),
        ]
    )


def _span(values) -> str:
    ordered = sorted(values)
    return f"{ordered[0]:.1f} to {ordered[-1]:.1f}"


def _list(values) -> str:
    return ", ".join(str(value) for value in sorted(set(values)))
