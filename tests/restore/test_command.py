"""The command: files and folders in, a folder out; what goes wrong is a line each, and the exit code says so."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restoration_lib.__main__ import main
from restoration_lib.data import files
from restoration_lib.restore import command, weights


@pytest.fixture
def album(tmp_path, models, levels, monkeypatch):
    """A folder with three photographs and a broken one, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album" / "deep.jpg").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "deep.jpg/c.tif"):
        Image.fromarray(levels).save(tmp_path / "album" / name)
    (tmp_path / "album" / "broken.jpg").write_bytes((tmp_path / "album" / "b.jpg").read_bytes()[:1000])
    return tmp_path / "album"


def run(*arguments):
    return main(["restore", *map(str, arguments)])


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_a_folder_is_restored_and_what_is_broken_passed_over(album, capsys):
    assert run("album", "-o", "out", "--model", "shuffled") == 1
    assert written("out") == ["a.png", "b.jpg", "deep.jpg/c.tif"]
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith(
        "restore: album/broken.jpg: cannot be read as an image"
    )
    assert "album/a.png -> out/a.png: shuffled: 83 x 61 px\n" in captured.out and captured.out.count("\n") == 3
    before, after = (np.asarray(Image.open(folder / Path("a.png"))) for folder in (Path("album"), Path("out")))
    assert before.shape == after.shape and (before != after).any()


def test_all_well_is_code_0_and_what_is_there_can_be_skipped(album, capsys):
    assert run("album/a.png", "album/b.jpg", "-o", "out", "--model", "shuffled,enlarge-2x") == 0
    first = {path: os.stat(path).st_mtime_ns for path in Path("out").iterdir()}
    capsys.readouterr()
    assert run("album/a.png", "album/b.jpg", "-o", "out", "--model", "shuffled", "--skip-existing") == 0
    assert capsys.readouterr().out == "" and {p: os.stat(p).st_mtime_ns for p in Path("out").iterdir()} == first
    assert run("album/a.png", "-o", "out", "--model", "shuffled") == 0
    assert os.stat("out/a.png").st_mtime_ns != first[Path("out/a.png")]


def test_masks_and_comparisons_lie_beside(album):
    assert run("album/a.png", "album/b.jpg", "-o", "out", "--model", "scratches", "--save-mask", "--compare") == 0
    beside = [f"{name}{end}" for name in ("a.png", "b.jpg") for end in ("", ".compare.jpg", ".mask.png")]
    assert written("out") == sorted(beside)
    assert run("album/a.png", "-o", "again", "--model", "scratches", "--mask", "out/a.png.mask.png") == 0
    mask = np.asarray(Image.open("out/a.png.mask.png")) > 0
    before, after = (np.asarray(Image.open(f"{folder}/a.png")) for folder in ("album", "again"))
    np.testing.assert_array_equal(before[~mask], after[~mask])


def test_what_lies_in_the_folder_out_is_no_photograph_to_restore(album):
    (album / "broken.jpg").unlink()
    for _ in range(2):
        assert run("album", "-o", "album/restored", "--model", "shuffled") == 0
    assert written("album/restored") == ["a.png", "b.jpg", "deep.jpg/c.tif"]


