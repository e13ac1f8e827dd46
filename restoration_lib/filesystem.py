"""Names of files as text, folders as they are typed, and files that appear whole."""

import functools
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
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


@contextmanager
def replacing(path: Path, name: str = "") -> Iterator[Path]:
    """A name beside `path` to write to; what was written takes the place of `path` when the block has ended.

    So others see the old file or the new one, and an exception leaves the old one.

    Args:
        name: of the temporary file; "" is one of its own, hidden, for several processes may write at once.
    """
    temporary = path.with_name(name or f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file, for which it gets a temporary name: after a power cut the old file is there, or the new
    one."""
    with replacing(path, f"{path.name}.tmp") as temporary:
        write(temporary)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
    with suppress(OSError):  # not all file systems can do this with a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@functools.cache
def digest_of_code(files: tuple[str, ...], packages: tuple[str, ...]) -> str:
    """Of modules, as patterns below the library, and of the versions of packages: what these make, they make again."""
    found = sorted(path for pattern in files for path in Path(__file__).parent.glob(pattern))
    texts = [path.read_bytes() for path in found] + [f"{name} {version(name)}".encode() for name in packages]
    return hashlib.sha256(b"\n".join(texts)).hexdigest()
