"""Tables, publishing and the README's block, from run folders written by hand."""

import base64
import json
import os
import re
import shutil
import time

import pandas as pd
import pytest
import yaml

from restoration_lib.__main__ import main
from restoration_lib.experiments import execution, publish, runs
from restoration_lib.experiments.claims import claimed
from restoration_lib.experiments.execution import Outcome

PARAMETERS = {"batch_size": 2, "crop": 32}
PNG = base64.b64decode(  # one red pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
OTHER = base64.b64encode(PNG + b"of the notebook alone").decode()
ORIGIN = {"date": "2026-01-02 03:04 UTC", "commit": "abc", "device": "a CPU"}
ENTRY = {
    "task": "shuffled pixels",
    "sweep": "quick/losses",
    "column": {"rate": 1.0},
    "metric": "psnr",
    "ours": "strong",
    "meaning": "better than nothing",
}
FINDING = {
    "change": "Being strong",
    "sweep": "quick/losses",
    "column": {"rate": 1.0},
    "with": "strong",
    "without": "plain",
    "metrics": ["psnr"],
}


def write_run(folder, variant, rate, seed, psnr):
    run = folder / f"{variant}-{rate}-{seed}"
    (run / "checkpoints").mkdir(parents=True)
    (run / "figures").mkdir()
    for name in ("checkpoints/last.pt", "error.txt", "history.csv"):
        (run / name).write_text("x")
    (run / "figures" / "losses.png").write_bytes(PNG)
    shown = [
        {"output_type": "display_data", "data": {"image/png": data}} for data in (base64.b64encode(PNG).decode(), OTHER)
    ]
    text = {"cell_type": "markdown", "source": "[all](../../../../README.md), [web](https://example.org)"}
    (run / "notebook.ipynb").write_text(json.dumps({"cells": [text, {"cell_type": "code", "outputs": shown}]}))
    rows = [
        {"image": "p", "method": "input", "psnr": 20.0, "ssim": 0.5},
        {"image": "p", "method": "restored", "psnr": psnr, "ssim": 0.9},
    ]
    record = {
        "parameters": {"variant": variant, "rate": rate, "seed": seed, **PARAMETERS},
        "provenance": ORIGIN,
        "training": {"steps": 5, "seconds": 90.0, "precision": "float32"},
        "dataset": "faces",
        "images": {"train": 3, "test": 1},
        "rows": rows,
    }
    (run / "run.json").write_text(json.dumps(record))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A sweep of four finished runs, one unfinished, a README with marks, and what its block is to show."""
    folder = tmp_path / "results" / "quick" / "losses"
    for seed, psnr in ((0, 30.0), (1, 32.0)):
        for variant, better in (("plain", 0.0), ("strong", 1.0)):
            write_run(folder, variant, 1.0, seed, psnr + better)
    write_run(folder, ".partial-plain", 1.0, 9, 99.0)
    spec = {
        "notebook": "03.ipynb",
        "profiles": {"quick": {}, "full": {}},
        "cases": {"plain": {}, "strong": {}},
        "report": {"columns": {"rate": {1.0: "high"}}, "tables": {"First": ["plain"], "Second": ["strong"]}},
    }
    (tmp_path / "losses.yaml").write_text(yaml.safe_dump(spec))
    (tmp_path / "README.md").write_text(f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n")
    (tmp_path / "summary.yaml").write_text(yaml.safe_dump([ENTRY]))
    monkeypatch.setattr(publish, "README", tmp_path / "README.md")
    (tmp_path / "findings.yaml").write_text(yaml.safe_dump([FINDING]))
    monkeypatch.setattr(publish, "SUMMARY", tmp_path / "summary.yaml")
    monkeypatch.setattr(publish, "FINDINGS", tmp_path / "findings.yaml")
    monkeypatch.setattr(runs, "commit", lambda: "abc")
    return tmp_path


def run_report(project, *options, profile="quick"):
    out = str(project / "results")
    return main(["report", str(project / "losses.yaml"), "--profile", profile, "--out", out, *options])


def change(path, **changes):
    """Change a sweep's section `report:`."""
    spec = yaml.safe_load(path.read_text())
    spec["report"] |= changes
    path.write_text(yaml.safe_dump(spec))


def change_records(folder, change):
    """Rewrite the record of every run in a folder, hidden ones too."""
    for path in folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tables_hold_the_mean_of_the_seeds_and_say_what_was_run(project):
    assert run_report(project) == 0
    folder = project / "results" / "quick" / "losses"
    text = (folder / "table.md").read_text()
    assert text.index("**First**") < text.index("| plain | 31.00 ± 1.41 |") < text.index("**Second**")
    assert text.count("| input | 20.00 |") == 2
    facts = ("data set faces", "3 training and 1 test", "5 steps", "; 1.5 minutes", "seeds 0, 1", "a CPU")
    for fact in (*facts, "2026-01-02", "abc"):
        assert fact in text
    overview = (folder / "overview.md").read_text()
    assert overview.index("| input |") < overview.index("| plain |") < overview.index("| strong |")
    table = pd.read_csv(folder / "table.csv").set_index("row")
    assert table.loc["strong", "psnr_mean"] == 32.0
    assert table.loc["strong", "seeds"] == 2


def test_tables_hold_the_rows_of_a_second_kind_of_restored(project):
    def halved(record):
        [row] = [row for row in record["rows"] if row["method"] == "restored"]
        record["rows"].append(row | {"method": "restored, half stretch", "psnr": row["psnr"] + 0.5})

    folder = project / "results" / "quick" / "losses"
    change_records(folder, halved)
    change(project / "losses.yaml", tables={"First": ["strong, half stretch", "strong"]})
    assert run_report(project) == 0
    text = (folder / "table.md").read_text()
    assert text.index("| strong, half stretch | 32.50 ± 1.41 |") < text.index("| strong | 32.00 ± 1.41 |")
    assert "plain" not in text and "| plain, half stretch | 31.50" in (folder / "overview.md").read_text()


def test_columns_can_be_an_entry_of_a_dictionary(project):
    folder = project / "results" / "quick" / "losses"
    change_records(folder, lambda record: record["parameters"].update(losses={"cycle": 5.0}))
    change(project / "losses.yaml", columns={"losses.cycle": {5.0: "cycle 5", 10.0: "cycle 10"}})
    assert run_report(project) == 0
    assert "| | PSNR (dB) ↑, cycle 5 | SSIM ↑, cycle 5 |\n" in (folder / "table.md").read_text()


def with_other_metrics(project, named):
    """The project with rows of another kind, and the metrics named in the section."""

    def measured(record):
        record["rows"] = [
            {"image": row["image"], "method": row["method"], "checkerboard": row["psnr"] / 8, "ciede2000": 3.456}
            for row in record["rows"]
        ]

    change(project / "losses.yaml", metrics=named)
    change_records(project / "results" / "quick" / "losses", measured)


def test_tables_hold_the_metrics_of_the_section_in_its_order(project):
    with_other_metrics(project, ["ciede2000", "checkerboard"])
    assert run_report(project) == 0
    folder = project / "results" / "quick" / "losses"
    for name in ("table.md", "overview.md"):
        text = (folder / name).read_text()
        assert "| | CIEDE2000 ↓, high | checkerboard (dB) ↓, high |" in text
        assert "| input | 3.46 | 2.5 |" in text and "| plain | 3.46 ± 0.00 | 3.9 ± 0.2 |" in text
        assert "PSNR" not in text
    table = pd.read_csv(folder / "table.csv").set_index("row")
    assert table.loc["strong", "checkerboard_mean"] == 4.0


@pytest.mark.parametrize(("named", "fault"), [(["ciede2000", "psnr"], "psnr"), (["sharpness"], "sharpness")])
def test_metric_that_was_not_measured_is_refused_in_one_line(project, capsys, named, fault):
    with_other_metrics(project, named)
    assert run_report(project) == 2
    error = capsys.readouterr().err
    assert "losses.yaml" in error and f"report.metrics: the runs did not measure {fault}\n" in error
    assert error.count("\n") == 1


def test_the_notebook_that_reads_the_runs_is_executed_when_the_numbers_are_new(project, monkeypatch, capsys):
    executed = []

    def execute(run, folder, threads):
        executed.append((run.name, run.notebook, run.parameters, folder, folder.exists()))
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"parameters": run.parameters}))
        return Outcome(0.0, None)

    monkeypatch.setattr(execution, "execute", execute)
    change(project / "losses.yaml", notebook="../04_reads.ipynb")
    source = project / "results" / "quick"
    for _ in range(2):  # the second time, there is nothing new
        assert run_report(project) == 0
        parameters = {"runs_folder": os.path.relpath(source / "losses", project.parent)}
        expected = ("04_reads", (project.parent / "04_reads.ipynb").resolve(), parameters, source / "04_reads", False)
        assert executed == [expected]
    change_records(source / "losses", lambda record: record["rows"][1].update(psnr=50.0))
    assert run_report(project) == 0 and executed == [expected] * 2, "what is there of the old numbers goes first"
    (source / "04_reads" / "run.json").unlink()
    assert run_report(project) == 0 and executed == [expected] * 3
    (source / "04_reads" / "run.json").write_text('{"parameters": {"runs_folder": "results/quick/others"}}')
    assert run_report(project) == 0 and executed == [expected] * 4, "it had read the runs of another sweep"

    monkeypatch.setattr(execution, "execute", lambda run, folder, threads: Outcome(0.0, "KeyError: 'x'"))
    (source / "04_reads" / "run.json").unlink()
    capsys.readouterr()
    assert run_report(project) == 2
    assert capsys.readouterr().err == "report: 04_reads.ipynb: KeyError: 'x'\n"


