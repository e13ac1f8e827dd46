"""A folder is one process's at a time, whatever happens to the process."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from restoration_lib.experiments import claims
from restoration_lib.experiments.notebooks import ExperimentError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "quick" / "losses"


def claim_of(folder):
    return folder.with_name(".losses.claim")


def test_a_claim_is_held_while_the_block_runs_and_leaves_nothing(folder):
    with claims.claimed(folder):
        with pytest.raises(ExperimentError, match=f"another sweep or report is running here, process {os.getpid()} on"):
            claims.claimed(folder).__enter__()
        assert not folder.exists(), "it is beside the folder, which may be removed and copied"
    with claims.claimed(folder), claims.claimed(folder.with_name("other")):
        pass
    assert list(folder.parent.iterdir()) == []


def test_a_claim_is_given_back_after_an_error(folder):
    with pytest.raises(KeyError), claims.claimed(folder):
        raise KeyError
    with claims.claimed(folder):
        pass


def test_the_claim_of_a_killed_process_is_taken_over(folder):
    code = f"""\
import pathlib, time
from restoration_lib.experiments.claims import claimed
with claimed(pathlib.Path({str(folder)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ExperimentError, match=f"process {process.pid} on"):
            claims.claimed(folder).__enter__()
        process.kill()
    with claims.claimed(folder):
        assert str(os.getpid()) in claim_of(folder).read_text()


def test_another_machines_claim_is_taken_over_after_a_minute_of_silence(folder):
    folder.parent.mkdir()
    claim_of(folder).write_text("elsewhere 1 abcd")
    with pytest.raises(ExperimentError, match=r"process 1 on elsewhere; if it is not, remove \.losses\.claim"):
        claims.claimed(folder).__enter__()
    silent = time.time() - claims.SILENCE - 5
    os.utime(claim_of(folder), (silent, silent))
    with claims.claimed(folder):
        assert claim_of(folder).read_text().startswith(f"{socket.gethostname()} {os.getpid()} ")


def test_a_claim_shows_that_it_lives(folder, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.05)
    with claims.claimed(folder):
        silent = time.time() - 1000
        os.utime(claim_of(folder), (silent, silent))
        time.sleep(0.5)
        assert claim_of(folder).stat().st_mtime > time.time() - 10


def test_one_of_many_that_find_an_old_claim_takes_it_over(folder):
    """Twenty threads at once, twice: never two inside, and somebody always gets in."""
    for _ in range(2):
        folder.parent.mkdir(exist_ok=True)
        claim_of(folder).write_text("elsewhere 1 abcd")
        silent = time.time() - 1000
        os.utime(claim_of(folder), (silent, silent))
        inside, most, got, start = [], [], [], threading.Barrier(20)

        def take(inside=inside, most=most, got=got, start=start):
            start.wait()
            try:
                with claims.claimed(folder):
                    inside.append(1)
                    most.append(len(inside))
                    got.append(1)
                    time.sleep(0.02)
                    inside.pop()
            except ExperimentError:
                pass

        threads = [threading.Thread(target=take) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(most) == 1 and got
        assert list(folder.parent.iterdir()) == []


def test_what_cannot_be_written_is_one_line(folder):
    folder.parent.mkdir()
    folder.write_text("a file")
    with pytest.raises(ExperimentError, match="losses: a folder is needed here, and this is a file"):
        claims.claimed(folder).__enter__()
    with pytest.raises(ExperimentError, match="cannot be written to: Not a directory"):
        claims.claimed(folder / "deeper" / "still").__enter__()
