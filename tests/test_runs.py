"""A run's folder: what the record holds, when it appears, and how it is read back."""

import json
import math
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from restoration_lib import runs

PARAMETERS = {"variant": "L1 + cosine", "rate": 0.5, "steps": 300, "mixed_pairs": ["cutmix"], "flip": True}
ROWS = pd.DataFrame(
    {
        "picture": ["a.png", "a.png", "grün.png"],
        "method": ["input", "restored", "input"],
        "psnr": [27.1234567, 33.5, 29.0],
        "ssim": [0.8, 0.95, 0.9],
    }
)
HISTORY = pd.DataFrame(
    {"step": [20, 40, 1234567], "l1": [0.1, 0.05, 1.25e-7], "validation_psnr": [np.nan, 30.5, np.nan]}
)


def finish(folder, parameters=PARAMETERS, rows=ROWS, **options):
    return runs.start(str(folder), "03_test", **parameters).finish(rows, **options)


def read_json(folder):
    """run.json by the letter of RFC 8259, which has no NaN and no Infinity."""

    def refuse(word):
        pytest.fail(f"run.json holds {word}, which is not JSON")

    return json.loads((folder / "run.json").read_bytes().decode("utf-8"), parse_constant=refuse)


def strings(value):
    """Every string in a JSON value, keys as well."""
    if isinstance(value, dict):
        return [s for pair in value.items() for part in pair for s in strings(part)]
    if isinstance(value, list):
        return [s for part in value for s in strings(part)]
    return [value] if isinstance(value, str) else []


def test_record_holds_parameters_facts_and_rows(tmp_path):
    record = finish(tmp_path, device="a processor, 2 threads", skipped=["b.png"])
    assert record == read_json(tmp_path)
    assert record["notebook"] == "03_test"
    assert record["parameters"] == PARAMETERS
    assert record["skipped"] == ["b.png"]
    expected = ROWS.assign(psnr=[27.123457, 33.5, 29.0])
    pd.testing.assert_frame_equal(pd.DataFrame(record["rows"]), expected, check_dtype=False)


