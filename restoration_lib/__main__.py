"""The command line: `restoration COMMAND`, the same as `python -m restoration_lib COMMAND`."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from restoration_lib.restore.command import add_arguments, restore


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code. Each command imports what it needs when it is called: a wrong one answers at once."""
    options = vars(_parser().parse_args(arguments))
    command = options.pop("command")
    if command == "samples":
        return fetch_samples()
    if command == "sweep":
        from restoration_lib.experiments.sweep import run_sweeps

        return run_sweeps(**options)
    if command == "restore":
        return restore(**options)
    from restoration_lib.experiments.report import report

    return report(**options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="restoration", description="Restoring damaged photographs: data and results.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("samples", help="fetch the sample images and VGG-16, and say where the images are from")
    add_arguments(commands.add_parser("restore", help="restore photographs with the weights that come along"))
    sweep = commands.add_parser("sweep", help="run notebooks over grids of parameters")
    report = commands.add_parser("report", help="make the tables of finished sweeps")
    for command in (sweep, report):
        command.add_argument("sweeps", nargs="+", type=Path, metavar="NAME.yaml")
        command.add_argument("--profile", required=True, help="one of the profiles in the YAML files")
        command.add_argument("--out", type=Path, default=Path("results"), help="default: results")
    sweep.add_argument("--workers", type=int, default=1, dest="count", help="how many runs at a time; default: 1")
    sweep.add_argument("--scheduler", default="", help="tcp://host:port of a dask scheduler: its workers take the runs")
    sweep.add_argument("--fresh", action="store_true", help="begin unfinished runs anew, without their checkpoints")
    sweep.add_argument("--time-limit", type=float, default=math.inf, metavar="MINUTES", help="of a run; default: none")
    report.add_argument("--publish", action="store_true", help="copy the results to OUT/published, renew the READMEs")
    return parser


def fetch_samples() -> int:
    from restoration_lib.data import samples
    from restoration_lib.networks import vgg_weights

    try:
        print(f"{_aligned(samples.rows())}\n{samples.cache_folder()}")
        vgg_weights.fetch_vgg16()
    except samples.FetchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _aligned(rows: list[dict]) -> str:
    """The rows below their names; pandas could, but its import takes a second."""
    columns = [[name, *(str(row[name]) for row in rows)] for name in rows[0]]
    padded = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns]
    return "\n".join(" ".join(line) for line in zip(*padded, strict=True))


if __name__ == "__main__":
    sys.exit(main())
