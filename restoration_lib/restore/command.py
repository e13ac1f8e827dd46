"""The command `restoration restore IN... -o OUT`: files and folders in, a folder out."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tqdm import tqdm

from restoration_lib.checks import check, check_names
from restoration_lib.data.files import ImageError, list_images
from restoration_lib.filesystem import expanded, shown
from restoration_lib.restore.photo import AUTO, restore_photo
from restoration_lib.restore.weights import MODELS, WeightsError

BAR = "{desc} {percentage:3.0f}% |{bar}| {remaining} left"
FAILED, WRONG, STOPPED = 1, 2, 130  # exit codes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes, under the names that `restore` does."""
    known = "; ".join(f"{name}, {model.does}" for name, model in MODELS.items()) or "none is shipped yet"
    parser.add_argument("sources", nargs="+", type=expanded, metavar="IN", help="photographs, or folders of them")
    parser.add_argument("-o", "--out", required=True, type=expanded, help="folder for the restored photographs")
    parser.add_argument(
        "--model",
        type=_models,
        default=AUTO,
        dest="models",
        metavar="NAMES",
        help=f"one, or several in a row, with commas ({known}); default: auto, which looks at each photograph",
    )
    parser.add_argument(
        "--threshold",
        type=partial(_number, "threshold"),
        default=0.0,
        help="of damage, a logit; higher finds less; default: 0",
    )
    parser.add_argument(
        "--strength",
        type=partial(_number, "strength", low=0, high=1),
        default=1.0,
        help="of changes of colour, 0 to 1; default: 1",
    )
    masks = parser.add_mutually_exclusive_group()
    masks.add_argument(
        "--mask", type=expanded, metavar="FILE", help="an image, white where this one photograph is damaged"
    )
    masks.add_argument("--save-mask", action="store_true", help="write the damage found as NAME.mask.png")
    parser.add_argument("--skip-existing", action="store_true", help="leave out what OUT has already")
    parser.add_argument("--compare", action="store_true", help="write before | after as NAME.compare.jpg")


def restore(
    sources: list[Path],
    out: Path,
    models: str | list[str],
    threshold: float,
    strength: float,
    mask: Path | None,
    save_mask: bool,
    skip_existing: bool,
    compare: bool,
) -> int:
    """Restore photographs: each one under its own name, in its own format, in the folder OUT."""
    if not MODELS:
        return _complain("no weights are shipped yet", WRONG)
    if out.exists() and not out.is_dir():
        return _complain(f"{out}: is not a folder", WRONG)
    if mask and (len(sources) > 1 or sources[0].is_dir()):
        return _complain("--mask: is for one photograph", WRONG)
    work, code = planned(sources, out)
    if skip_existing:
        work = [(source, target) for source, target in work if not target.is_file()]
    try:
        with tqdm(total=len(work), bar_format=BAR, disable=not sys.stderr.isatty()) as bar:
            for k, (source, target) in enumerate(work):
                bar.set_description_str(shown(source.name))
                options = {"threshold": threshold, "strength": strength, "mask": mask, "watch": bar.update}
                if save_mask:
                    options["mask_target"] = target.with_name(f"{target.name}.mask.png")
                if compare:
                    options["compare_target"] = target.with_name(f"{target.name}.compare.jpg")
                if fault := restored(source, target, models, options):
                    code = _complain(fault, FAILED)
                bar.update(k + 1 - bar.n)
    except KeyboardInterrupt:
        return _complain("stopped", STOPPED)
    return code


def planned(sources: list[Path], out: Path) -> tuple[list[tuple[Path, Path]], int]:
    """Each photograph and where it goes, those in folders with their places below it; exit code of what is refused.

    What a folder has in OUT is no photograph to restore, and no photograph goes where another one is, or goes.
    """
    found, code = [], 0
    for source in sources:
        if not source.is_dir():
            found.append((source, out / source.name))
            continue
        try:
            if _lies_in(source, out):
                raise ImageError(f"{source}: lies in {out}, where the restored ones go; choose another folder")
            inside = [path for path in list_images(source) if not _lies_in(path, out)]
        except ImageError as error:
            code = _complain(str(error), FAILED)
        else:
            found += [(path, out / path.relative_to(source)) for path in inside]
    taken, work = {os.path.realpath(path) for path, _ in found}, []
    for path, target in found:
        place = os.path.realpath(target)
        if place in taken:
            code = _complain(f"{path}: {target} is another photograph, or this one; choose another folder", FAILED)
        else:
            taken.add(place)
            work.append((path, target))
    return work, code


def restored(source: Path, target: Path, models: str | list[str], options: dict) -> str:
    """Restore one photograph, and print what was done; what went wrong in a line, or ""."""
    try:
        words = restore_photo(source, target, models, **options)
    except (ImageError, WeightsError) as error:
        return str(error)
    except MemoryError:
        return f"{source}: not enough memory"
    except Exception as error:  # the others must not wait in vain
        return f"{source}: {type(error).__name__}: {error}"
    tqdm.write(f"{shown(source)} -> {shown(target)}: {'; '.join(words)}")
    return ""


def _lies_in(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _complain(fault: str, code: int) -> int:
    tqdm.write(f"restore: {shown(' '.join(fault.split()))}", file=sys.stderr)
    return code


@contextmanager
def _as_arguments() -> Iterator[None]:
    """What is wrong with an argument, as argparse prints it."""
    try:
        yield
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _models(text: str) -> str | list[str]:
    names = text.split(",")
    if text == AUTO:
        return AUTO
    with _as_arguments():
        check_names("model", names, MODELS)
    return names


def _number(name: str, text: str, **limits: float) -> float:
    with _as_arguments():
        check(name, value := float(text), **limits)
    return value