def test_provenance_says_when_where_and_with_what(tmp_path):
    provenance = finish(tmp_path, device="a processor, 2 threads")["provenance"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", provenance["date"])
    assert re.fullmatch(r"[0-9a-f]{10,}\+?|unknown", provenance["commit"])
    assert provenance["device"] == "a processor, 2 threads"
    assert provenance["torch"] == version("torch") and provenance["scikit-image"] == version("scikit-image")
    assert provenance["python"].startswith("3.")
    assert 0 <= provenance["seconds"] < 60


def test_record_names_no_path_of_the_machine(tmp_path):
    finish(tmp_path / "run", history=HISTORY, device="cpu")
    text = (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    for place in (Path.home(), tmp_path, runs.PROJECT):
        assert str(place) not in text
    found = strings(json.loads(text))
    assert not [s for s in found if Path(s).is_absolute() or re.match(r"[A-Za-z]:[\\/]|\\\\|~/", s)]


def test_commit_is_unknown_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert runs.commit() == "unknown"
    monkeypatch.setenv("PATH", "")  # not even git is there
    assert runs.commit() == "unknown"


@pytest.mark.parametrize("column", [[27.0, math.inf, 29.0], [math.inf] * 3])
def test_the_psnr_of_a_perfect_picture_survives_as_valid_json(tmp_path, column):
    finish(tmp_path, rows=ROWS.assign(psnr=column), history=HISTORY)
    read_json(tmp_path)
    assert runs.rows([runs.load(tmp_path)])["psnr"].tolist() == column


def test_history_comes_back(tmp_path):
    finish(tmp_path, history=HISTORY)
    history = runs.load(tmp_path)["history"]
    assert history["step"].tolist() == [20, 40, 1234567]
    pd.testing.assert_frame_equal(history, HISTORY, rtol=1e-5)


def test_run_without_history_or_rows(tmp_path):
    finish(tmp_path, rows=None)
    record = runs.load(tmp_path)
    assert record["history"] is None and record["rows"] == [] and record["folder"] == tmp_path
    assert runs.rows([record]).empty


def test_no_record_if_the_history_cannot_be_written(tmp_path):
    (tmp_path / "history.csv" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError):
        finish(tmp_path, history=HISTORY)
    assert not (tmp_path / "run.json").exists()


def test_record_is_renamed_into_place_when_all_else_is_there(tmp_path, monkeypatch):
    moves, replace = [], runs.os.replace

    def watched(source, target):
        assert not Path(target).exists()
        if Path(target).name == "run.json":
            json.loads(Path(source).read_text(encoding="utf-8"))  # whole before it takes its name
        moves.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(runs.os, "replace", watched)
    finish(tmp_path, history=HISTORY)
    assert moves == ["history.csv", "run.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"history.csv", "run.json"}


def test_fact_that_json_cannot_hold_leaves_no_record(tmp_path):
    with pytest.raises(TypeError):
        finish(tmp_path, sizes={1, 2})
    assert not (tmp_path / "run.json").exists()


def test_facts_that_are_no_finite_numbers_become_null(tmp_path):
    finish(tmp_path, translation={"a": {"round_trip": math.inf, "identity": 30.5}}, spread=[math.nan, 1])
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["translation"] == {"a": {"round_trip": None, "identity": 30.5}} and record["spread"] == [None, 1]


def test_empty_folder_name_makes_a_new_one_in_scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "SCRATCH", tmp_path / "scratch")
    run = runs.start("", "03_test", **PARAMETERS)
    assert run.folder.is_dir()
    assert run.folder.parent == tmp_path / "scratch" / "03_test"
    assert run.checkpoints.parent == run.folder


def test_scratch_lies_in_results_and_git_ignores_it():
    assert runs.SCRATCH == runs.PROJECT / "results" / "scratch"
    ignored = (runs.PROJECT / ".gitignore").read_text().splitlines()
    assert "results/*" in ignored and "!results/scratch/" not in ignored


def test_given_folder_is_taken_up_again(tmp_path):
    first = runs.start(str(tmp_path / "a" / "run"), "03_test", **PARAMETERS)
    first.checkpoints.mkdir()
    (first.checkpoints / "last.pt").write_bytes(b"state")
    again = runs.start(str(tmp_path / "a" / "run"), "03_test", **PARAMETERS)
    assert again.folder == first.folder
    assert (again.checkpoints / "last.pt").read_bytes() == b"state"


def test_save_figure_writes_a_png_and_hands_the_figure_on(tmp_path):
    run, figure = runs.start(str(tmp_path), "03_test"), Figure()
    assert run.save_figure("losses", figure) is figure
    assert run.save_figure("losses", figure) is figure  # a second time, in a folder that is there
    assert (tmp_path / "figures" / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_unfinished_run_cannot_be_loaded(tmp_path):
    runs.start(str(tmp_path), "03_test")
    with pytest.raises(FileNotFoundError):
        runs.load(tmp_path)


def test_load_all_takes_the_finished_runs_by_name(tmp_path):
    for name in ("b", "a", ".partial-c"):
        finish(tmp_path / name)
    runs.start(str(tmp_path / "unfinished"), "03_test")
    (tmp_path / "table.md").write_text("no run")
    assert [record["folder"].name for record in runs.load_all(tmp_path)] == ["a", "b"]
    assert runs.load_all(tmp_path / "nothing here") == []


def test_rows_stand_beside_the_parameters_of_their_run(tmp_path):
    for name, rate in (("a", 0.5), ("b", 1.0)):
        finish(tmp_path / name, PARAMETERS | {"rate": rate})
    rows = runs.rows(runs.load_all(tmp_path))
    assert len(rows) == 6 and rows.index.tolist() == list(range(6))
    assert rows["rate"].tolist() == [0.5] * 3 + [1.0] * 3
    assert rows["picture"].tolist() == ROWS["picture"].tolist() * 2
    assert (rows["variant"] == "L1 + cosine").all() and rows["flip"].all()
    assert "mixed_pairs" not in rows  # a list is no value of a cell
    assert runs.rows([]).empty
