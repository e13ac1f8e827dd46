"""A folder of results claimed by one process at a time, on this machine or on any that sees the folder."""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restoration_lib.experiments.notebooks import ExperimentError
from restoration_lib.filesystem import replacing

BEAT = 10.0  # seconds between two signs of life
SETTLE = 0.5  # seconds until all who found a claim left at the same moment have written their own
SILENCE = 60.0  # seconds without one after which a claim is nobody's


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold `folder` while the block runs, by a file beside it, `.NAME.claim`, made atomically and touched meanwhile.

    A claim whose process is gone, or which has not been touched for a minute, is taken over.

    Raises:
        ExperimentError: another process holds it, or the folder cannot be written to.
    """
    path = folder.with_name(f".{folder.name}.claim")
    mine = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"
    if folder.exists() and not folder.is_dir():
        raise ExperimentError(f"{folder}: a folder is needed here, and this is a file")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        while not _create(path, mine) and not (_is_left(path, folder) and _take_over(path, mine)):
            pass
    except OSError as error:
        raise ExperimentError(f"{folder}: cannot be written to: {error.strerror}") from None
    released = threading.Event()
    beat = threading.Thread(target=_keep_alive, args=(path, released), daemon=True)
    beat.start()
    try:
        yield
    finally:
        released.set()
        beat.join()
        if _read(path) == mine:  # else this process slept so long that another took over
            path.unlink(missing_ok=True)


def _create(path: Path, text: str) -> bool:
    try:
        with open(path, "x") as file:  # atomic, over a network's file system too
            file.write(text)
    except FileExistsError:
        return False
    return True


def _is_left(path: Path, folder: Path) -> bool:
    """Whether nobody holds the claim any more; False if it has just gone, ExperimentError if somebody holds it."""
    holder = _read(path)
    if holder is None:
        return False
    host, process, _ = [*holder.split(), "", "", ""][:3]
    gone = host == socket.gethostname() and process.isdigit() and not lives(int(process))
    if not gone and _age(path) < SILENCE:
        raise ExperimentError(
            f"{folder}: another sweep or report is running here, process {process} on {host}; "
            f"if it is not, remove {path.name} beside it"
        )
    return True


def _take_over(path: Path, mine: str) -> bool:
    """Put a claim in the place of one that is left; of several who do so at once the last one has it."""
    with replacing(path) as unfinished:
        unfinished.write_text(mine)
    time.sleep(SETTLE)
    return _read(path) == mine


def lives(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def _age(path: Path) -> float:
    """Seconds since the claim was touched, both times by the clock of the file system: machines' clocks differ."""
    probe = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    probe.touch()
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink()


def _keep_alive(path: Path, released: threading.Event) -> None:
    while not released.wait(BEAT):
        with suppress(OSError):  # a network that is away for a moment
            os.utime(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
