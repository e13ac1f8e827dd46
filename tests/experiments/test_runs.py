"""A run's folder: how a run starts, what the record holds, when it appears, and how it is read back."""

import json
import math
import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.display import Image
from matplotlib.figure import Figure
from PIL import Image as Pillow
from PIL import JpegImagePlugin

from restoration_lib.experiments import runs
from restoration_lib.experiments.notebooks import ExperimentError

PARAMETERS = {
    "variant": "L1 + cosine",
    "rate": 0.5,
    "steps": 300,
    "mixed_pairs": ["cutmix"],
    "flip": True,
    "losses": {"l1": 1.0, "cycle": 10.0},
    "options": {},
}
ROWS = pd.DataFrame(
    {
        "image": ["a.png", "a.png", "grün.png"],
        "method": ["input", "restored", "input"],
        "psnr": [27.1234567, 33.5, 29.0],
        "ssim": [0.8, 0.95, 0.9],
    }
)
HISTORY = pd.DataFrame(
    {"step": [20, 40, 1234567], "l1": [0.1, 0.05, 1.25e-7], "validation_psnr": [np.nan, 30.5, np.nan]}
)
HISTORY.attrs = {"steps": 1234567, "seconds": 12.5, "precision": "float32", "device": "a processor, 2 threads"}


@pytest.fixture(autouse=True)
def notebook(tmp_path_factory, monkeypatch, write_notebook):
    """The notebook 03_test in the working directory."""
    folder = tmp_path_factory.mktemp("notebooks")
    lines = [f"{name} = {value!r}  # what it is" for name, value in PARAMETERS.items()]
    monkeypatch.chdir(folder)
    return write_notebook(folder / "03_test.ipynb", parameters="\n".join([*lines, 'run_folder = ""']))


def start(folder="", **changes):
    values = PARAMETERS | {"run_folder": str(folder)} | changes
    return runs.start("03_test", values)


def finish(folder, rows=ROWS, history=None, changes=None, **facts):
    return start(folder, **changes or {}).finish(rows, history, **facts)


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
    record = finish(tmp_path, skipped=["b.png"])
    assert record == read_json(tmp_path)
    assert record["notebook"] == "03_test"
    assert record["parameters"] == PARAMETERS
    assert record["skipped"] == ["b.png"]
    expected = ROWS.assign(psnr=[27.123457, 33.5, 29.0])
    pd.testing.assert_frame_equal(pd.DataFrame(record["rows"]), expected, check_dtype=False)


