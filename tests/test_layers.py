"""The layers of the library: a module imports from its own and the ones above, and from nothing below."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "restoration_lib"
LAYERS = [  # from top to bottom: each may import those above it
    "checks",
    "progress",
    "filesystem",
    "degradations",
    "data",
    "devices",
    "networks",
    "losses",
    "methods",
    "training",
    "evaluation",
    "plots",
    "experiments",
    "restore",
    "warm_kernel",
    "__main__",
]


def modules(library: Path) -> dict[str, Path]:
    """The file of each module by its name from the library on, "data.files", a package under its own name, "data"."""
    found = {}
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(library: Path) -> Iterator[tuple[str, str, str]]:
    """Module, imported module and place of each import of the library in itself, those inside functions too."""
    known = modules(library)
    for module, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(library.parent)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{where}: a relative import, which this test does not follow"
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for target in targets:
                package, _, inner = target.partition(".")
                if package == library.name and inner:
                    yield module, imported(inner, known), where


def imported(name: str, known: dict[str, Path]) -> str:
    """The module that a dotted name comes from: itself, or the package above that has names of its own."""
    package = name.rpartition(".")[0]
    own_names = package in known and known[package].name == "__init__.py" and known[package].stat().st_size > 0
    return name if name in known and not own_names else package


def downward(library: Path) -> list[str]:
    """The imports of a layer below the importing one, each as place and arrow."""
    depth = {layer: k for k, layer in enumerate(LAYERS)}
    return [
        f"{where}: {module} -> {target}"
        for module, target, where in imports(library)
        if module and depth[module.partition(".")[0]] < depth[target.partition(".")[0]]
    ]


def circle(library: Path) -> list[str]:
    """Modules of one layer that import each other in a circle, the first again at the end; [] where there are none."""
    graph: dict[str, set[str]] = {}
    for module, target, _ in imports(library):
        if module.partition(".")[0] == target.partition(".")[0]:
            graph.setdefault(module, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_module_has_its_layer():
    layers = {module.partition(".")[0] for module in modules(LIBRARY)} - {""}
    assert layers == set(LAYERS)
    assert not (LIBRARY / "__init__.py").read_text(), "it would be above all layers and import some below"


def test_no_module_imports_from_a_layer_below():
    assert downward(LIBRARY) == []


def test_modules_of_one_package_do_not_import_each_other_in_a_circle():
    assert circle(LIBRARY) == []


def test_imports_are_found_where_they_are():
    """Some that are there, one inside a function: a walk that finds nothing would be content with everything."""
    found = {(module, target) for module, target, _ in imports(LIBRARY)}
    expected = {
        ("evaluation.metrics", "evaluation.lpips"),
        ("evaluation.lpips", "networks.vgg"),
        ("degradations", "degradations.ageing"),
        ("data.batches", "degradations"),
        ("experiments.publish", "experiments.runs"),
        ("__main__", "experiments.sweep"),
    }
    assert expected <= found


@pytest.fixture
def library(tmp_path):
    """A small library of the same name, every file of which is given."""

    def library(**files):
        for name, text in files.items():
            path = tmp_path / "restoration_lib" / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "restoration_lib"

    return library


@pytest.mark.parametrize(
    ("text", "arrow"),
    [
        ("import restoration_lib.plots", "checks.py:1: checks -> plots"),
        ("def f():\n    from restoration_lib import plots\n", "checks.py:2: checks -> plots"),
        ("if True:\n\n    from restoration_lib.plots import curves\n", "checks.py:3: checks -> plots"),
        ("import math, restoration_lib.methods.base as base", "checks.py:1: checks -> methods.base"),
        ("from restoration_lib.methods import base", "checks.py:1: checks -> methods.base"),
        ("from restoration_lib.data import name", "checks.py:1: checks -> data"),
        ("from restoration_lib.data import files", "checks.py:1: checks -> data"),
    ],
)
def test_an_import_of_a_layer_below_is_found_with_file_and_arrow(library, text, arrow):
    files = {"methods__in____init__": "", "methods__in__base": "", "data__in____init__": "name = 1"}
    path = library(checks=text, plots="curves = 1", data__in__files="", **files)
    assert downward(path) == [f"restoration_lib/{arrow}"]


def test_imports_of_the_layers_above_are_content(library):
    text = "from restoration_lib import checks\nfrom restoration_lib.checks import check\nimport math\n"
    assert downward(library(checks="check = 1", plots=text, experiments__in__runs=text)) == []


def test_a_circle_within_a_package_is_found(library):
    files = {
        "data__in____init__": "",
        "data__in__a": "from restoration_lib.data import b",
        "data__in__b": "def f():\n    from restoration_lib.data.c import name",
        "data__in__c": "name = 1",
    }
    assert circle(library(**files)) == []
    found = circle(library(data__in__c="import restoration_lib.data.a"))
    assert found[0] == found[-1] and set(found) == {"data.a", "data.b", "data.c"}


def test_a_module_that_imports_its_own_package_is_a_circle(library):
    files = {"data__in____init__": "from restoration_lib.data.a import name", "data__in__a": "name = 1"}
    assert circle(library(**files)) == []
    found = circle(library(data__in__a="from restoration_lib.data import name"))
    assert set(found) == {"data", "data.a"}


@pytest.mark.slow
def test_experiments_import_no_torch():
    """Sweeps, reports and the start of a run answer at once, and on a machine without torch's gigabytes too."""
    for module, path in modules(LIBRARY).items():
        if module.partition(".")[0] == "experiments":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = (
                    [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
                )
                assert not {"torch", "torchvision"} & {str(name).partition(".")[0] for name in names}, module
    names = ", ".join(f"restoration_lib.{name}" for name in modules(LIBRARY) if name.startswith("experiments."))
    code = f"import sys, {names}; print(sorted({{'torch', 'torchvision'}} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY.parent, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