def test_tables_are_made_anew_only_when_something_is_newer(project, monkeypatch, capsys):
    assert run_report(project) == 0
    shown, table = capsys.readouterr().out, project / "results" / "quick" / "losses" / "table.md"
    written = table.stat().st_mtime_ns
    assert run_report(project) == 0 and table.stat().st_mtime_ns == written
    assert capsys.readouterr().out == shown, "the tables are shown all the same"
    run = next(table.parent.glob("plain-1.0-0/run.json"))
    for newer in (run, project / "losses.yaml", table.parent):
        time.sleep(0.05)  # the clock of files ticks slowly
        os.utime(newer)
        assert run_report(project) == 0 and table.stat().st_mtime_ns > written
        written = table.stat().st_mtime_ns
    (table.parent / "overview.md").unlink()
    assert run_report(project) == 0 and table.stat().st_mtime_ns > written


def test_a_report_that_another_one_makes_is_refused_in_one_line(project, capsys):
    with claimed(project / "results" / "quick" / "losses"):
        assert run_report(project) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "another sweep or report is running here" in error
    assert run_report(project) == 0


def test_publish_copies_what_is_to_be_read_and_renews_the_readme(project):
    assert run_report(project, "--publish") == 0
    published = project / "results" / "published" / "quick" / "losses"
    names = set(files(published))
    run = "plain-1.0-0"
    assert {"table.md", f"{run}/run.json", f"{run}/notebook.ipynb", f"{run}/figures/losses.png"} <= names
    seed_1 = {f"{variant}-1.0-1/{name}" for variant in ("plain", "strong") for name in ("run.json", "history.csv")}
    assert {name for name in names if "-1/" in name} == seed_1
    assert (published / run / "figures" / "losses.png").read_bytes() == PNG
    text, code = json.loads((published / run / "notebook.ipynb").read_text())["cells"]
    assert code["outputs"][0]["data"] == {
        "text/markdown": "![losses](figures/losses.png)",
        "text/plain": "figures/losses.png",
    }
    assert code["outputs"][1]["data"] == {"image/png": OTHER}, "a figure that is stored nowhere else stays"
    to_readme, web = re.findall(r"\]\(([^)]+)\)", text["source"])
    assert (published / run / to_readme).samefile(project / "README.md") and web == "https://example.org"
    assert not [name for name in names if "checkpoints" in name or "error" in name or "partial" in name]
    text = (project / "results" / "published" / "README.md").read_text()
    assert text.startswith(publish.TITLE) and text.rstrip().endswith("commit abc")
    assert "| [losses](quick/losses), quick profile |" in text and "| strong | 32.00" not in text.split("plain")[0]
    text = (project / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    block = text.split(publish.BEGIN)[1].split(publish.END)[0]
    table, explained, findings = block.strip().split("\n\n")
    assert table == publish.summary_table(project / "results" / "published", project / "summary.yaml")
    assert len(table.splitlines()) == 3, "a row for each system that is named, and no more"
    assert explained + "\n" == publish.EXPLAINED
    assert findings == (
        "- [Being strong](results/published/quick/losses): PSNR (dB) ↑ +1.000 (seeds +1.000 to +1.000)."
    )
    (project / "results" / "quick").rename(project / "results" / "full")
    assert run_report(project, "--publish", profile="full") == 0
    text = (project / "results" / "published" / "README.md").read_text()
    assert text.index("(full/losses), full profile") < text.index("(quick/losses), quick profile")
    assert (project / "README.md").read_text().count("[shuffled pixels]") == 1


def test_what_was_published_before_goes(project):
    before = project / "results" / "published" / "quick" / "losses" / "gone"
    before.mkdir(parents=True)
    assert run_report(project, "--publish") == 0 and not before.exists()


def test_the_notebook_that_reads_the_runs_is_published_too(project, monkeypatch):
    monkeypatch.setattr(execution, "execute", lambda *job, threads: pytest.fail("it is there, and nothing is new"))
    assert run_report(project) == 0
    change(project / "losses.yaml", notebook="04_reads.ipynb")
    reads = project / "results" / "quick" / "04_reads"
    reads.mkdir()
    record = {"parameters": {"runs_folder": "results/quick/losses"}, "provenance": {"commit": "abc"}}
    (reads / "run.json").write_text(json.dumps(record))
    (reads / "notebook.ipynb").write_text('{"cells": []}')
    assert run_report(project, "--publish") == 0
    published = project / "results" / "published" / "quick"
    assert set(files(published / "04_reads")) == {"run.json", "notebook.ipynb"}
    shutil.rmtree(published)
    path = project / "losses.yaml"
    path.write_text(path.read_text() + "publish: numbers\n")
    assert run_report(project, "--publish") == 0
    assert not (published / "04_reads").exists(), "it shows images of the runs"
    assert "table.md" in files(published / "losses")
    path.write_text(path.read_text().replace("publish: numbers", "publish: report"))
    assert run_report(project, "--publish") == 0
    assert "notebook.ipynb" in files(published / "04_reads")
    assert not [name for name in files(published / "losses") if name.endswith("ipynb")]


def test_numbers_only_leaves_every_image_out(project):
    path = project / "losses.yaml"
    path.write_text(path.read_text() + "publish: numbers\n")
    assert run_report(project, "--publish") == 0
    published = project / "results" / "published" / "quick" / "losses"
    names = set(files(published))
    assert {name.rpartition(".")[2] for name in names} == {"json", "md", "csv"}
    assert len([name for name in names if name.endswith("run.json")]) == 4


def test_publishing_too_much_is_an_error(project, monkeypatch, capsys):
    monkeypatch.setattr(publish, "LIMIT", 100)
    assert run_report(project, "--publish") == 2
    assert "MB are more than" in capsys.readouterr().err


def test_changes_that_are_not_committed_are_not_published(project, monkeypatch, capsys):
    monkeypatch.setattr(runs, "commit", lambda: "abc+")
    assert run_report(project) == 0, "tables may be made at any time"
    assert run_report(project, "--publish") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "changes that are not committed" in error
    assert not (project / "results" / "published").exists() and "old" in (project / "README.md").read_text()


def test_runs_of_changes_that_were_never_committed_are_not_published(project, capsys):
    def changed(record):
        if (record["parameters"]["variant"], record["parameters"]["seed"]) == ("strong", 1):
            record["provenance"]["commit"] = "abc+"

    assert run_report(project, "--publish") == 0
    before = files(project / "results" / "published")
    change_records(project / "results" / "quick" / "losses", changed)
    capsys.readouterr()
    assert run_report(project, "--publish") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "strong-1.0-1: was made from changes that were never committed" in error
    assert files(project / "results" / "published") == before, "what was published stays"


def test_of_two_sweeps_none_is_published_if_one_may_not_be(project, capsys):
    results = project / "results" / "quick"
    shutil.copytree(results / "losses", results / "numbers")
    shutil.copy(project / "losses.yaml", project / "numbers.yaml")
    change_records(results / "numbers", lambda record: record["provenance"].update(commit="abc+"))
    sweeps = [str(project / "losses.yaml"), str(project / "numbers.yaml")]
    assert main(["report", *sweeps, "--profile", "quick", "--out", str(project / "results"), "--publish"]) == 2
    assert "was made from changes that were never committed" in capsys.readouterr().err
    assert not (project / "results" / "published").exists()


def test_faults_are_one_line(project, capsys):
    path = project / "losses.yaml"
    path.write_text(path.read_text().replace("Second:\n    - strong", "Second:\n    - strange"))
    assert run_report(project) == 2
    error = capsys.readouterr().err
    assert "strange" in error and "losses.yaml" in error and error.count("\n") == 1
    assert main(["report", str(path), "--profile", "full", "--out", str(project)]) == 2
    error = capsys.readouterr().err
    assert "no finished runs" in error and error.count("\n") == 1


@pytest.mark.parametrize("mark", [publish.BEGIN, publish.END])
def test_a_readme_without_its_marks_is_an_error(project, capsys, mark):
    readme = project / "README.md"
    readme.write_text(readme.read_text().replace(mark, ""))
    before = readme.read_text()
    assert run_report(project, "--publish") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and mark in error and readme.read_text() == before


def test_a_readme_whose_row_is_not_published_stays(project, capsys):
    (project / "summary.yaml").write_text(yaml.safe_dump([ENTRY | {"ours": "strange"}]))
    before = (project / "README.md").read_text()
    assert run_report(project, "--publish") == 2
    assert capsys.readouterr().err == "report: summary.yaml: quick/losses: no row strange is published\n"
    assert (project / "README.md").read_text() == before


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"without": "strange"}, "quick/losses: no row strange at rate 1.0 is published"),
        ({"column": {"rate": 0.5}}, "quick/losses: no row strong at rate 0.5 is published"),
        ({"column": {"strange": 1}}, "quick/losses: no row strong at strange 1 is published"),
        ({"metrics": ["psnr", "lpips"]}, "quick/losses: no metric lpips is published"),
        ({"sweep": "full/losses"}, "full/losses: nothing of it is published"),
    ],
)
def test_a_finding_about_what_is_not_published(project, changes, message):
    assert run_report(project, "--publish") == 0
    path = project / "findings.yaml"
    path.write_text(yaml.safe_dump([FINDING | changes]))
    with pytest.raises(publish.ExperimentError, match=f"^findings.yaml: {message}$"):
        publish.findings(project / "results" / "published", path)


