"""Means, spreads and differences against numbers worked out by hand or with NumPy."""

import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from restoration_lib.evaluation import measure
from restoration_lib.evaluation.baselines import FIXED, FOUND_MASK
from restoration_lib.experiments import tables

PSNR = {("a", 0): [30.0, 34.0], ("a", 1): [31.0, 37.0], ("b", 0): [29.0, 31.0], ("b", 1): [29.5, 31.5]}


@pytest.fixture
def rows():
    records = []
    for (case, seed), values in PSNR.items():
        for image, value in zip(("p", "q"), values, strict=True):
            common = {"variant": case, "rate": 1.0, "seed": seed, "image": image}
            records.append({**common, "method": "restored", "psnr": value, "ssim": value / 100})
            records.append({**common, "method": "input", "psnr": 20.0 + (image == "q"), "ssim": 0.5})
            if seed == 0:
                records.append({**common, "method": "median 3x3", "psnr": 25.0, "ssim": 0.7})
    return pd.DataFrame(records)


def test_means_over_images_then_spread_over_seeds(rows):
    summary = tables.over_seeds(rows, "rate")
    a = summary.loc[("a", 1.0)]
    assert a["psnr_mean"] == np.mean([32.0, 34.0])
    assert a["psnr_std"] == pytest.approx(np.std([32.0, 34.0], ddof=1))
    assert (a["seeds"], a["images"]) == (2, 2)


def test_what_needs_no_seed_has_no_spread(rows):
    summary = tables.over_seeds(rows, "rate")
    assert summary.loc[("input", 1.0), "psnr_mean"] == 20.5
    assert np.isnan(summary.loc[("input", 1.0), "psnr_std"])
    assert summary.loc[("median 3x3", 1.0), "psnr_mean"] == 25.0


def test_a_row_of_the_classical_filters_that_seeds_do_change_keeps_its_spread(rows):
    """Inpainting of the mask that a network found stands among the classical rows, yet each training has its own."""
    found = pd.DataFrame(
        [
            {"variant": "a", "rate": 1.0, "seed": seed, "image": "p", "method": FOUND_MASK, "psnr": psnr, "ssim": 0.5}
            for seed, psnr in ((0, 20.0), (1, 22.0))
        ]
    )
    line = tables.over_seeds(pd.concat([rows, found]), "rate").loc[(FOUND_MASK, 1.0)]
    assert line["psnr_std"] == pytest.approx(np.sqrt(2)) and np.isnan(line["ssim_std"])


def test_what_a_network_made_is_named_by_its_case(rows):
    halves = rows[rows.method == "restored"].assign(method="restored, half stretch")
    halves["psnr"] += halves["image"] == "q"
    rows = pd.concat([rows, halves])
    named = tables.name_rows(rows)
    assert set(named["row"]) == {"input", "median 3x3", "a", "b", "a, half stretch", "b, half stretch"}
    assert named.drop(columns="row").equals(rows) and "row" not in rows
    summary = tables.over_seeds(rows, "rate")
    assert summary.loc[("a, half stretch", 1.0), "psnr_mean"] == 33.5
    assert summary.loc[("a, half stretch", 1.0), "psnr_std"] == pytest.approx(np.sqrt(2))
    differences = tables.paired_differences(rows, "rate", [("a, half stretch", "a"), ("a", "input")])
    assert differences["difference"].tolist() == [0.5, pytest.approx(33.0 - 20.5)]


def test_a_case_that_is_itself_called_restored_is_named_once():
    frame = pd.DataFrame({"method": ["restored", "restored, restored"], "variant": "restored twice"})
    assert tables.name_rows(frame)["row"].tolist() == ["restored twice", "restored twice, restored"]


def test_tables_name_rows_as_measuring_does():
    assert tables.RESTORED == measure.RESTORED and FIXED[0] == measure.INPUT


def test_markdown_has_a_line_a_row_and_a_dash_for_what_is_missing(rows):
    text = tables.markdown(tables.over_seeds(rows, "rate"), ["input", "a"], {1.0: "high", 0.5: "low"})
    assert text.splitlines()[0] == "| | PSNR (dB) ↑, high | SSIM ↑, high | PSNR (dB) ↑, low | SSIM ↑, low |"
    assert text.splitlines()[2] == "| input | 20.50 | 0.5000 | – | – |"
    assert text.splitlines()[3] == "| a | 33.00 ± 1.41 | 0.3300 ± 0.0141 | – | – |"


