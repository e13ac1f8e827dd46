"""Arrays in a temporary file: as others, and not resident."""

import os
from pathlib import Path

import numpy as np
import pytest

from restoration_lib.data.files import ImageError
from restoration_lib.restore import large


def test_a_small_one_is_an_ordinary_array(tmp_path):
    made = large.large_array((3, 4, 3), np.uint16, tmp_path)
    assert type(made) is np.ndarray and made.shape == (3, 4, 3) and made.dtype == np.uint16
    large.let_go(made)


def test_a_large_one_lies_in_a_file_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "IN_MEMORY", 1000)
    made = large.large_array((40, 50, 3), np.uint16, tmp_path)
    made[:] = np.arange(6000).reshape(40, 50, 3)
    large.let_go(made[3:])
    assert made.flatten().tolist() == list(range(6000)) and list(tmp_path.iterdir()) == []
    assert isinstance(made, np.memmap)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_what_is_let_go_is_not_resident(tmp_path, monkeypatch):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    monkeypatch.setattr(large, "IN_MEMORY", 1000)
    made = large.large_array((2**26,), np.uint8, tmp_path)
    made[:] = 7
    before = resident()
    large.let_go(made)
    assert before - resident() > 2**25 and made[2**25] == 7


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no posix_fallocate here")
def test_a_disk_without_room_is_one_line(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ImageError, match=r"has no room for 2\.0 GB meanwhile \(No space left on device\)"):
        large.large_array((2_000_000_000,), np.uint8, tmp_path)
    with pytest.raises(ImageError, match="has no room"):
        large.large_array((2_000_000_000,), np.uint8, tmp_path / "missing")