METHODS = {
    "input": {"psnr": 20.0, "lpips": 0.5},
    "median 3x3": {"psnr": 24.0, "lpips": 0.25},
    "bicubic": {"psnr": 25.0, "lpips": 0.375},
    "biharmonic, true mask": {"psnr": 40.0, "lpips": 0.0},
}


@pytest.fixture
def summary(tmp_path):
    """The row of one entry of summary.yaml, from two published runs that measured everything."""
    for seed, psnr in ((0, 30.0), (1, 32.0)):
        folder = tmp_path / "published" / "quick" / "losses" / str(seed)
        folder.mkdir(parents=True)
        measured = METHODS | {"restored": {"psnr": psnr, "lpips": 0.125}, "restored, half": {"psnr": 26, "lpips": 0.2}}
        rows = [{"image": "p", "method": name, **values} for name, values in measured.items()]
        parameters = {"variant": "strong", "rate": 1.0, "losses": {"cycle": 5.0}, "seed": seed}
        (folder / "run.json").write_text(json.dumps({"parameters": parameters, "rows": rows}))

    def summary(**changes):
        path = tmp_path / "summary.yaml"
        path.write_text(yaml.safe_dump([ENTRY | changes]))
        head, rule, row = publish.summary_table(tmp_path / "published", path).splitlines()
        assert head == "| task | measured in | degraded input | compared with | ours | what it means |"
        assert rule == "|---|---|---|---|---|---|"
        return row.strip("| ").split(" | ")

    return summary