def test_runs_that_differ_in_another_parameter_are_all_counted(rows):
    """Two runs of one case, seed and column that a third parameter tells apart: their mean, not the first of them."""
    doubled = pd.concat([rows.assign(cycle=5.0), rows.assign(cycle=10.0, psnr=rows["psnr"] + 2)])
    found, single = (tables.over_seeds(table, "rate") for table in (doubled, rows))
    assert found.loc[("a", 1.0), "psnr_mean"] == pytest.approx(single.loc[("a", 1.0), "psnr_mean"] + 1)
    assert found.loc[("input", 1.0), "psnr_mean"] == single.loc[("input", 1.0), "psnr_mean"]


def test_layout_orders_rows_and_names_columns(rows):
    means, spreads = tables.layout(tables.over_seeds(rows, "rate"), ["b", "a"], {1.0: "high"}, "psnr")
    assert means.index.tolist() == spreads.index.tolist() == ["b", "a"]
    assert means["high"].tolist() == [pytest.approx(30.25), 33.0]


def test_paired_differences_of_means_and_seeds(rows):
    table = tables.paired_differences(rows, "rate", [("a", "b")]).iloc[0]
    assert table["difference"] == pytest.approx(np.mean([1.0, 3.0, 1.5, 5.5]))
    assert table["seed_low"] == pytest.approx(2.0)
    assert table["seed_high"] == pytest.approx(3.5)
    assert table["images"] == 2


def test_an_effect_in_words(rows):
    """Two images and two seeds; of a single image there is no interval."""
    rows = rows.assign(lpips=rows["psnr"] / 1e5)
    rows.loc[rows["variant"] == "b", "lpips"] += 0.00003
    words = tables.effect(rows, "rate", 1.0, ("b", "a"), ["psnr", "lpips"])
    assert words == (
        "PSNR (dB) ↑ −2.750 (−4.250 to −1.250; seeds −3.500 to −2.000), "
        "LPIPS ↓ +0.0000 (+0.0000 to +0.0000; seeds +0.0000 to +0.0000)"
    )
    single = tables.effect(rows[rows["image"] == "p"], "rate", 1.0, ("b", "a"), ["psnr"])
    assert single == "PSNR (dB) ↑ −1.250 (seeds −1.500 to −1.000)"


def test_bootstrap_interval_is_near_the_normal_one_for_many_images():
    rng = np.random.default_rng(0)
    a, b = rng.normal(30, 3, 400), rng.normal(29, 3, 400)
    frame = pd.DataFrame({"image": range(400), "rate": 1.0, "seed": 0, "method": "restored", "ssim": 0.0})
    rows = pd.concat([frame.assign(variant="a", psnr=a), frame.assign(variant="b", psnr=b)])
    table = tables.paired_differences(rows, "rate", [("a", "b")]).iloc[0]
    half = 1.96 * (a - b).std(ddof=1) / np.sqrt(400)
    assert table["difference"] - table["low"] == pytest.approx(half, rel=0.1)
    assert table["high"] - table["difference"] == pytest.approx(half, rel=0.1)


@pytest.fixture
def other(rows):
    """The rows with other metrics than PSNR and SSIM, one of which no table knows."""
    return rows.assign(ciede2000=rows.psnr / 3, checkerboard=rows.psnr - 31, strange=1.0).drop(columns=["psnr", "ssim"])


def test_other_metrics_have_their_own_means_and_spreads(other):
    summary = tables.over_seeds(other, "rate")
    metrics = [f"{metric}_{statistic}" for metric in ("ciede2000", "checkerboard") for statistic in ("mean", "std")]
    assert list(summary.columns) == [*metrics, "seeds", "images"]
    a = summary.loc[("a", 1.0)]
    assert a["ciede2000_mean"] == pytest.approx(11) and a["checkerboard_mean"] == pytest.approx(2)
    assert a["ciede2000_std"] == pytest.approx(np.std([32 / 3, 34 / 3], ddof=1))
    assert np.isnan(summary.loc[("median 3x3", 1.0), "checkerboard_std"])


def test_markdown_of_other_metrics_has_their_headings_and_decimals(other):
    summary = tables.over_seeds(other, "rate")
    lines = tables.markdown(summary, ["input", "a"], {1.0: "high"}, ["checkerboard", "ciede2000"]).splitlines()
    assert lines[0] == "| | checkerboard (dB) ↓, high | CIEDE2000 ↓, high |"
    assert lines[2] == "| input | -10.5 | 6.83 |"
    assert lines[3] == "| a | 2.0 ± 1.4 | 11.00 ± 0.47 |"
    _, spreads = tables.layout(summary, ["a"], {1.0: "high"}, "ciede2000")
    assert spreads.loc["a", "high"] == pytest.approx(np.std([32 / 3, 34 / 3], ddof=1))


def test_paired_differences_of_another_metric(other):
    table = tables.paired_differences(other, "rate", [("a", "b")], "ciede2000").iloc[0]
    assert table["difference"] == pytest.approx(np.mean([1.0, 3.0, 1.5, 5.5]) / 3)


