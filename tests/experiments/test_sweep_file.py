"""The plan of a sweep, from files alone: its order, names, dictionaries, what it extends, and its faults."""

import hashlib

import pytest
import yaml

from restoration_lib.experiments import sweep_file
from restoration_lib.experiments.notebooks import ExperimentError

LOSSES = {"cycle": 10.0, "identity": 5.0, "rounds": 2}  # of the notebook


@pytest.fixture
def write_yaml(tmp_path):
    """Write a sweep's file with what is given and no more; return its path."""

    def write_yaml(name, **spec):
        path = tmp_path / "notebooks" / "sweeps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        return path

    return write_yaml


def parameters(path, profile="quick"):
    return [run.parameters for run in sweep_file.plan(path, profile)]


def test_order_of_cases_and_grid(write):
    cases = {"L1 + adversarial": {"weight": 2}, "plain": {}}
    path = write(cases=cases, grid={"rate": [1, 0.5], "seed": [0, 1]})
    runs = sweep_file.plan(path, "quick")
    assert [(r.parameters["variant"], r.parameters["rate"], r.parameters["seed"]) for r in runs] == [
        (case, rate, seed) for case in cases for rate in (1.0, 0.5) for seed in (0, 1)
    ]
    assert runs[0].name.startswith("l1-adversarial_rate-1.0_seed-0-")
    assert runs[0].parameters["weight"] == 2.0 and "weight" not in runs[-1].parameters
    assert isinstance(runs[0].parameters["rate"], float)


def test_profile_merges_base_and_grid_and_replaces_cases(write):
    full = {"base": {"steps": 20000}, "grid": {"seed": [0, 1, 2]}, "cases": {"b": {}}}
    path = write(
        base={"steps": 300, "flip": False},
        grid={"rate": [0.5], "seed": [0]},
        cases={"a": {}},
        profiles={"quick": {}, "full": full},
    )
    assert parameters(path, "full") == [
        {"steps": 20000, "flip": False, "variant": "b", "rate": 0.5, "seed": seed} for seed in range(3)
    ]
    assert [p["variant"] for p in parameters(path)] == ["a"]


def test_name_and_hash(write):
    [run] = sweep_file.plan(write(base={"steps": 7}, grid={"rate": [1]}), "quick")
    text = '{"notebook": "03_tiny", "parameters": {"rate": 1.0, "steps": 7}}'
    assert run.name == f"rate-1.0-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    [alone] = sweep_file.plan(write(), "quick")
    assert alone.name.startswith("run-") and alone.notebook.name == "03_tiny.ipynb"