def test_provenance_says_when_where_and_with_what(tmp_path):
    provenance = finish(tmp_path, history=HISTORY)["provenance"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", provenance["date"])
    assert re.fullmatch(r"[0-9a-f]{10,}\+?|unknown", provenance["commit"])
    assert provenance["device"] == "a processor, 2 threads"
    assert provenance["torch"] == version("torch") and provenance["scikit-image"] == version("scikit-image")
    assert provenance["python"].startswith("3.")
    assert 0 <= provenance["seconds"] < 60


def test_record_holds_what_the_training_says_of_itself(tmp_path):
    record = finish(tmp_path, history=HISTORY)
    assert record["training"] == {"steps": 1234567, "seconds": 12.5, "precision": "float32"}
    assert record == read_json(tmp_path)
    assert HISTORY.attrs["device"] == "a processor, 2 threads", "the history is the caller's"
    record = finish(tmp_path)
    assert record["training"] == {} and "device" not in record["provenance"]


def test_record_names_no_path_of_the_machine(tmp_path):
    finish(tmp_path / "run", history=HISTORY)
    text = (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    for place in (Path.home(), tmp_path, Path.cwd(), runs.PROJECT):
        assert str(place) not in text
    found = strings(json.loads(text))
    assert not [s for s in found if Path(s).is_absolute() or re.match(r"[A-Za-z]:[\\/]|\\\\|~/", s)]


def test_commit_is_unknown_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert runs.commit() == "unknown"
    monkeypatch.setenv("PATH", "")  # not even git is there
    assert runs.commit() == "unknown"


def test_commit_has_a_plus_while_the_library_or_the_notebooks_differ(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    for folder in ("restoration_lib", "notebooks", "results"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("first")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    assert re.fullmatch(r"[0-9a-f]{10,}", clean := runs.commit())
    (tmp_path / "results" / "a.txt").write_text("second")
    assert runs.commit() == clean
    for path in (tmp_path / "restoration_lib" / "a.txt", tmp_path / "notebooks" / "new.ipynb"):
        path.write_text("second")
        assert runs.commit() == clean + "+"
        git("add", str(path))
        assert runs.commit() == clean + "+"
        git("reset", "--quiet", "--", ".")
        git("checkout", "--quiet", "--", ".")
        git("clean", "--quiet", "--force", "-d")
        assert runs.commit() == clean


@pytest.mark.parametrize("column", [[27.0, math.inf, 29.0], [math.inf] * 3])
@pytest.mark.parametrize("metric", ["psnr", "psnr_y", "round_trip", "identity"])
def test_the_psnr_of_a_perfect_image_survives_as_valid_json(tmp_path, metric, column):
    finish(tmp_path, rows=ROWS.assign(**{metric: column}), history=HISTORY)
    read_json(tmp_path)
    assert runs.rows([runs.read(tmp_path)])[metric].tolist() == column


def test_history_comes_back(tmp_path):
    finish(tmp_path, history=HISTORY)
    history = runs.read(tmp_path)["history"]
    assert history["step"].tolist() == [20, 40, 1234567]
    pd.testing.assert_frame_equal(history, HISTORY, rtol=1e-5)


def test_run_without_history_or_rows(tmp_path):
    finish(tmp_path, rows=None)
    record = runs.read(tmp_path)
    assert record["history"] is None and record["rows"] == [] and record["folder"] == tmp_path
    assert runs.rows([record]).empty


def test_no_record_if_the_history_cannot_be_written(tmp_path):
    (tmp_path / "history.csv" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError):
        finish(tmp_path, history=HISTORY)
    assert not (tmp_path / "run.json").exists()


def test_record_is_renamed_into_place_when_all_else_is_there(tmp_path, monkeypatch):
    moves, replace = [], os.replace

    def watched(source, target):
        assert not Path(target).exists()
        if Path(target).name == "run.json":
            json.loads(Path(source).read_text(encoding="utf-8"))  # whole before it takes its name
        moves.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    finish(tmp_path, history=HISTORY)
    assert moves == ["history.csv", "run.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"history.csv", "run.json"}


def test_history_and_record_are_on_the_disk_before_they_have_their_names(tmp_path, disk_calls):
    finish(tmp_path, history=HISTORY)
    folder, files = tmp_path.stat().st_ino, [(tmp_path / name).stat().st_ino for name in ("history.csv", "run.json")]
    assert disk_calls == [call for f in files for call in (("fsync", f), ("replace", f), ("fsync", folder))]


@pytest.mark.parametrize("fact", [{"skipped": ["caf\udce9.png: damaged"]}, {"sizes": {"a\nb\udce9": "c\ud800"}}])
def test_names_that_are_not_utf_8_are_recorded_with_backslashes(tmp_path, fact):
    record = finish(tmp_path, changes={"variant": "caf\udce9"}, **fact)
    assert record == read_json(tmp_path)
    assert record["parameters"]["variant"] == r"caf\xe9"
    assert record.get("skipped", [r"caf\xe9.png: damaged"]) == [r"caf\xe9.png: damaged"]
    assert record.get("sizes", {r"a\nb\xe9": r"c\ud800"}) == {r"a\nb\xe9": r"c\ud800"}


def test_a_record_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "run.json" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError):
        runs.Run(tmp_path, "03_test", {}).finish()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


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
    run = start("")
    assert run.folder.is_dir()
    assert run.folder.parent == tmp_path / "scratch" / "03_test"
    assert run.checkpoints.parent == run.folder
    assert start("").folder != run.folder


def test_scratch_lies_in_results_and_git_ignores_it():
    assert runs.SCRATCH == runs.PROJECT / "results" / "scratch"
    ignored = (runs.PROJECT / ".gitignore").read_text().splitlines()
    assert "results/*" in ignored and "!results/scratch/" not in ignored


def test_given_folder_is_taken_up_again(tmp_path):
    first = start(tmp_path / "a" / "run")
    first.checkpoints.mkdir()
    (first.checkpoints / "last.pt").write_bytes(b"state")
    again = start(tmp_path / "a" / "run")
    assert again.folder == first.folder
    assert (again.checkpoints / "last.pt").read_bytes() == b"state"


def test_the_record_of_an_earlier_run_goes_when_another_starts(tmp_path):
    finish(tmp_path)
    start(tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_only_names_of_the_parameters_cell_are_parameters(tmp_path):
    run = start(tmp_path, model=object(), np=np, _i1="rate = 0.5", __name__="__main__")
    assert run.parameters == PARAMETERS and list(run.parameters) == list(PARAMETERS)
    assert run.notebook == "03_test" and run.folder == tmp_path


def test_present_values_count_and_take_the_type_of_the_cell(tmp_path):
    run = start(tmp_path, rate=1, steps=7, losses={"l1": 2})
    assert run.parameters == PARAMETERS | {"rate": 1.0, "steps": 7, "losses": {"l1": 2}}
    assert type(run.parameters["rate"]) is float and type(run.parameters["steps"]) is int


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": "high"}, "rate: 'high' is str, 03_test wants float, as in 0.5"),
        ({"rate": True}, "rate: True is bool, 03_test wants float"),
        ({"steps": 1.0}, "steps: 1.0 is float, 03_test wants int"),
        ({"losses": [1.0]}, r"losses: \[1.0\] is list, 03_test wants dict"),
        ({"run_folder": None}, "run_folder: None is NoneType, 03_test wants str"),
    ],
)
def test_a_value_of_a_wrong_type_starts_nothing(tmp_path, changes, message):
    with pytest.raises(ExperimentError, match=message):
        start(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_a_missing_value_starts_nothing(tmp_path):
    values = {"run_folder": str(tmp_path / "run"), **PARAMETERS}
    del values["steps"], values["rate"]
    with pytest.raises(ExperimentError, match="03_test: no value for rate, steps; run the parameters cell first"):
        runs.start("03_test", values)
    assert not (tmp_path / "run").exists()


def test_the_notebook_lies_here_or_in_the_project(tmp_path, monkeypatch, write_notebook):
    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    write_notebook(tmp_path / "notebooks" / "03_test.ipynb", parameters="there = 1\nrun_folder = ''")
    values = {"there": 2, "run_folder": str(tmp_path / "run"), **PARAMETERS}
    assert runs.start("03_test", values).parameters == PARAMETERS
    monkeypatch.chdir(tmp_path)
    assert runs.start("03_test", values).parameters == {"there": 2}
    with pytest.raises(ExperimentError, match=re.escape(str(tmp_path / "notebooks" / "04_other.ipynb"))):
        runs.start("04_other", values)


class Taker:
    def __init__(self, *, rate, losses, depth=0, flip=False):
        raise AssertionError("its arguments are read, not given")


def test_arguments_are_the_parameters_of_the_same_names_and_all_options(tmp_path):
    assert start(tmp_path).arguments(Taker) == {"rate": 0.5, "flip": True, "losses": PARAMETERS["losses"]}
    run = start(tmp_path, options={"depth": 3})
    assert run.arguments(Taker) == {"rate": 0.5, "flip": True, "losses": PARAMETERS["losses"], "depth": 3}
    assert run.arguments(lambda steps, depth: None) == {"steps": 300, "depth": 3}
    run = runs.Run(tmp_path, "03_test", {"rate": 0.5, "steps": 300})  # a notebook without options
    assert run.arguments(Taker) == {"rate": 0.5}


def test_an_option_that_nothing_takes_is_refused_by_name(tmp_path):
    run = start(tmp_path, options={"width": 1, "depth": 3, "blocks": 2})
    with pytest.raises(ValueError) as caught:
        run.arguments(Taker)
    assert str(caught.value) == "options: Taker takes depth, and no blocks, width"


def test_an_option_that_has_a_line_of_its_own_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"^options: rate has a line of its own in the parameters cell$"):
        start(tmp_path, options={"rate": 0.1, "depth": 3}).arguments(Taker)


def test_charts_are_saved_and_shown_as_png(tmp_path):
    run, figure = start(tmp_path), Figure()
    figure.subplots().plot([1, 2])
    run.save_figure("losses", figure)
    shown = run.save_figure("losses", figure)  # a second time, in a folder that is there
    saved = (tmp_path / "figures" / "losses.png").read_bytes()
    assert saved.startswith(b"\x89PNG") and isinstance(shown, Image) and shown.data == saved
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["losses.png"]


def with_image(pixels):
    figure = Figure(figsize=(2, 1), dpi=50)
    axes = [figure.add_axes((0, 0, 0.5, 1)), figure.add_axes((0.5, 0, 0.5, 1))]
    axes[0].plot([1, 2])
    axes[1].imshow(pixels, aspect="auto")
    axes[1].set_axis_off()
    return figure


def test_figures_with_images_are_saved_as_what_is_smaller(tmp_path):
    """Noise as JPEG, at the best of its settings; an even colour as PNG. What was there before goes."""
    run, even = start(tmp_path), np.full((50, 50, 3), (200, 30, 60), np.uint8)
    shown = run.save_figure("images", with_image(even))
    assert shown.format == "png" and [path.name for path in (tmp_path / "figures").iterdir()] == ["images.png"]
    noise = np.random.default_rng(0).integers(0, 8, (50, 50, 3), dtype=np.uint8)
    shown = run.save_figure("images", with_image(even - noise))
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["images.jpg"]
    path = tmp_path / "figures" / "images.jpg"
    assert shown.data == path.read_bytes() and shown.format == "jpeg"
    with Pillow.open(path) as saved:
        assert saved.format == "JPEG" and JpegImagePlugin.get_sampling(saved) == 0  # colours at every pixel
        assert np.abs(np.asarray(saved)[5:45, 55:95].mean((0, 1)) - (196.5, 26.5, 56.5)).max() <= 2


def test_unfinished_run_cannot_be_read(tmp_path):
    start(tmp_path)
    with pytest.raises(FileNotFoundError):
        runs.read(tmp_path)


def test_read_all_takes_the_finished_runs_by_name(tmp_path):
    for name in ("b", "a", ".partial-c"):
        finish(tmp_path / name)
    start(tmp_path / "unfinished")
    (tmp_path / "table.md").write_text("no run")
    assert [record["folder"].name for record in runs.read_all(tmp_path)] == ["a", "b"]
    assert [record["folder"].name for record in runs.read_all(str(tmp_path))] == ["a", "b"]
    assert runs.read_all(tmp_path / "nothing here") == []


def test_rows_stand_beside_the_parameters_of_their_run(tmp_path):
    for name, rate in (("a", 0.5), ("b", 1.0)):
        finish(tmp_path / name, changes={"rate": rate})
    rows = runs.rows(runs.read_all(tmp_path))
    assert len(rows) == 6 and rows.index.tolist() == list(range(6))
    assert rows["rate"].tolist() == [0.5] * 3 + [1.0] * 3
    assert rows["image"].tolist() == ROWS["image"].tolist() * 2
    assert (rows["variant"] == "L1 + cosine").all() and rows["flip"].all()
    assert "mixed_pairs" not in rows  # a list is no value of a cell
    assert runs.rows([]).empty


def test_entries_of_dictionaries_stand_beside_the_rows_under_dotted_names(tmp_path):
    for name, options in (("a", {"l1": 1.0, "deep": {"x": 1}}), ("b", {"l1": 2.0, "list": [1]})):
        finish(tmp_path / name, changes={"options": options})
    rows = runs.rows(runs.read_all(tmp_path))
    assert rows["options.l1"].tolist() == [1.0] * 3 + [2.0] * 3
    assert rows["options.deep.x"].tolist()[:3] == [1] * 3 and rows["options.deep.x"].isna().tolist()[3:] == [True] * 3
    assert not {"options", "options.list", "options.deep", "losses"} & set(rows)


def test_a_parameter_that_the_notebook_does_not_have_is_refused(tmp_path):
    with pytest.raises(ExperimentError, match=r"03_test: steeps is no parameter; did you mean steps\?"):
        start(tmp_path, In=["", "# Parameters\nsteps = 3\nsteeps = 3\n"], steeps=3)
    with pytest.raises(ExperimentError, match=r"03_test: colour is no parameter$"):
        start(tmp_path, In=["", '# Parameters\ncolour = "red"\n'], colour="red")


def test_what_the_notebook_s_other_cells_set_is_no_parameter(tmp_path):
    """Starting once more in a live notebook finds the variables of its later cells."""
    cells = ["", "steps = 300", "# Parameters\nsteps = 3\n", "strips, step = [], 1"]
    assert start(tmp_path, In=cells, steps=3, strips=[], step=1).parameters["steps"] == 3


def test_a_column_of_the_rows_is_not_overwritten_by_a_parameter(tmp_path):
    finish(tmp_path, rows=ROWS.assign(rate=[1.0, 2.0, 3.0]))
    assert runs.rows([runs.read(tmp_path)])["rate"].tolist() == [1.0, 2.0, 3.0]
