"""Tables of finished sweeps: `python -m restoration_lib.report NAME.yaml … --profile quick [--publish]`.

For each sweep with a `report:` section, OUT/PROFILE/NAME/ receives table.csv, table.md (the tables of the section) and
overview.md (all rows in one); if the section names a notebook that reads the runs, that is executed too. With --publish
the results are copied to OUT/published/PROFILE/ (no checkpoints; a sweep with `publish: numbers` without its pictures)
and the tables are written anew: all that are published into OUT/published/README.md, those of the full profile, the
longest trainings, into the README's block too. The section:

    report:
      columns: {rate: {1.0: high, 0.5: low}}   # a parameter, and a label for each of its values
      metrics: [psnr, ssim]                    # optional: which of the rows' figures, of `tables.METRICS`
      tables: {Title: [case, case]}            # rows, after the degraded input and the classical filters
      notebook: ../04_loss_ablation.ipynb      # optional; its parameters are `runs_folder` and `run_folder`
"""

import argparse
import base64
import io
import json
import shutil
import sys
from pathlib import Path

from PIL import Image

from restoration_lib import runs, tables
from restoration_lib.baselines import AGEING_BASELINES, BICUBIC, FOUND_MASK, SHUFFLE_BASELINES, TRUE_MASK
from restoration_lib.grid import Run, SweepError, read_yaml
from restoration_lib.sweep import execute, is_complete

README = runs.PROJECT / "README.md"
BEGIN, END = "<!-- results: begin (written by restoration_lib.report) -->", "<!-- results: end -->"
FULL = "full"
TITLE = "# Published results\n\nWritten by `restoration_lib.report`; the rows and figures are in the folders.\n\n"
FIXED_ROWS = ("input", *SHUFFLE_BASELINES, *AGEING_BASELINES, TRUE_MASK, FOUND_MASK, BICUBIC)
UNPUBLISHED = (runs.CHECKPOINTS, "notebook.html", "error.txt")
PICTURES = ("notebook.ipynb", runs.FIGURES)
LIMIT = 15_000_000  # bytes that a published profile may hold: a clone stays small


def write_tables(sweep: Path, folder: Path) -> bool:
    """Write the tables of a sweep's finished runs; returns whether the numbers changed.

    Raises:
        SweepError: no finished runs, or a `report:` section that does not fit them.
    """
    spec = read_yaml(sweep)
    section, case = spec["report"], spec["case_parameter"]
    records = runs.load_all(folder)
    if not records:
        raise SweepError(f"{folder}: no finished runs; start `python -m restoration_lib.sweep {sweep.name}` first")
    [(column, labels)] = section["columns"].items()
    rows = runs.rows(records)
    if unknown := {name for cases in section["tables"].values() for name in cases} - set(rows[case]):
        raise SweepError(f"{sweep}: report.tables: no finished run of {', '.join(sorted(unknown))}")
    metrics = section.get("metrics", ["psnr", "ssim"])
    if unknown := [name for name in metrics if name not in tables.METRICS or name not in rows]:
        raise SweepError(f"{sweep}: report.metrics: the runs did not measure {', '.join(map(str, unknown))}")
    labels = {value: label for value, label in labels.items() if value in set(rows[column])}  # of this profile
    summary = tables.over_seeds(rows, case, column)
    fixed = [row for row in FIXED_ROWS if row in summary.index.get_level_values(0)]
    titled = [
        f"**{title}**\n\n{tables.markdown(summary, fixed + cases, labels, metrics)}"
        for title, cases in section["tables"].items()
    ]
    ending = f"\n\n{tables.caption(records)}\n"
    (folder / "table.md").write_text("\n\n".join(titled) + ending, encoding="utf-8")
    named = dict.fromkeys([*(name for cases in section["tables"].values() for name in cases), *spec["cases"]])
    overview = tables.markdown(summary, fixed + [n for n in named if n in set(rows[case])], labels, metrics)
    (folder / "overview.md").write_text(overview + ending, encoding="utf-8")
    csv = summary.reset_index().to_csv(index=False, float_format="%.4f")
    target = folder / "table.csv"
    changed = not target.exists() or target.read_text(encoding="utf-8") != csv
    target.write_text(csv, encoding="utf-8")
    return changed


