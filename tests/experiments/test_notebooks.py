"""Notebooks as files: the parameters cell, types, links and figures."""

import base64
import json

import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.display import Image

from restoration_lib.experiments import notebooks

PNG = base64.b64decode(  # one red pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
LITERALS = {
    "rate": 0.5,
    "steps": 1,
    "flip": True,
    "sizes": (1, 2),
    "limit": None,
    "losses": {"cycle": 10.0},
    "options": {},
}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("rate = 0.5", "run_folder"),
        ("run_folder = None", "run_folder"),
        ("run_folder = 'x'\nrate = 1 / 2", "line 2"),
        ("run_folder = 'x'\na = b = 1", "line 2"),
        ("run_folder = 'x'\nprint(1)", "line 2"),
        ("run_folder = 'x'\nrate = = 1", "line 2"),
    ],
)
def test_parameters_cell_holds_literals_only(write_notebook, tmp_path, parameters, words):
    path = write_notebook(tmp_path / "03_tiny.ipynb", parameters=parameters)
    with pytest.raises(notebooks.ExperimentError, match=words) as caught:
        notebooks.parameters_cell(path)
    assert "03_tiny.ipynb" in str(caught.value) and "\n" not in str(caught.value)


def test_parameters_cell_gives_names_and_literals_in_their_order(write_notebook, tmp_path):
    cell = "b = -1  # two\na = {'x': (1, None)}\n\nrun_folder = ''  # where"
    literals = notebooks.parameters_cell(write_notebook(tmp_path / "a.ipynb", "c = b", parameters=cell, text="words"))
    assert list(literals.items()) == [("b", -1), ("a", {"x": (1, None)}), ("run_folder", "")]


def test_a_notebook_without_a_parameters_cell(tmp_path):
    path = tmp_path / "plain.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    with pytest.raises(notebooks.ExperimentError, match="0 cells tagged"):
        notebooks.parameters_cell(path)


@pytest.mark.parametrize("text", [None, "no JSON", "{}", '{"cells": [{}]}', "[]"])
def test_what_is_no_notebook_is_named_on_one_line(tmp_path, text):
    path = tmp_path / "broken.ipynb"
    if text is not None:
        path.write_text(text)
    with pytest.raises(notebooks.ExperimentError, match="cannot be read") as caught:
        notebooks.parameters_cell(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", 0.25),
        ("steps", 7),
        ("flip", False),
        ("sizes", (3,)),
        ("sizes", [3]),
        ("limit", None),
        ("limit", 3),
        ("limit", "text"),
        ("limit", [1]),
        ("losses.cycle", 0.0),
        ("losses.new", 0.5),
        ("options.new", 3),
        ("options.new", "text"),
    ],
)
def test_values_of_the_literals_type_stay_what_they_are(name, value):
    assert notebooks.typed(name, value, LITERALS, "03") is value


def test_the_entries_of_a_dictionary_are_typed_too():
    assert notebooks.typed("losses", {}, LITERALS, "03") == {}
    assert [type(v) for v in notebooks.typed("losses", {"cycle": 1, "new": 2}, LITERALS, "03").values()] == [
        float,
        float,
    ]
    with pytest.raises(notebooks.ExperimentError, match=r"losses\.new: '1e-3' is str, 03 wants float.*write 1\.0e-3"):
        notebooks.typed("losses", {"new": "1e-3"}, LITERALS, "03")
    with pytest.raises(notebooks.ExperimentError, match=r"losses: '\{l1: 1\}' is str.*papermill takes .* by -y"):
        notebooks.typed("losses", "{l1: 1}", LITERALS, "03")


@pytest.mark.parametrize("name", ["rate", "losses.cycle"])
def test_a_whole_number_serves_for_a_fraction(name):
    value = notebooks.typed(name, 3, LITERALS, "03")
    assert value == 3 and type(value) is float


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rate", "1e-3", "rate: '1e-3' is str, 03 wants float, as in 0.5; YAML reads 1e-3 as text, write 1.0e-3"),
        ("rate", "fast", "rate: 'fast' is str, 03 wants float, as in 0.5"),
        ("rate", True, "rate: True is bool, 03 wants float, as in 0.5"),
        ("steps", 1.0, "steps: 1.0 is float, 03 wants int, as in 1"),
        ("flip", 0, "flip: 0 is int, 03 wants bool, as in True"),
        ("sizes", 3, "sizes: 3 is int, 03 wants tuple, as in (1, 2)"),
        ("limit", {1}, "limit: {1} is set, 03 wants a value"),
        ("losses", [1], "losses: [1] is list, 03 wants dict, as in {'cycle': 10.0}"),
        ("losses.cycle", "x", "losses.cycle: 'x' is str, 03 wants float, as in 10.0"),
        ("rate.low", 1, "rate.low: names no entry of a dictionary in 03"),
        ("step", 1, "step: no such parameter in 03; did you mean steps?"),
        ("loss.cycle", 1, "loss.cycle: no such parameter in 03; did you mean losses?"),
        ("quite_another", 1, "quite_another: no such parameter in 03"),
    ],
)
def test_values_of_another_type_are_refused(name, value, message):
    with pytest.raises(notebooks.ExperimentError) as caught:
        notebooks.typed(name, value, LITERALS, "03")
    assert str(caught.value) == message