def test_names_are_readable_and_short(write):
    path = write(cases={"../Ünder + " * 20: {}}, grid={"rate": [-0.5, 1e-05]})
    for run in sweep_file.plan(path, "quick"):
        assert len(run.name) < 90 and set(run.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
        assert run.name[0] not in ".-_"
    negative, small = sweep_file.plan(write(grid={"rate": [-0.5, 1e-05]}), "quick")
    assert negative.name.startswith("rate--0.5-") and small.name.startswith("rate-1e-05-")


def test_name_and_hash_of_a_dictionarys_entry(write):
    [run] = sweep_file.plan(write(grid={"losses.cycle": [5]}), "quick")
    text = '{"notebook": "03_tiny", "parameters": {"losses.cycle": 5.0}}'
    assert run.name == f"losses.cycle-5.0-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def test_dotted_names_change_one_entry_of_the_notebooks_dictionary(write):
    path = write(
        base={"losses.identity": 0},
        cases={"a": {"losses.rounds": 3}, "b": {}},
        grid={"losses.cycle": [1, 2.5]},
    )
    assert [(p["variant"], p["losses"]) for p in parameters(path)] == [
        ("a", {"cycle": 1.0, "identity": 0.0, "rounds": 3}),
        ("a", {"cycle": 2.5, "identity": 0.0, "rounds": 3}),
        ("b", {"cycle": 1.0, "identity": 0.0, "rounds": 2}),
        ("b", {"cycle": 2.5, "identity": 0.0, "rounds": 2}),
    ]
    entries = [type(value) for value in parameters(path)[0]["losses"].values()]
    assert entries == [float, float, int] and set(parameters(path)[0]) == {"variant", "losses"}


def test_a_dictionary_replaces_the_notebooks(write):
    path = write(base={"losses": {"l1": 1}})
    assert parameters(path) == [{"losses": {"l1": 1}}]
    path = write(base={"losses": {"l1": 1}}, grid={"losses.cycle": [1, 2]})
    assert [p["losses"] for p in parameters(path)] == [{"l1": 1, "cycle": 1.0}, {"l1": 1, "cycle": 2.0}]
    path = write(cases={"a": {"losses": {"l1": 1}}, "b": {}}, base={"losses.cycle": 0})
    assert [p["losses"] for p in parameters(path)] == [{"l1": 1}, LOSSES | {"cycle": 0.0}], "a case is over the base"


def test_new_entries_of_a_dictionary_have_any_type_and_keep_their_order(write):
    new = {"zebra": 1, "ant": "text", "mole": 0.5, "bee": True, "cat": [1, 2], "owl": {"deep": 1}, "yak": None}
    [found] = parameters(write(base={f"losses.{key}": value for key, value in new.items()}))
    assert found["losses"] == LOSSES | new and list(found["losses"]) == [*LOSSES, *new]
    assert type(found["losses"]["zebra"]) is int


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"base": {"step": 3}}, ["step:", "03_tiny.ipynb", "did you mean steps?"]),
        ({"base": {"rate": "2e-4"}}, ["rate:", "'2e-4'", "float", "write 2.0e-4"]),
        ({"base": {"rate": "1.5E3"}}, ["write 1.5e+3"]),
        ({"base": {"steps": "1e4"}}, ["steps:", "'1e4'", "int"]),
        ({"base": {"steps": 1.0}}, ["steps:", "1.0", "int"]),
        ({"base": {"steps": True}}, ["steps:", "True", "bool", "int"]),
        ({"base": {"rate": False}}, ["rate:", "False", "float"]),
        ({"base": {"flip": 1}}, ["flip:", "bool"]),
        ({"base": {"variant": 3}}, ["variant:", "str"]),
        ({"base": {"rate": None}}, ["rate:", "None"]),
        ({"base": {"run_folder": "x"}}, ["run_folder:"]),
        ({"base": {"seed": 1}, "grid": {"seed": [0]}}, ["seed:", "two places"]),
        ({"cases": {"a": {"variant": "b"}}}, ["variant:", "two places"]),
        ({"cases": {"a": {}}, "parameters": "varient = ''\nrun_folder = ''"}, ["variant:", "did you mean varient?"]),
        ({"cases": {"a": 3}}, ["cases.a"]),
        ({"grid": {"seed": 0}}, ["grid.seed", "list"]),
        ({"grid": {"seed": []}}, ["grid.seed", "list"]),
        ({"grid": {"rate": [1, 1.0]}}, ["two runs are equal"]),
        ({"bass": {}}, ["unknown key 'bass'"]),
        ({"base": 3}, ["base: 3 is not a mapping"]),
        ({"profiles": {"quick": {"notebook": "x"}}}, ["profiles.quick", "unknown key 'notebook'"]),
        ({"profiles": {"full": {}}}, ["profiles", "no 'quick'", "full"]),
        ({"profiles": {"quick": None}}, ["profiles.quick"]),
        ({"profiles": {"quick": {"grid": []}}}, ["profiles.quick.grid: [] is not a mapping"]),
        ({"notebook": "../missing.ipynb"}, ["notebook:", "missing.ipynb"]),
        ({"notebook": 3}, ["notebook:", "3"]),
        ({"publish": "some"}, ["publish", "'some'"]),
        ({"parameters": "run_folder = ''\nrate = 1 / 2"}, ["notebook:", "03_tiny.ipynb", "line 2"]),
        ({"base": {"losses.cycle": "2e-4"}}, ["losses.cycle:", "'2e-4'", "float", "10.0", "write 2.0e-4"]),
        ({"base": {"losses.rounds": 2.5}}, ["losses.rounds:", "2.5", "int"]),
        ({"grid": {"losses.cycle": [1, True]}}, ["losses.cycle:", "True", "bool", "float"]),
        ({"cases": {"a": {"loses.cycle": 1}}}, ["loses.cycle:", "did you mean losses?"]),
        ({"base": {"rate.low": 1}}, ["rate.low:", "names no entry of a dictionary in 03_tiny.ipynb"]),
        ({"base": {"losses": 3}}, ["losses:", "3", "dict"]),
        ({"base": {"losses.cycle": 1}, "grid": {"losses.cycle": [2]}}, ["losses.cycle:", "two places"]),
        ({"grid": {"losses.cycle": [1, 1.0]}}, ["two runs are equal"]),
        ({"extends": 3}, ["extends: 3 is not text"]),
    ],
)
def test_faults_are_named_on_one_line(write, run, tmp_path, spec, words):
    path = write(**spec)
    code, printed = run(path)
    assert code == 2 and printed.count("\n") == 1 and str(path) in printed
    assert [word for word in words if word not in printed] == []
    assert not (tmp_path / "results").exists()


def test_lists_none_and_whole_numbers_are_accepted(write):
    base = {"sizes": [3], "limit": "x", "rate": 1, "flip": False}
    [found] = parameters(write(base=base))
    assert found == base and type(found["rate"]) is float


