"""What tests of several folders share."""

import os

import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture
def disk_calls(monkeypatch):
    """What is flushed to the disk and renamed, in order: ("fsync" or "replace", inode)."""
    calls, fsync, replace = [], os.fsync, os.replace

    def watched_fsync(number):
        calls.append(("fsync", os.fstat(number).st_ino))
        fsync(number)

    def watched_replace(source, target):
        calls.append(("replace", os.stat(source).st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return calls