def read_runs(sweep: Path, folder: Path, changed: bool) -> None:
    """Execute the notebook that reads a sweep's runs, unless it is there and the numbers are the same."""
    name = read_yaml(sweep)["report"].get("notebook")
    if not name:
        return
    notebook = (sweep.parent / name).resolve()
    target = folder.parent / notebook.stem
    if changed or not is_complete(target):
        shutil.rmtree(target, ignore_errors=True)
        outcome = execute(Run(notebook.stem, notebook, {"runs_folder": str(folder)}), target, threads=1)
        if outcome.error:
            raise SweepError(f"{notebook.name}: {outcome.error}")


def publish(sweep: Path, source: Path, target: Path) -> None:
    """Copy a sweep's results for others to read; what was published of it before goes.

    Runs of all seeds publish their numbers, those of the first seed their notebook and their pictures too, as JPEG.
    """
    numbers_only = read_yaml(sweep).get("publish", "all") == "numbers"
    records = runs.load_all(source)
    first = min((record["parameters"].get("seed", 0) for record in records), default=0)
    without = {r["folder"].name for r in records if numbers_only or r["parameters"].get("seed", 0) != first}

    def left_out(folder: str, names: list[str]) -> list[str]:
        pictures = PICTURES if Path(folder).name in without else []
        return [name for name in names if name in (*UNPUBLISHED, *pictures) or name.startswith(".")]

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=left_out)
    for path in target.rglob("*.png"):
        path.with_suffix(".jpg").write_bytes(_jpeg(path.read_bytes()))
        path.unlink()
    for path in target.rglob("notebook.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for output in (output for cell in notebook["cells"] for output in cell.get("outputs", [])):
            if png := output.get("data", {}).pop("image/png", None):
                output["data"]["image/jpeg"] = base64.b64encode(_jpeg(base64.b64decode(png))).decode()
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _jpeg(png: bytes) -> bytes:
    """The same picture as JPEG: PNG hardly compresses shuffled pixels, and a clone should stay small."""
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(jpeg, "JPEG", quality=47)
    return jpeg.getvalue()


def write_readme(published: Path, readme: Path) -> None:
    """Replace the block between the README's marks by the published tables of the full profile.

    Raises:
        SweepError: the README lacks the marks.
    """
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SweepError(f"{readme.name}: the marks {BEGIN} and {END} are missing")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    block = overviews(published, FULL, readme.parent)
    readme.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}", encoding="utf-8")


def overviews(published: Path, profile: str, base: Path) -> str:
    """The overviews of a profile, or "*": one after the other, a link to its folder, from `base`, in each corner."""
    blocks = []
    for path in sorted(published.glob(f"{profile}/*/overview.md"), key=lambda path: path.parts[-3:]):
        where = path.parent.relative_to(base).as_posix()
        corner = f"| [{path.parent.name}]({where}), {path.parent.parent.name} profile |"
        blocks.append(path.read_text(encoding="utf-8").replace("| |", corner, 1))
    return "\n".join(blocks).rstrip()


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit code: 0, or 2 with one line that names the fault."""
    parser = argparse.ArgumentParser(prog="python -m restoration_lib.report", description=__doc__.split("\n")[0])
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="NAME.yaml")
    parser.add_argument("--profile", required=True)
    parser.add_argument("--out", type=Path, default=Path("results"), help="default: results")
    parser.add_argument("--publish", action="store_true", help="copy the results to OUT/published, renew the READMEs")
    options = parser.parse_args(arguments)
    profile, published = options.out.resolve() / options.profile, options.out.resolve() / "published"
    try:
        for sweep in options.sweeps:
            folder = profile / sweep.stem
            if "report" in read_yaml(sweep):
                read_runs(sweep, folder, write_tables(sweep, folder))
                print((folder / "table.md").read_text(encoding="utf-8"))
        if options.publish:
            publish_all(options.sweeps, profile, published / options.profile)
            (published / "README.md").write_text(f"{TITLE}{overviews(published, '*', published)}\n", encoding="utf-8")
            write_readme(published, README)
    except (SweepError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


def publish_all(sweeps: list[Path], profile: Path, target: Path) -> None:
    """Publish the sweeps and the notebooks that read them."""
    for sweep in sweeps:
        publish(sweep, profile / sweep.stem, target / sweep.stem)
        if name := read_yaml(sweep).get("report", {}).get("notebook"):
            publish(sweep, profile / Path(name).stem, target / Path(name).stem)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"published {target.name}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise SweepError(f"{target}: {size / 1e6:.1f} MB are more than {LIMIT / 1e6:.0f} MB; publish less")


if __name__ == "__main__":
    sys.exit(main())
