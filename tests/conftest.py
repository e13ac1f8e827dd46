"""What tests of several folders share."""

import os
from collections import Counter

import matplotlib
import pytest

matplotlib.use("Agg")


def pytest_collection_modifyitems(items):
    """Files with many slow tests first: of several processes that share the files, none is left with a long one."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(optionalhook=True)  # there is no such hook where pytest runs without xdist
def pytest_xdist_auto_num_workers(config):
    """One more than there are cores, four at most: tests of kernels, clusters and commands wait for them much of the
    time."""
    return min(4, (os.cpu_count() or 1) + 1)


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