@pytest.mark.parametrize("text", ["grid: [", "- a", "", "notebook: x\n"])
def test_broken_yaml(run, tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    code, printed = run(path)
    assert code == 2 and printed.count("\n") == 1 and str(path) in printed


LEVELS = [f"  a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 9)]
MERGES = [f"  a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}" for k in range(1, 9)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("{a: " * 400 + "1" + "}" * 400, "unknown key 'a'"),
        (
            "\n".join(["base:", "  a0: &a0 [x]", *LEVELS, "grid: *a8"]),
            "longer than 100000 characters, aliases counted each time",
        ),
        (
            "\n".join(["base:", "  a0: &a0 {x: y}", *MERGES, "grid: *a8"]),
            "longer than 100000 characters, aliases counted each time",
        ),
        (f"notebook: &a {'x' * 40000}\nbase: [*a, *a]", "longer than 100000 characters, aliases counted each time"),
        ("base: &a {losses: *a}", "longer than 100000 characters, aliases counted each time"),
    ],
    ids=["nested", "nested less", "aliases", "merges", "long text", "an alias of itself"],
)
def test_yaml_that_grows_without_end_is_refused_on_one_line(run, tmp_path, text, words):
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    code, printed = run(path)
    assert code == 2 and printed.count("\n") == 1 and str(path) in printed and len(printed) < 2000
    assert words in printed


def test_aliases_that_stay_small_are_taken(write):
    path = write()
    path.write_text("base: &a {steps: 3}\nnotebook: ../03_tiny.ipynb\nprofiles: {quick: {base: *a}, full: {base: *a}}")
    assert parameters(path) == parameters(path, "full") == [{"steps": 3}]


@pytest.mark.parametrize("profile", ["../../up", "..", ".", "", "/up", "a/b", "a\\b", ".hidden", "a\nb", "~"])
def test_a_profile_that_is_no_folders_name_is_refused(write, run, tmp_path, profile):
    path = write(profiles={"quick": {}, profile: {}})
    code, printed = run(path)
    assert code == 2 and printed.count("\n") == 1 and f"{path}: profiles: {profile!r} is no name of a folder" in printed
    with pytest.raises(ExperimentError, match="is no name of a folder"):
        sweep_file.read_yaml(path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"notebooks"}


def test_a_file_name_of_two_lines_makes_no_message_of_two(run, tmp_path):
    code, printed = run(tmp_path / "two\nlines.yaml")
    assert code == 2 and printed.startswith(rf"sweep: {tmp_path}/two\nlines.yaml: cannot be read: ")
    assert printed.count("\n") == 1


def test_every_sweep_is_checked_before_the_first_run(write, run, tmp_path):
    good, bad = write(name="tiny"), write(name="bad", base={"step": 1})
    code, printed = run(good, bad)
    assert code == 2 and str(bad) in printed and not (tmp_path / "results").exists()
    code, printed = run(good, good)
    assert code == 2 and "a second sweep of the name tiny" in printed  # one folder cannot hold two sweeps
    assert not (tmp_path / "results").exists()


def test_a_sweep_that_extends_merges_base_and_grid_and_replaces_the_rest(write, write_yaml):
    write(
        base={"steps": 300, "flip": False},
        grid={"rate": [0.5], "seed": [0, 1]},
        cases={"a": {}, "b": {}},
        publish="numbers",
        report={"columns": {"rate": {0.5: "low"}}, "tables": {"First": ["a"]}},
    )
    changes = {"base": {"steps": 20, "losses.cycle": 1}, "grid": {"seed": [7]}, "cases": {"c": {"weight": 2}}}
    other = write_yaml("other.yaml", extends="tiny.yaml", **changes)
    common = {"steps": 20, "flip": False, "losses": LOSSES | {"cycle": 1.0}, "rate": 0.5, "seed": 7}
    assert parameters(other) == [common | {"variant": "c", "weight": 2.0}]
    spec = sweep_file.read_yaml(other)
    assert spec["publish"] == "numbers" and spec["report"]["tables"] == {"First": ["a"]}
    report = {"columns": {"seed": {7: "seven"}}, "tables": {"Other": ["b"]}}
    other = write_yaml("other.yaml", extends="tiny.yaml", publish="all", report=report)
    spec = sweep_file.read_yaml(other)
    assert spec["publish"] == "all" and spec["report"] == report and "extends" not in spec
    assert [p["variant"] for p in parameters(other)] == ["a", "a", "b", "b"]


def test_profiles_of_a_sweep_that_extends_replace_the_others_and_change_what_was_merged(write, write_yaml):
    write(base={"steps": 300}, profiles={"quick": {"base": {"seed": 1}}, "full": {}})
    profiles = {"quick": {"base": {"steps": 5}, "grid": {"rate": [1]}}}
    other = write_yaml("other.yaml", extends="tiny.yaml", base={"weight": 3}, profiles=profiles)
    assert parameters(other) == [{"steps": 5, "weight": 3.0, "rate": 1.0}]
    with pytest.raises(ExperimentError, match="no 'full'"):
        sweep_file.plan(other, "full")


def test_a_sweep_extends_one_that_extends_another(write, write_yaml):
    write(base={"steps": 1, "seed": 1, "rate": 0.1})
    write_yaml("second.yaml", extends="tiny.yaml", base={"seed": 2, "rate": 0.2})
    third = write_yaml("third.yaml", extends="second.yaml", base={"rate": 0.3})
    assert parameters(third) == [{"steps": 1, "seed": 2, "rate": 0.3}]


def test_a_sweep_may_extend_what_is_no_sweep_alone(write, write_yaml):
    path = write()
    write_yaml("common.yaml", base={"steps": 3})
    other = write_yaml("other.yaml", extends="common.yaml", notebook="../03_tiny.ipynb", profiles={"quick": {}})
    assert parameters(other) == [{"steps": 3}] and parameters(path) == [{}]
    lacking = write_yaml("lacking.yaml", extends="common.yaml", notebook="../03_tiny.ipynb")
    with pytest.raises(ExperimentError, match="profiles: missing") as caught:
        sweep_file.plan(lacking, "quick")
    assert str(lacking) in str(caught.value)


def test_paths_count_from_the_file_that_names_them(write, write_notebook, write_yaml, tmp_path, monkeypatch):
    report = {"columns": {"seed": {7: "seven"}}, "tables": {"First": ["a"]}, "notebook": "../04_reads.ipynb"}
    write(report=report)
    notebooks = tmp_path / "notebooks"
    deeper = write_yaml("more/deep/other.yaml", extends="../../tiny.yaml")
    assert [run.notebook for run in sweep_file.plan(deeper, "quick")] == [notebooks / "03_tiny.ipynb"]
    spec = sweep_file.read_yaml(deeper)
    assert (spec["notebook"], spec["report"]["notebook"]) == (notebooks / "03_tiny.ipynb", notebooks / "04_reads.ipynb")
    write_notebook(deeper.parent / "near.ipynb")
    deeper = write_yaml("more/deep/other.yaml", extends="../../tiny.yaml", notebook="near.ipynb")
    assert [run.notebook for run in sweep_file.plan(deeper, "quick")] == [deeper.parent / "near.ipynb"]
    monkeypatch.chdir(deeper.parent.parent)
    assert [run.notebook for run in sweep_file.plan("deep/other.yaml", "quick")] == [deeper.parent / "near.ipynb"]


@pytest.mark.parametrize("through", ["other.yaml", "tiny.yaml", "../sweeps/other.yaml"])
def test_a_sweep_cannot_extend_itself(write, write_yaml, run, through):
    write(extends="other.yaml")
    code, printed = run(write_yaml("other.yaml", extends=through))
    assert code == 2 and printed.count("\n") == 1
    assert "other.yaml: extends: the file extends itself" in printed


def test_faults_of_an_extended_file_are_named_with_that_file(write, write_yaml, run):
    missing = write_yaml("other.yaml", extends="nowhere.yaml")
    code, printed = run(missing)
    assert code == 2 and printed.count("\n") == 1 and str(missing.with_name("nowhere.yaml")) in printed
    for fault, words in (({"base": [1]}, "base: [1] is not a mapping"), ({"bass": {}}, "unknown key 'bass'")):
        broken = write(name="broken", **fault)
        code, printed = run(write_yaml("other.yaml", extends="broken.yaml"))
        assert code == 2 and printed.count("\n") == 1 and f"{broken}: " in printed and words in printed


def test_the_file_that_the_docstring_shows_can_be_planned(write_notebook, write_yaml, tmp_path):
    text = sweep_file.__doc__.split("The YAML file:\n")[1].split("\n\nA dictionary")[0]
    spec = yaml.safe_load(text)
    assert set(spec) == set(sweep_file.SWEEP_KEYS)
    cell = "steps = 1\nlosses = {'cycle': 1.0}\nvariant = ''\nseed = 0\nrun_folder = ''"
    write_notebook(tmp_path / "notebooks" / "03_name.ipynb", parameters=cell)
    write_yaml("other.yaml", base={"steps": 5})
    found = parameters(write_yaml("name.yaml", **spec), "full")
    assert len(found) == 8 and {p["steps"] for p in found} == {20000}
    assert found[0]["losses"] == {"cycle": 5.0} and found[-1]["losses"] == {"l1": 2.0, "cycle": 10.0}
