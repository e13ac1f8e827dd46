"""Tables, publishing and the README's block, from run folders written by hand."""

import base64
import io
import json

import pandas as pd
import pytest
import yaml
from PIL import Image

from restoration_lib import report

PARAMETERS = {"steps": 5, "batch_size": 2, "crop": 32}
PNG = base64.b64decode(  # one red pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
ORIGIN = {"date": "2026-01-02 03:04 UTC", "commit": "abc", "device": "a CPU"}


def write_run(folder, variant, rate, seed, psnr):
    run = folder / f"{variant}-{rate}-{seed}"
    (run / "checkpoints").mkdir(parents=True)
    (run / "figures").mkdir()
    for name in ("checkpoints/last.pt", "notebook.html"):
        (run / name).write_text("x")
    (run / "figures" / "losses.png").write_bytes(PNG)
    shown = {"output_type": "display_data", "data": {"image/png": base64.b64encode(PNG).decode()}}
    (run / "notebook.ipynb").write_text(json.dumps({"cells": [{"outputs": [shown]}, {}]}))
    rows = [
        {"picture": "p", "method": "input", "psnr": 20.0, "ssim": 0.5},
        {"picture": "p", "method": "restored", "psnr": psnr, "ssim": 0.9},
    ]
    record = {
        "parameters": {"variant": variant, "rate": rate, "seed": seed, **PARAMETERS},
        "provenance": ORIGIN,
        "dataset": "faces",
        "training_seconds": 90.0,
        "pictures": {"train": 3, "test": 1},
        "rows": rows,
    }
    (run / "run.json").write_text(json.dumps(record))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A sweep of four finished runs, one unfinished, and a README with marks."""
    folder = tmp_path / "results" / "quick" / "losses"
    for seed, psnr in ((0, 30.0), (1, 32.0)):
        for variant, better in (("plain", 0.0), ("strong", 1.0)):
            write_run(folder, variant, 1.0, seed, psnr + better)
    write_run(folder, ".partial-plain", 1.0, 9, 99.0)
    spec = {
        "notebook": "03.ipynb",
        "profiles": {"quick": {}},
        "case_parameter": "variant",
        "cases": {"plain": {}, "strong": {}},
        "report": {"columns": {"rate": {1.0: "high"}}, "tables": {"First": ["plain"], "Second": ["strong"]}},
    }
    (tmp_path / "losses.yaml").write_text(yaml.safe_dump(spec))
    (tmp_path / "README.md").write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    return tmp_path


def run_report(project, *options):
    out = str(project / "results")
    return report.main([str(project / "losses.yaml"), "--profile", "quick", "--out", out, *options])


def test_tables_hold_the_mean_of_the_seeds_and_say_what_was_run(project):
    assert run_report(project) == 0
    folder = project / "results" / "quick" / "losses"
    text = (folder / "table.md").read_text()
    assert text.index("**First**") < text.index("| plain | 31.00 ± 1.41 |") < text.index("**Second**")
    assert text.count("| input | 20.00 |") == 2
    facts = ("data set faces", "3 training and 1 test", "5 steps", "1.5 to 1.5 minutes", "seeds 0, 1", "a CPU")
    for fact in (*facts, "2026-01-02", "abc"):
        assert fact in text
    overview = (folder / "overview.md").read_text()
    assert overview.index("| input |") < overview.index("| plain |") < overview.index("| strong |")
    table = pd.read_csv(folder / "table.csv").set_index("row")
    assert table.loc["strong", "psnr_mean"] == 32.0
    assert table.loc["strong", "seeds"] == 2


def with_other_metrics(project, named):
    """The project with rows of another kind, and the metrics named in the section."""
    path = project / "losses.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["report"]["metrics"] = named
    path.write_text(yaml.safe_dump(spec))
    for record in (project / "results" / "quick" / "losses").glob("*/run.json"):
        content = json.loads(record.read_text())
        content["rows"] = [
            {"picture": row["picture"], "method": row["method"], "checkerboard": row["psnr"] / 8, "ciede2000": 3.456}
            for row in content["rows"]
        ]
        record.write_text(json.dumps(content))


def test_tables_hold_the_metrics_of_the_section_in_its_order(project):
    with_other_metrics(project, ["ciede2000", "checkerboard"])
    assert run_report(project) == 0
    folder = project / "results" / "quick" / "losses"
    for name in ("table.md", "overview.md"):
        text = (folder / name).read_text()
        assert "| | CIEDE2000, high | checkerboard (dB), high |" in text
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


def test_publish_copies_what_is_to_be_read_and_renews_the_readme(project):
    assert run_report(project, "--publish") == 0
    published = project / "results" / "published" / "quick" / "losses"
    names = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    run = "plain-1.0-0"
    assert {"table.md", f"{run}/run.json", f"{run}/notebook.ipynb", f"{run}/figures/losses.jpg"} <= names
    assert {name for name in names if "-1/" in name} == {"plain-1.0-1/run.json", "strong-1.0-1/run.json"}
    [output] = json.loads((published / run / "notebook.ipynb").read_text())["cells"][0]["outputs"]
    red = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/jpeg"]))).getpixel((0, 0))
    assert "image/png" not in output["data"] and red[0] > 240 and max(red[1:]) < 15
    assert not [name for name in names if "checkpoints" in name or name.endswith(".html") or "partial" in name]
    text = (project / "results" / "published" / "README.md").read_text()
    assert "| [losses](quick/losses), quick profile |" in text and "| strong | 32.00" not in text.split("plain")[0]
    text = (project / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "losses" not in text, "the readme shows the longest trainings alone"
    (project / "results" / "published" / "quick").rename(project / "results" / "published" / "full")
    assert run_report(project, "--publish") == 0
    assert "[losses](results/published/full/losses), full profile" in (project / "README.md").read_text()
    assert "full profile" in (project / "results" / "published" / "README.md").read_text()


def test_numbers_only_leaves_every_picture_out(project):
    path = project / "losses.yaml"
    path.write_text(path.read_text() + "publish: numbers\n")
    assert run_report(project, "--publish") == 0
    published = project / "results" / "published" / "quick" / "losses"
    assert {path.suffix for path in published.rglob("*") if path.is_file()} == {".json", ".md", ".csv"}


def test_publishing_too_much_is_an_error(project, monkeypatch, capsys):
    monkeypatch.setattr(report, "LIMIT", 100)
    assert run_report(project, "--publish") == 2
    assert "MB are more than" in capsys.readouterr().err


def test_faults_are_one_line(project, capsys):
    path = project / "losses.yaml"
    path.write_text(path.read_text().replace("Second:\n    - strong", "Second:\n    - strange"))
    assert run_report(project) == 2
    error = capsys.readouterr().err
    assert "strange" in error and "losses.yaml" in error and error.count("\n") == 1
    assert report.main([str(path), "--profile", "full", "--out", str(project)]) == 2
    assert "no finished runs" in capsys.readouterr().err