def test_summary_has_the_best_classical_row_but_for_the_oracle(summary):
    assert summary() == [
        "[shuffled pixels](results/published/quick/losses)",
        "PSNR (dB) ↑",
        "20.00",
        "25.00 (bicubic)",
        "**31.00 ± 1.41**",
        "better than nothing",
    ]


def test_summary_takes_the_lowest_where_lower_is_better(summary):
    assert summary(metric="lpips")[1:5] == ["LPIPS ↓", "0.500", "0.250 (median 3x3)", "**0.125 ± 0.000**"]


def test_summary_shows_another_row_instead_where_it_says_so(summary):
    assert summary(instead="biharmonic, true mask")[3] == "40.00 (biharmonic, true mask)"
    assert summary(instead="median 3x3")[3] == "24.00 (median 3x3)"
    assert summary(ours="strong, half", instead="strong")[3:5] == ["31.00 ± 1.41 (strong)", "**26.00 ± 0.00**"]


def test_summary_of_an_entry_of_a_dictionary(summary):
    assert summary(column={"losses.cycle": 5.0})[2:5] == ["20.00", "25.00 (bicubic)", "**31.00 ± 1.41**"]


def test_summary_has_a_dash_where_nothing_classical_was_measured(summary, monkeypatch):
    monkeypatch.setattr(publish, "FIXED", ("input", publish.TRUE_MASK))
    assert summary()[2:5] == ["20.00", "–", "**31.00 ± 1.41**"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ours": "strange"}, "quick/losses: no row strange is published"),
        ({"instead": "strange"}, "quick/losses: no row strange is published"),
        ({"column": {"rate": 0.5}}, "quick/losses: no row strong is published"),
        ({"sweep": "full/losses"}, "full/losses: nothing of it is published"),
    ],
)
def test_summary_names_the_row_that_is_not_published(summary, changes, fault):
    with pytest.raises(publish.ExperimentError) as caught:
        summary(**changes)
    assert str(caught.value) == f"summary.yaml: {fault}"