def test_no_photograph_goes_where_another_is(album, capsys):
    before = {path: path.read_bytes() for path in album.rglob("*") if path.is_file()}
    assert run("album/a.png", "-o", "album", "--model", "shuffled") == 1
    assert "choose another folder" in capsys.readouterr().err
    assert run("album", "-o", "album", "--model", "shuffled") == 1
    assert "album: lies in album" in capsys.readouterr().err
    Path("other").mkdir()
    Image.new("RGB", (9, 9)).save("other/a.png")
    assert run("album/a.png", "other/a.png", "-o", "out", "--model", "shuffled") == 1
    assert Image.open("out/a.png").size == (83, 61) and capsys.readouterr().err.count("\n") == 1
    assert {path: path.read_bytes() for path in album.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.jpg"], "missing.jpg: cannot be read as an image (No such file or directory)"),
        (["loop.jpg"], "loop.jpg: cannot be read as an image (Too many levels of symbolic links)"),
        (["empty"], "empty: no images in it or below it"),
        (["album/a.png", "--mask", "missing.png"], "missing.png: cannot be read as an image (No such file"),
    ],
)
def test_what_cannot_be_read_is_one_line(album, capsys, arguments, message):
    Path("loop.jpg").symlink_to("loop.jpg")
    Path("empty").mkdir()
    assert run(*arguments, "-o", "out", "--model", "scratches") == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["album/a.png", "-o", "album/b.jpg"], "album/b.jpg: is not a folder"),
        (["album", "-o", "out", "--mask", "m.png"], "--mask: is for one photograph"),
        (["album/a.png", "album/b.jpg", "-o", "out", "--mask", "m.png"], "--mask: is for one photograph"),
    ],
)
def test_wrong_use_is_code_2_before_anything_is_done(album, capsys, arguments, message):
    assert run(*arguments) == 2
    assert capsys.readouterr().err == f"restore: {message}\n" and not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "scratched"], "argument --model: model: expected any of scratches, faded"),
        (["--strength", "2"], "argument --strength: strength: expected a number from 0 to 1, got 2.0"),
        (["--threshold", "nan"], "argument --threshold: threshold: expected"),
        (["--threshold", "high"], "argument --threshold: could not convert string to float: 'high'"),
        (["--mask", "m.png", "--save-mask"], "argument --save-mask: not allowed with argument --mask"),
    ],
)
def test_wrong_arguments_end_with_one_message(album, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        run("album", "-o", "out", *arguments)
    assert caught.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_without_models_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(weights, "MODELS", {})
    monkeypatch.setattr(command, "MODELS", {})
    assert run("a.jpg", "-o", "out") == 2
    assert capsys.readouterr().err == "restore: no weights are shipped yet\n"


def test_a_full_disk_and_a_target_that_cannot_be_are_a_line_each(album, capsys, monkeypatch):
    Path("out").mkdir()
    Path("out/deep.jpg").touch()
    (album / "broken.jpg").unlink()
    assert run("album", "-o", "out", "--model", "shuffled") == 1
    assert capsys.readouterr().err == "restore: out/deep.jpg/c.tif: cannot be written (File exists)\n"

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run("album", "-o", "full", "--model", "shuffled") == 1
    captured = capsys.readouterr()
    assert captured.err.count("No space left on device") == captured.err.count("\n") == 3 and captured.out == ""
    assert written("full") == []


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator:\ncan't allocate memory")])
def test_the_others_do_not_wait_in_vain(album, capsys, monkeypatch, error):
    restore_photo = command.restore_photo

    def fails(source, *arguments, **options):
        if source.name == "a.png":
            raise error
        return restore_photo(source, *arguments, **options)

    monkeypatch.setattr(command, "restore_photo", fails)
    assert run("album/a.png", "album/b.jpg", "-o", "out", "--model", "shuffled") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("restore: album/a.png: ") and captured.err.count("\n") == 1
    assert written("out") == ["b.jpg"]


def test_stopped_by_hand_it_leaves_no_half_a_file(album, capsys, monkeypatch):
    def stops(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stops)
    assert run("album/a.png", "-o", "out", "--model", "shuffled") == 130
    assert capsys.readouterr().err == "restore: stopped\n" and written("out") == []


def test_names_that_are_no_text_are_shown_in_one_line(album, capsys):
    name = b"caf\xe9\n.png"
    Path(os.fsdecode(name)).write_bytes((album / "a.png").read_bytes())
    assert run(os.fsdecode(name), "-o", "out", "--model", "shuffled") == 0
    assert capsys.readouterr().out.startswith("caf\\xe9\\n.png -> out/caf\\xe9\\n.png: ")


@pytest.mark.slow
def test_it_starts_fast():
    """Without torch until a photograph is restored, and never with what only notebooks and sweeps need."""
    never = {"pandas", "matplotlib", "dask", "IPython", "skimage", "scipy"}
    code = f"""
import sys
from restoration_lib.restore import photo, weights
from restoration_lib.__main__ import main
from restoration_lib.data.files import list_images
main(["restore", "missing.jpg", "-o", "out"])
print(({never} | {{"torch"}}) & sys.modules.keys())
import numpy as np
import restoration_lib.restore.damage, restoration_lib.restore.colour, restoration_lib.restore.look
import restoration_lib.restore.photograph, restoration_lib.networks.srresnet, restoration_lib.networks.picker
import restoration_lib.networks.resnet
print({never} & sys.modules.keys())
"""
    project = Path(files.__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, timeout=120)
    assert ended.stdout == "set()\nset()\n", ended.stderr


def test_it_is_a_module_of_its_own_too():
    project = Path(files.__file__).parents[2]
    arguments = [sys.executable, "-m", "restoration_lib.restore", "--help"]
    ended = subprocess.run(arguments, cwd=project, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0 and "--skip-existing" in ended.stdout