def record(steps=5, seed=0, batch_size=2, crop=32, seconds=90.0, images=(3, 1), dataset="faces", device="a CPU"):
    return {
        "parameters": {"seed": seed, "batch_size": batch_size, "crop": crop, "steps": 9},
        "provenance": {"date": "2026-01-02 03:04 UTC", "commit": "abc", "device": device},
        "training": {"steps": steps, "seconds": seconds, "precision": "float32"},
        "dataset": dataset,
        "images": {"train": images[0], "test": images[1]},
    }


def test_caption_of_one_run_has_no_spread_and_no_ranges():
    assert tables.caption([record(batch_size=1)]) == (
        "data set faces; 3 training and 1 test images; 5 steps of 1 crop of 32 px; seed 0; on a CPU; "
        "1.5 minutes of training a run; 2026-01-02; commit abc"
    )


def test_caption_of_networks_that_ship_says_so():
    assert tables.caption([record(steps=0, seconds=0.0)]) == (
        "data set faces; 1 test images; networks that ship, not trained here; seed 0; on a CPU; 2026-01-02; commit abc"
    )


def test_caption_of_several_runs_says_all_that_differs():
    several = [
        record(seed=1, seconds=1548.0),
        record(seconds=60.0, steps=10, batch_size=1, crop=64, images=(5, 2), dataset="cats", device="a GPU"),
    ]
    assert tables.caption(several) == (
        "data set cats, faces; 3 training and 1 test images, 5 training and 2 test images; "
        "5, 10 steps of 1 crop of 64 px, 2 crops of 32 px; seeds 0, 1 (± is the standard deviation over them); "
        "on a CPU, a GPU; 1.0 to 25.8 minutes of training a run; 2026-01-02; commit abc"
    )


@pytest.mark.parametrize("seconds", [(1548.0, 1548.0), (1547.0, 1549.0)])
def test_caption_does_not_span_from_a_number_to_itself(seconds):
    assert "; 25.8 minutes of training a run; " in tables.caption([record(seconds=value) for value in seconds])


HOSTILE = "<img src=x onerror=alert(1)> & `a|b` [c](javascript:d) \\ *e*\nf"


def rendered(text):
    """As a page shows it: the HTML, and the texts of the cells of its table."""
    html = MarkdownWithMath(renderer=IPythonRenderer()).render(text)
    return html, [unescape(cell) for cell in re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", html, re.DOTALL)]


def test_names_of_cases_and_labels_are_text_in_a_rendered_table(rows):
    rows["variant"] = rows["variant"].replace("a", HOSTILE)
    text = tables.markdown(tables.over_seeds(rows, "rate"), [HOSTILE, "b"], {1.0: HOSTILE}, ["psnr"])
    html, cells = rendered(text)
    assert len(text.splitlines()) == 4 and not re.findall("<(?!/?(?:table|thead|tbody|tr|th|td)[ >])", html)
    one_line = HOSTILE.replace("\n", "\\n")
    assert cells == ["", f"PSNR (dB) ↑, {one_line}", one_line, "33.00 ± 1.41", "b", "30.25 ± 0.35"]


def test_names_in_a_caption_are_text_in_a_rendered_page():
    dataset, device = "<script>alert(1)</script> <-> a -> b_c & d", "<img src=x onerror=alert(1)>\n\n# GPU"
    caption = tables.caption([record(dataset=dataset, device=device)])
    html, _ = rendered(caption)
    assert caption.count("\n") == 0 and set(re.findall("<[^>]*>", html)) == {"<p>", "</p>"}
    assert f"data set {dataset}; 3 training" in unescape(html)
    assert "data set a <-> b, c -> d; 3" in tables.caption([record(dataset="c -> d"), record(dataset="a <-> b")])


def test_the_best_row_has_the_highest_or_the_lowest_mean(rows, other):
    summary = tables.over_seeds(rows, "rate")
    assert tables.best_of(summary, ["b", "a", "input"], 1.0, "psnr") == "a"
    assert tables.best_of(summary, ["b", "input", "nobody"], 1.0, "psnr") == "b"
    assert tables.best_of(summary, ["a", "b"], 0.5, "psnr") is None
    assert tables.best_of(summary, [], 1.0, "psnr") is None
    summary = tables.over_seeds(other, "rate")
    assert tables.best_of(summary, ["a", "b", "input"], 1.0, "ciede2000") == "input"
    summary.loc[("input", 1.0), "ciede2000_mean"] = np.nan  # not measured
    assert tables.best_of(summary, ["a", "b", "input"], 1.0, "ciede2000") == "b"
