"""Names of files as text, folders as they are typed, and files that a power cut leaves whole."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # control, line ends, surrogates


def shown(name: object) -> str:
    r"""A file name, or a text with names in it, as one line that can be printed and stored as UTF-8.

    Control characters become backslash escapes, as a newline `\n`, and so do the bytes of a name that is not UTF-8,
    which Python has as surrogates: `caf\xe9.png`.
    """
    return _UNPRINTABLE.sub(lambda found: _escaped(found[0]), str(name))


def _escaped(character: str) -> str:
    is_byte = "\udc80" <= character <= "\udcff"
    return (chr(ord(character) - 0xDC00) if is_byte else character).encode("unicode_escape").decode()


def expanded(folder: str | Path) -> Path:
    """A path with `~` as the home folder; that of an unknown user stays as it is, a folder that does not exist."""
    return Path(os.path.expanduser(folder))


def write_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary name beside `path`, and rename what it wrote when it is on the disk.

    A kill or a power cut leaves the old file or the new one, an exception the old one.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        write(temporary)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # not all file systems can do this with a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
