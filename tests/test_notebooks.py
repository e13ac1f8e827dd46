"""Every notebook through papermill with tiny values, by the project's own sweeps and report."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from restoration_lib import report, sweep

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
TINY = {"size": 48, "crop": 32, "channels": 8, "blocks": 1, "batch_size": 2, "steps": 4, "interval": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten small pictures, and a JPEG that was cut off."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for k in range(10):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((96, 72), Image.Resampling.BICUBIC).save(folder / f"{k}.jpg")
    whole = (folder / "0.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def tiny(name: str, folder: Path, **changes) -> Path:
    """The project's sweep of this name with other values, as a file in `folder`."""
    spec = yaml.safe_load((NOTEBOOKS / "sweeps" / f"{name}.yaml").read_text())
    spec["notebook"] = str(NOTEBOOKS / Path(spec["notebook"]).name)
    if "notebook" in spec.get("report", {}):
        spec["report"]["notebook"] = str(NOTEBOOKS / Path(spec["report"]["notebook"]).name)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**spec, "profiles": {"tiny": {}}, **changes}, sort_keys=False))
    return path


@pytest.mark.slow
def test_01_shows_the_data(tmp_path, photos):
    path = tiny("data_loading", tmp_path, base={"dataset": str(photos), "size": 40, "batch_size": 2, "rates": [1.0]})
    assert sweep.main([str(path), "--profile", "tiny", "--out", str(tmp_path)]) == 0
    [record] = (tmp_path / "tiny").glob("data_loading/*/run.json")
    assert "cut.jpg" in json.loads(record.read_text())["skipped"][0]
    assert len(list(record.parent.glob("figures/*.png"))) == 6
    assert "widget" not in (record.parent / "notebook.ipynb").read_text().lower().replace("ipywidgets", "")


@pytest.mark.slow
def test_02_restores_old_photographs_and_06_translates(tmp_path, photos):
    """Both CycleGANs, by their sweeps; 06b reads the runs of 06."""
    small = {"size": 66, "crop": 64, "features": 4, "blocks": 1, "steps": 4, "interval": 2}
    (tmp_path / "other").mkdir()
    for path in sorted(photos.glob("?.jpg")):
        Image.open(path).rotate(90, expand=True).save(tmp_path / "other" / path.name)
    domains = {"old": str(photos), "new": str(photos), "photographs": str(tmp_path / "other")}
    restore = tiny("old_photos", tmp_path, base=domains | small, grid={"seed": [0]})
    domains = {"domain_a": str(photos), "domain_b": str(tmp_path / "other")}
    translate = tiny("identity", tmp_path, base=domains | small, grid={"lambda_cycle": [10.0], "seed": [0]})
    command = [str(restore), str(translate), "--profile", "tiny", "--out", str(tmp_path)]
    assert sweep.main([*command, "--workers", "2"]) == 0
    assert report.main(command) == 0

    [path] = (tmp_path / "tiny").glob("old_photos/*/run.json")
    record = json.loads(path.read_text())
    assert {row["method"] for row in record["rows"]} == {"input", "restored", "stretch", "stretch + median 3x3"}
    assert set(record["rows"][0]) == {"picture", "method", "psnr", "ssim", "ciede2000", "checkerboard"}
    assert set(record["translation"]["a"]) == {"round_trip", "identity", "colour_shift"}
    assert [line for line in record["skipped"] if "cut.jpg" in line]
    assert len(list(path.parent.glob("figures/*.png"))) == 7
    table = (tmp_path / "tiny" / "old_photos" / "table.md").read_text()
    assert "| PSNR (dB), aged | SSIM, aged | CIEDE2000, aged | checkerboard (dB), aged |" in table

    assert len(list((tmp_path / "tiny").glob("identity/*/run.json"))) == 2
    table = (tmp_path / "tiny" / "identity" / "table.md").read_text()
    assert "| without identity mapping |" in table and "colour shift (CIEDE2000), cycle 10" in table
    assert len(list((tmp_path / "tiny" / "06b_identity_sweep").glob("figures/*.png"))) == 5


@pytest.mark.slow
def test_03_trains_and_04_reads_the_runs(tmp_path, photos, capsys):
    path = tiny("loss_ablation", tmp_path, base={"dataset": str(photos), **TINY}, grid={"rate": [1.0], "seed": [0]})
    command = [str(path), "--profile", "tiny", "--out", str(tmp_path)]
    assert sweep.main([*command, "--workers", "2"]) == 0
    assert report.main(command) == 0

    runs = sorted((tmp_path / "tiny" / "loss_ablation").glob("*/run.json"))
    assert len(runs) == 5
    record = json.loads(runs[0].read_text())
    assert {row["method"] for row in record["rows"]} >= {"input", "restored", "median 3x3", "non-local means"}
    assert [line for line in record["skipped"] if "cut.jpg" in line]
    assert (runs[0].parent / "history.csv").read_text().splitlines()[0].startswith("step,generator")
    assert (runs[0].parent / "checkpoints" / "best.safetensors").exists()

    table = (tmp_path / "tiny" / "loss_ablation" / "table.md").read_text()
    assert table.count("| L1 + MS-SSIM + cosine + adversarial |") == 2
    assert "1 test pictures; 4 steps of 2 crops of 32 px; seeds 0 " in table

    notebook = tmp_path / "tiny" / "04_loss_ablation" / "notebook.ipynb"
    assert len(list(notebook.parent.glob("figures/*.png"))) == 5
    written = notebook.stat().st_mtime_ns
    assert report.main(command) == 0
    assert notebook.stat().st_mtime_ns == written, "nothing changed, so 04 is not executed again"
    assert sweep.main(command) == 0
    assert "5 complete already" in capsys.readouterr().out