def relinked(text, before, after):
    """The text of a Markdown cell after its links have moved; a code cell of the same text must stay."""
    code = {"cell_type": "code", "source": text, "outputs": []}
    notebook = {"cells": [{"cell_type": "markdown", "source": text.splitlines(keepends=True)}, dict(code)]}
    notebooks.relink(notebook, before, after)
    assert notebook["cells"][1] == code
    return "".join(notebook["cells"][0]["source"])


def test_links_lead_to_the_same_from_another_folder(tmp_path):
    before, after = tmp_path / "notebooks", tmp_path / "results" / "quick" / "run"
    for path in (
        before / "04.ipynb",
        before / "sweeps" / "a.yaml",
        tmp_path / "README.md",
        after / "figures" / "a.png",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    moved = {
        "[a](04.ipynb)": "[a](../../../notebooks/04.ipynb)",
        "[a](sweeps/a.yaml), [b](../README.md)": "[a](../../../notebooks/sweeps/a.yaml), [b](../../../README.md)",
        "# A title\n![a](../results/quick/run/figures/a.png)": "# A title\n![a](figures/a.png)",
        "[a](sweeps)": "[a](../../../notebooks/sweeps)",
        "[a](04.ipynb#the-end)": "[a](../../../notebooks/04.ipynb#the-end)",
    }
    for text, expected in moved.items():
        assert relinked(text, before, after) == expected
        assert relinked(expected, after, before) == text
    assert relinked("[a](./04.ipynb)", before, after) == "[a](../../../notebooks/04.ipynb)"


@pytest.mark.parametrize(
    "link", ["gone.md", "gone.md#a", "#a", "https://a.org/04.ipynb", "http://a.org", "mailto:a@a.org", "/04.ipynb", ""]
)
def test_links_to_nothing_here_stay(tmp_path, link):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "04.ipynb").touch()
    text = f"[a]({link}) and (04.ipynb), `04.ipynb`"
    assert relinked(text, tmp_path / "notebooks", tmp_path / "results") == text


def shown(*images):
    """A notebook that shows these images, each as the kernel sends it to the notebook."""
    outputs = []
    for image in images:
        data, metadata = DisplayFormatter().format(image)
        outputs.append({"output_type": "display_data", "data": data, "metadata": metadata})
    return json.loads(json.dumps({"cells": [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": outputs}]}))


def test_an_output_that_equals_a_saved_figure_becomes_a_link(tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("losses.png", "images.jpg"):
        (tmp_path / "figures" / name).write_bytes(PNG if name == "losses.png" else b"\xff\xd8\xff\xe0 a photograph")
    notebook = shown(*(Image(filename=tmp_path / "figures" / name) for name in ("losses.png", "images.jpg")))
    kinds = [set(output["data"]) for output in notebook["cells"][1]["outputs"]]
    assert kinds == [{"image/png", "text/plain"}, {"image/jpeg", "text/plain"}]
    notebooks.link_figures(notebook, tmp_path)
    assert notebook["cells"][1]["outputs"] == [
        {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": text, "text/plain": plain}}
        for text, plain in (
            ("![losses](figures/losses.png)", "figures/losses.png"),
            ("![images](figures/images.jpg)", "figures/images.jpg"),
        )
    ]


def test_other_outputs_stay(tmp_path):
    notebook = shown(Image(data=PNG + b"another", format="png"), "a text")
    notebook["cells"][1]["outputs"] += [
        {"output_type": "stream", "name": "stdout", "text": "said"},
        {
            "output_type": "display_data",
            "data": {"image/png": [*base64.encodebytes(b"other").decode().splitlines(True)]},
        },
    ]
    before = json.dumps(notebook)
    notebooks.link_figures(notebook, tmp_path)  # a run without figures
    assert json.dumps(notebook) == before
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "losses.png").write_bytes(PNG)
    notebooks.link_figures(notebook, tmp_path)
    assert json.dumps(notebook) == before


def test_an_image_that_is_written_in_lines_is_found_too(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "losses.png").write_bytes(PNG)
    lines = base64.encodebytes(PNG).decode().splitlines(keepends=True)
    notebook = {"cells": [{"outputs": [{"data": {"image/png": lines, "text/html": "<img>"}}]}]}
    notebooks.link_figures(notebook, tmp_path)
    [output] = notebook["cells"][0]["outputs"]
    assert output["data"]["text/markdown"] == "![losses](figures/losses.png)" and len(output["data"]) == 2


def test_a_run_is_complete_when_its_record_stands(tmp_path):
    assert not notebooks.is_complete(tmp_path)
    (tmp_path / "run.json").touch()
    assert notebooks.is_complete(tmp_path) and not notebooks.is_complete(tmp_path / "nothing")


def test_a_fault_is_one_line_whatever_it_names():
    assert str(notebooks.ExperimentError("a\nb\udce9.yaml: no")) == r"a\nb\xe9.yaml: no"
