"""Names that cannot be printed, homes that do not exist, and the order in which a file reaches the disk."""

import os
from pathlib import Path

import pytest

from restoration_lib.filesystem import expanded, replacing, shown, write_durably


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"caf\xe9.png", r"caf\xe9.png"),
        ("café 東京 🖼.png".encode(), "café 東京 🖼.png"),
        (b"two\nlines\r\t\x1b[31m\x00\x7f", r"two\nlines\r\t\x1b[31m\x00\x7f"),
        ("next\x85line\u2028paragraph\u2029".encode(), r"next\x85line\u2028paragraph\u2029"),
        (b"back\\slash", "back\\slash"),
    ],
)
def test_any_name_is_shown_on_one_line_of_utf_8(name, text):
    found = shown(Path(os.fsdecode(name)))
    assert found == text and shown(found) == found
    assert len(found.encode().splitlines()) == 1


def test_a_surrogate_that_is_no_byte_is_shown_too():
    assert shown("\ud83d") == r"\ud83d"


def test_the_home_of_nobody_is_a_folder_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("HOME", "/here")
    assert expanded("~/x") == Path("/here/x") and expanded(Path("~")) == Path("/here")
    assert expanded("~nosuchuser/x") == Path("~nosuchuser/x")


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_after(tmp_path, disk_calls):
    path = tmp_path / "a.txt"
    write_durably(path, lambda temporary: temporary.write_text("whole"))
    assert path.read_text() == "whole" and [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert disk_calls == [("fsync", file), ("replace", file), ("fsync", folder)]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        write_durably(path, fail)
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_two_who_write_at_once_have_names_of_their_own(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as other:
        assert one != other and one.parent == other.parent == tmp_path and one.name.startswith(".a.txt.")
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_flushed_is_no_fault(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("invalid argument")

    monkeypatch.setattr(os, "open", refuse)
    write_durably(tmp_path / "a.txt", lambda temporary: temporary.write_text("whole"))
    assert (tmp_path / "a.txt").read_text() == "whole"