@pytest.mark.slow
def test_05_removes_scratches_and_05b_reads_the_runs(tmp_path, photos):
    """Drawn damage with overlays, both generators; then given pairs."""
    overlays = tmp_path / "overlays"
    overlays.mkdir()
    for k in range(10):
        cover = np.zeros((40, 40), dtype=np.uint8)
        cover[k : k + 4] = 255
        Image.fromarray(cover).save(overlays / f"{k}.png")
    small = {
        "crop": 64,
        "features": 4,
        "depth": 3,
        "discriminator_features": 4,
        "batch_size": 2,
        "steps": 4,
        "interval": 2,
    }
    base = {"clean": str(photos), "overlays": str(overlays), "photographs": str(photos), "limit": 1, **small}
    cases = {"original": {"generator": "unet"}, "refined": {}}
    path = tiny("pix2pix_limits", tmp_path, base=base, cases=cases, grid={"seed": [0]})
    command = [str(path), "--profile", "tiny", "--out", str(tmp_path)]
    assert sweep.main([*command, "--workers", "2"]) == 0
    assert report.main(command) == 0
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "tiny").glob("pix2pix_limits/*/run.json"))]
    tests = {"drawn", "overlays", "own size", "through 64 px", "5 %", "10 %", "20 %", "40 %"}
    for record in records:
        assert {row["test"] for row in record["rows"]} == tests
        assert [line for line in record["skipped"] if "cut.jpg" in line] and record["overlays"]["test"] >= 1
    methods = [{row["method"] for row in record["rows"]} for record in records]
    found = {"biharmonic, found mask"}
    assert methods[1] - methods[0] == found and methods[0] == {
        "input",
        "restored",
        "median 5x5",
        "biharmonic, true mask",
    }
    assert all(row["unmasked_change"] in (0, None) for row in records[1]["rows"])
    table = (tmp_path / "tiny" / "pix2pix_limits" / "table.md").read_text()
    assert "PSNR inside the damage (dB), drawn" in table and "| biharmonic, found mask |" in table
    assert len(list((tmp_path / "tiny" / "05b_pix2pix_limits").glob("figures/*.png"))) == 5

    pairs = tmp_path / "pairs"
    for folder in ("color", "gray"):
        (pairs / folder).mkdir(parents=True)
        for picture in sorted(photos.glob("?.jpg")):
            pixels = np.array(Image.open(picture))
            if folder == "gray":
                pixels[20:50, 30:34] = 255
            Image.fromarray(pixels).save(pairs / folder / picture.with_suffix(".png").name)
    (pairs / "gray" / "0.png").unlink()
    path = tiny("scratches", tmp_path, base={**base, "clean": str(pairs)}, cases={"refined": {}}, report={})
    assert sweep.main([str(path), "--profile", "tiny", "--out", str(tmp_path)]) == 0
    [path] = (tmp_path / "tiny").glob("scratches/*/run.json")
    record = json.loads(path.read_text())
    assert record["alone"] == ["color/0.png"] and "given" in {row["test"] for row in record["rows"]}


@pytest.mark.slow
def test_07_enlarges_pictures_and_07b_reads_the_runs(tmp_path, photos):
    """Both cases, and a second test set."""
    tests = tmp_path / "tests" / "set"
    tests.mkdir(parents=True)
    Image.open(photos / "1.jpg").convert("L").save(tests / "grey.png")
    base = {"dataset": str(photos), "tests": str(tests.parent), "crop": 32, "test_crop": 64, "features": 4, "blocks": 1}
    base |= {"discriminator_features": 4, "batch_size": 2, "vgg": "vgg16", "interval": 2}
    cases = {
        "MSE + GAN": {"pretraining_steps": 2, "adversarial_steps": 2},
        "GAN without pretraining": {"pretraining_steps": 0, "adversarial_steps": 4},
    }
    spec = yaml.safe_load((NOTEBOOKS / "sweeps" / "srgan_pretraining.yaml").read_text())["report"]
    section = {
        **spec,
        "columns": {"test": {"set 4x": "set 4x"}},
        "notebook": str(NOTEBOOKS / Path(spec["notebook"]).name),
    }
    grid = {"scale": [4], "seed": [0]}
    path = tiny("srgan_pretraining", tmp_path, base=base, cases=cases, grid=grid, report=section)
    command = [str(path), "--profile", "tiny", "--out", str(tmp_path)]
    assert sweep.main([*command, "--workers", "2"]) == 0
    assert report.main(command) == 0
    paths = sorted((tmp_path / "tiny").glob("srgan_pretraining/*/run.json"))
    records = {record["parameters"]["variant"]: record for record in map(json.loads, map(Path.read_text, paths))}
    assert {name: record["vgg"] for name, record in records.items()} == {
        "MSE + GAN": "vgg16", "GAN without pretraining": "vgg16"
    }  # fmt: skip
    for name, record in records.items():
        assert {row["test"] for row in record["rows"]} == {"photos0 4x", "set 4x"}
        stages = {"MSE + GAN", "MSE + GAN, first stage"} if name == "MSE + GAN" else {name}
        assert {row["variant"] for row in record["rows"]} == stages | {"bicubic"}
        assert [line for line in record["skipped"] if "cut.jpg" in line] and record["parameters"]["steps"] == 4
    table = (tmp_path / "tiny" / "srgan_pretraining" / "table.md").read_text()
    assert "| PSNR of Y (dB), set 4x |" in table and "| bicubic |" in table and "| MSE + GAN, first stage |" in table
    assert len(list((tmp_path / "tiny" / "07b_srgan_pretraining").glob("figures/*.png"))) == 3
