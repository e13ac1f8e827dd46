"""Means, spreads and differences against numbers worked out by hand or with NumPy."""

import numpy as np
import pandas as pd
import pytest

from restoration_lib import tables

PSNR = {("a", 0): [30.0, 34.0], ("a", 1): [31.0, 37.0], ("b", 0): [29.0, 31.0], ("b", 1): [29.5, 31.5]}


@pytest.fixture
def rows():
    records = []
    for (case, seed), values in PSNR.items():
        for picture, value in zip(("p", "q"), values, strict=True):
            common = {"variant": case, "rate": 1.0, "seed": seed, "picture": picture}
            records.append({**common, "method": "restored", "psnr": value, "ssim": value / 100})
            records.append({**common, "method": "input", "psnr": 20.0 + (picture == "q"), "ssim": 0.5})
            if seed == 0:
                records.append({**common, "method": "median 3x3", "psnr": 25.0, "ssim": 0.7})
    return pd.DataFrame(records)


def test_means_over_pictures_then_spread_over_seeds(rows):
    summary = tables.over_seeds(rows, "variant", "rate")
    a = summary.loc[("a", 1.0)]
    assert a["psnr_mean"] == np.mean([32.0, 34.0])
    assert a["psnr_std"] == pytest.approx(np.std([32.0, 34.0], ddof=1))
    assert (a["seeds"], a["pictures"]) == (2, 2)


def test_what_needs_no_seed_has_no_spread(rows):
    summary = tables.over_seeds(rows, "variant", "rate")
    assert summary.loc[("input", 1.0), "psnr_mean"] == 20.5
    assert np.isnan(summary.loc[("input", 1.0), "psnr_std"])
    assert summary.loc[("median 3x3", 1.0), "psnr_mean"] == 25.0


def test_markdown_has_a_line_a_row_and_a_dash_for_what_is_missing(rows):
    text = tables.markdown(tables.over_seeds(rows, "variant", "rate"), ["input", "a"], {1.0: "high", 0.5: "low"})
    assert text.splitlines()[0] == "| | PSNR (dB), high | SSIM, high | PSNR (dB), low | SSIM, low |"
    assert text.splitlines()[2] == "| input | 20.50 | 0.5000 | – | – |"
    assert text.splitlines()[3] == "| a | 33.00 ± 1.41 | 0.3300 ± 0.0141 | – | – |"


def test_layout_orders_rows_and_names_columns(rows):
    matrix = tables.layout(tables.over_seeds(rows, "variant", "rate"), ["b", "a"], {1.0: "high"}, "psnr")
    assert matrix.index.tolist() == ["b", "a"]
    assert matrix["high"].tolist() == [pytest.approx(30.25), 33.0]


def test_paired_differences_of_means_and_seeds(rows):
    table = tables.paired_differences(rows, "variant", "rate", [("a", "b")]).iloc[0]
    assert table["difference"] == pytest.approx(np.mean([1.0, 3.0, 1.5, 5.5]))
    assert table["seed_low"] == pytest.approx(2.0)
    assert table["seed_high"] == pytest.approx(3.5)
    assert table["pictures"] == 2


def test_bootstrap_interval_is_near_the_normal_one_for_many_pictures():
    rng = np.random.default_rng(0)
    a, b = rng.normal(30, 3, 400), rng.normal(29, 3, 400)
    frame = pd.DataFrame({"picture": range(400), "rate": 1.0, "seed": 0, "method": "restored", "ssim": 0.0})
    rows = pd.concat([frame.assign(variant="a", psnr=a), frame.assign(variant="b", psnr=b)])
    table = tables.paired_differences(rows, "variant", "rate", [("a", "b")]).iloc[0]
    half = 1.96 * (a - b).std(ddof=1) / np.sqrt(400)
    assert table["difference"] - table["low"] == pytest.approx(half, rel=0.1)
    assert table["high"] - table["difference"] == pytest.approx(half, rel=0.1)


@pytest.fixture
def other(rows):
    """The rows with other figures than PSNR and SSIM, one of which no table knows."""
    return rows.assign(ciede2000=rows.psnr / 3, checkerboard=rows.psnr - 31, strange=1.0).drop(columns=["psnr", "ssim"])


def test_other_metrics_have_their_own_means_and_spreads(other):
    summary = tables.over_seeds(other, "variant", "rate")
    metrics = [f"{metric}_{figure}" for metric in ("ciede2000", "checkerboard") for figure in ("mean", "std")]
    assert list(summary.columns) == [*metrics, "seeds", "pictures"]
    a = summary.loc[("a", 1.0)]
    assert a["ciede2000_mean"] == pytest.approx(11) and a["checkerboard_mean"] == pytest.approx(2)
    assert a["ciede2000_std"] == pytest.approx(np.std([32 / 3, 34 / 3], ddof=1))
    assert np.isnan(summary.loc[("median 3x3", 1.0), "checkerboard_std"])


def test_markdown_of_other_metrics_has_their_headings_and_decimals(other):
    summary = tables.over_seeds(other, "variant", "rate")
    lines = tables.markdown(summary, ["input", "a"], {1.0: "high"}, ["checkerboard", "ciede2000"]).splitlines()
    assert lines[0] == "| | checkerboard (dB), high | CIEDE2000, high |"
    assert lines[2] == "| input | -10.5 | 6.83 |"
    assert lines[3] == "| a | 2.0 ± 1.4 | 11.00 ± 0.47 |"
    matrix = tables.layout(summary, ["a"], {1.0: "high"}, "ciede2000", "std")
    assert matrix.loc["a", "high"] == pytest.approx(np.std([32 / 3, 34 / 3], ddof=1))


def test_paired_differences_of_another_metric(other):
    table = tables.paired_differences(other, "variant", "rate", [("a", "b")], "ciede2000").iloc[0]
    assert table["difference"] == pytest.approx(np.mean([1.0, 3.0, 1.5, 5.5]) / 3)
