"""Every notebook through papermill with tiny values, by the project's own sweeps and report."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from restoration_lib.__main__ import main
from restoration_lib.evaluation.baselines import SHUFFLE_BASELINES
from restoration_lib.experiments import workers

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
BIHARMONIC = ("biharmonic, true mask", "biharmonic, found mask")
TINY = {"batch_size": 2, "steps": 4, "validate_every": 2}


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """The others are for tests beside this one: threads of a lone run wait for each other where its cores are taken."""
    monkeypatch.setattr(workers, "cores", lambda: 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten small images, and a JPEG that was cut off."""
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


def run(command: str, *paths: Path, out: Path) -> int:
    options = ["--profile", "tiny", "--out", str(out), *(["--workers", "2"] if command == "sweep" else [])]
    return main([command, *map(str, paths), *options])


def records(out: Path, sweep: str) -> dict[str, dict]:
    """The records of a sweep's runs by their variants; `folder` is where each lies."""
    found = sorted((out / "tiny").glob(f"{sweep}/*/run.json"))
    read = [json.loads(path.read_text()) | {"folder": path.parent} for path in found]
    return {record["parameters"].get("variant", ""): record for record in read}


def figures(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("figures/*")}


@pytest.mark.slow
def test_01_shows_the_data(tmp_path, photos):
    path = tiny("data_loading", tmp_path, base={"dataset": str(photos), "size": 40, "batch_size": 2, "rates": [1.0]})
    assert run("sweep", path, out=tmp_path) == 0
    record = records(tmp_path, "data_loading")[""]
    assert "cut.jpg" in record["skipped"][0]
    assert len(figures(record["folder"])) == 6
    assert "widget" not in (record["folder"] / "notebook.ipynb").read_text().lower().replace("ipywidgets", "")


@pytest.mark.slow
def test_02_restores_old_photographs_and_06_translates(tmp_path, photos):
    """Both CycleGANs, by their sweeps; 06b reads the runs of 06."""
    small = {"size": 66, "crop": 64, "features": 4, "options.blocks": 1, **TINY, "batch_size": 1}
    (tmp_path / "other").mkdir()
    for path in sorted(photos.glob("?.jpg")):
        Image.open(path).rotate(90, expand=True).save(tmp_path / "other" / path.name)
    restore = tiny("old_photos", tmp_path, base={"old": str(photos), "new": str(photos)} | small, grid={"seed": [0]})
    domains = {"domain_a": str(photos), "domain_b": str(tmp_path / "other")}
    translate = tiny("identity", tmp_path, base=domains | small, grid={"losses.cycle": [0.5], "seed": [0]})
    assert run("sweep", restore, translate, out=tmp_path) == 0
    assert run("report", restore, translate, out=tmp_path) == 0

    record = records(tmp_path, "old_photos")["colour"]
    methods = {"input", "restored", "restored, half stretch", "stretch", "stretch + median 3x3"}
    assert {row["method"] for row in record["rows"]} == methods
    assert set(record["rows"][0]) == {"image", "method", "psnr", "ssim", "ciede2000", "checkerboard"}
    assert set(record["translation"]["a"]) == {"round_trip", "identity", "colour_shift"}
    assert [line for line in record["skipped"] if "cut.jpg" in line]
    assert len(figures(record["folder"])) == 9
    table = (tmp_path / "tiny" / "old_photos" / "table.md").read_text()
    assert "| PSNR (dB) ↑, aged | SSIM ↑, aged | CIEDE2000 ↓, aged | checkerboard (dB) ↓, aged |" in table
    assert "| colour, half stretch |" in table

    found = records(tmp_path, "identity")
    assert len(found) == 2
    assert all(set(record["untouched"]) == {"a", "b"} and "taken" in record["rows"][0] for record in found.values())
    table = (tmp_path / "tiny" / "identity" / "table.md").read_text()
    assert "| without identity mapping |" in table and "colour shift (CIEDE2000) ↓, cycle 0.5" in table
    assert len(figures(tmp_path / "tiny" / "06b_identity_sweep")) == 7


@pytest.mark.slow
def test_03_trains_and_04_reads_the_runs(tmp_path, photos, capsys):
    base = {"dataset": str(photos), "size": 48, "crop": 32, "options": {"channels": 8, "blocks": 1}, **TINY}
    grid = {"degradation_options.rate": [1.0], "seed": [0]}
    quick, faces = (
        yaml.safe_load((NOTEBOOKS / "sweeps" / f"{name}.yaml").read_text())
        for name in ("loss_ablation", "loss_ablation_faces")
    )  # 04 reads the runs of either
    report = faces["report"] | {"tables": quick["report"]["tables"] | faces["report"]["tables"]}
    report["notebook"] = str(NOTEBOOKS / "04_loss_ablation.ipynb")
    base |= {"metrics": faces["base"]["metrics"]}
    path = tiny("loss_ablation", tmp_path, base=base, cases=quick["cases"] | faces["cases"], grid=grid, report=report)
    assert run("sweep", path, out=tmp_path) == 0
    assert run("report", path, out=tmp_path) == 0

    found = records(tmp_path, "loss_ablation")
    assert len(found) == 7
    record = found["L1 + MS-SSIM + cosine + adversarial"]
    assert {row["method"] for row in record["rows"]} >= {"input", "restored", "median 3x3", "non-local means"}
    assert [line for line in record["skipped"] if "cut.jpg" in line]
    assert (record["folder"] / "history.csv").read_text().splitlines()[0].startswith("step,generator")
    assert (record["folder"] / "checkpoints" / "best.safetensors").exists()
    assert "adversarial" not in found["L1 + MS-SSIM + cosine"]["parameters"]["losses"]

    table = (tmp_path / "tiny" / "loss_ablation" / "table.md").read_text()
    assert table.count("| L1 + MS-SSIM + cosine + adversarial |") == 3 and "LPIPS ↓, high" in table
    assert "1 test images; 4 steps of 2 crops of 32 px; seed 0; " in table

    notebook = tmp_path / "tiny" / "04_loss_ablation" / "notebook.ipynb"
    assert len(figures(notebook.parent)) == 5
    written = notebook.stat().st_mtime_ns
    assert run("report", path, out=tmp_path) == 0
    assert notebook.stat().st_mtime_ns == written, "nothing changed, so 04 is not executed again"
    assert run("sweep", path, out=tmp_path) == 0
    assert "7 complete already" in capsys.readouterr().out


@pytest.mark.slow
def test_03_begins_with_what_ships_and_undoes_another_degradation(tmp_path, photos):
    """A name and its options in a YAML are all it takes."""
    base = {"dataset": str(photos), "size": 48, "crop": 32, "start": "shipped", "generator": "corrected_picker", **TINY}
    base |= {"options": {"channels": 96, "blocks": 10}}
    base |= {"degradation": "ageing", "degradation_options": {"strength": 0.5}}
    path = tiny("loss_ablation", tmp_path, base=base, cases={"ours": {}}, grid={"seed": [0]}, report={})
    assert run("sweep", path, out=tmp_path) == 0
    [record] = records(tmp_path, "loss_ablation").values()
    psnr = [row["psnr"] for row in record["rows"] if row["method"] == "input"]
    assert max(psnr) < 40 and record["parameters"]["degradation"] == "ageing"


@pytest.mark.slow
def test_05_removes_scratches_and_05b_reads_the_runs(tmp_path, photos):
    """Drawn damage with overlays, both generators; then given pairs and a second test set, from what ships."""
    overlays = tmp_path / "overlays"
    overlays.mkdir()
    for k in range(10):
        mask = np.zeros((40, 40), dtype=np.uint8)
        mask[k : k + 4] = 255
        Image.fromarray(mask).save(overlays / f"{k}.png")
    small = {"crop": 64, "options": {"features": 4, "depth": 3, "discriminator_features": 4}, **TINY}
    base = {"clean": str(photos), "overlays": str(overlays), "photographs": str(photos), **small}
    cases = {"original": {"generator": "unet"}, "refined": {}}
    path = tiny("pix2pix_limits", tmp_path, base=base, cases=cases, grid={"seed": [0]})
    assert run("sweep", path, out=tmp_path) == 0
    assert run("report", path, out=tmp_path) == 0
    found = records(tmp_path, "pix2pix_limits")
    tests = {"drawn", "overlays", "own size", "through 64 px", "5 %", "10 %", "20 %", "40 %"}
    for record in found.values():
        assert {row["test"] for row in record["rows"]} == tests
        assert [line for line in record["skipped"] if "cut.jpg" in line] and record["overlays"]["test"] >= 1
    original, refined = ({row["method"] for row in found[case]["rows"]} for case in ("original", "refined"))
    assert original == {"input", "restored", "median 5x5", "biharmonic, true mask"}
    assert refined - original == {"biharmonic, found mask"}
    assert all(row["unmasked_change"] in (0, None) for row in found["refined"]["rows"])
    table = (tmp_path / "tiny" / "pix2pix_limits" / "table.md").read_text()
    assert "PSNR inside the damage (dB) ↑, drawn" in table and "| biharmonic, found mask |" in table
    assert len(figures(tmp_path / "tiny" / "05b_pix2pix_limits")) == 5

    pairs = tmp_path / "pairs"
    for folder in ("color", "gray"):
        (pairs / folder).mkdir(parents=True)
        for image in sorted(photos.glob("?.jpg")):
            pixels = np.array(Image.open(image))
            if folder == "gray":
                pixels[20:50, 30:34] = 255
            Image.fromarray(pixels).save(pairs / folder / image.with_suffix(".png").name)
    (pairs / "gray" / "0.png").unlink()
    other = tmp_path / "tests" / "set"
    other.mkdir(parents=True)
    Image.open(photos / "1.jpg").resize((256, 256)).save(other / "one.png")
    base |= {"clean": str(pairs), "tests": str(other.parent), "start": "shipped", "learning_rate": 1e-6}
    base |= {"options": {"features": 24, "discriminator_features": 4}}
    path = tiny("scratches", tmp_path, base=base, cases={"refined": {}}, report={})
    assert run("sweep", path, out=tmp_path) == 0
    record = records(tmp_path, "scratches")["refined"]
    assert record["unmatched"] == ["color/0.png"] and "given" in {row["test"] for row in record["rows"]}
    [restored] = [row for row in record["rows"] if (row["test"], row["method"]) == ("set, drawn", "restored")]
    assert restored["f1"] > 0.4, "a network that has learned nothing finds next to nothing"


@pytest.mark.slow
def test_07_enlarges_images_and_07b_reads_the_runs(tmp_path, photos):
    """With one stage and with both, and a second test set."""
    tests = tmp_path / "tests" / "set"
    tests.mkdir(parents=True)
    Image.open(photos / "1.jpg").convert("L").save(tests / "grey.png")
    base = {"dataset": str(photos), "tests": str(tests.parent), "crop": 32, "test_crop": 64, "features": 4}
    base |= {"options.blocks": 1, "options.discriminator_features": 4}
    base |= {"batch_size": 2, "judge": "vgg16", "validate_every": 2}
    cases = {
        "MSE + GAN": {"pretraining_steps": 2, "adversarial_steps": 2},
        "GAN without pretraining": {"pretraining_steps": 0, "adversarial_steps": 4},
        "GAN on what ships": {"pretraining_steps": 0, "adversarial_steps": 4, "start": "shipped"},
    }
    cases["GAN on what ships"] |= {"features": 64, "options.blocks": 16}
    spec = yaml.safe_load((NOTEBOOKS / "sweeps" / "srgan_pretraining.yaml").read_text())["report"]
    notebook = str(NOTEBOOKS / Path(spec["notebook"]).name)
    section = {**spec, "columns": {"test": {"set 4x": "set 4x"}}, "notebook": notebook}
    grid = {"scale": [4], "seed": [0]}
    path = tiny("srgan_pretraining", tmp_path, base=base, cases=cases, grid=grid, report=section)
    assert run("sweep", path, out=tmp_path) == 0
    assert run("report", path, out=tmp_path) == 0
    found = records(tmp_path, "srgan_pretraining")
    assert {name: record["vgg"] for name, record in found.items()} == dict.fromkeys(cases, "vgg16")
    for name, record in found.items():
        assert {row["test"] for row in record["rows"]} == {"photos0 4x", "set 4x"}
        first = {"restored, first stage"} if name != "GAN without pretraining" else set()
        assert {row["method"] for row in record["rows"]} == {"bicubic", "restored"} | first
        if name == "GAN on what ships":  # four steps have not led far from it
            psnr = {row["method"]: row["psnr_y"] for row in record["rows"] if row["test"] == "set 4x"}
            assert psnr["restored"] == pytest.approx(psnr["restored, first stage"], abs=1.0)
            assert psnr["restored"] > psnr["bicubic"] - 1.0
        assert [line for line in record["skipped"] if "cut.jpg" in line] and record["training"]["steps"] == 4
    table = (tmp_path / "tiny" / "srgan_pretraining" / "table.md").read_text()
    assert "| PSNR of Y (dB) ↑, set 4x |" in table and "| bicubic |" in table and "| MSE + GAN, first stage |" in table
    assert len(figures(tmp_path / "tiny" / "07b_srgan_pretraining")) == 3


@pytest.mark.slow
def test_shipped_networks_are_shown_and_measured_and_nothing_is_trained(tmp_path, photos, capsys):
    """02, 03, 05 and 07, each in place of its own network."""
    sources = {
        "loss_ablation": {"dataset": str(photos)},
        "old_photos": {"old": str(photos), "new": str(photos), "size": 66, "crop": 64},
        "pix2pix_limits": {"clean": str(photos), "photographs": str(photos), "crop": 64, "generator": "unet"},
        "srgan_pretraining": {"dataset": str(photos), "scale": 2, "crop": 32, "test_crop": 64},
    }
    plans = [
        tiny(name, tmp_path, base={**base, "weights": "shipped"}, cases={"ours": {}}, grid={"seed": [0]}, report={})
        for name, base in sources.items()
    ]
    assert run("sweep", *plans, out=tmp_path) == 0
    for name, methods, missing in (
        ("loss_ablation", {"input", "restored", *SHUFFLE_BASELINES}, set()),
        ("old_photos", {"input", "restored", "restored, half stretch", "stretch", "stretch + median 3x3"}, {"paths"}),
        ("pix2pix_limits", {"input", "restored", "median 5x5", *BIHARMONIC}, set()),
        ("srgan_pretraining", {"bicubic", "restored"}, set()),
    ):
        record = records(tmp_path, name)["ours"]
        assert {row["method"] for row in record["rows"]} == methods
        assert record["training"]["steps"] == 0 == record["training"]["seconds"]
        assert "losses" in figures(record["folder"]) and not missing & figures(record["folder"])
        assert (record["folder"] / "history.csv").read_text().startswith("step,validation_psnr")
    wrong = tiny("old_photos", tmp_path, base={"weights": "best"}, cases={"ours": {}}, grid={"seed": [0]}, report={})
    assert run("sweep", wrong, out=tmp_path / "wrong") == 1
    assert "weights: expected" in "".join(capsys.readouterr())


@pytest.mark.slow
def test_08_restores_a_photograph(tmp_path, photos):
    """By a model chosen by name; headless, there is a page to look at, and no widget."""
    spec = {"notebook": str(NOTEBOOKS / "08_restore_your_photograph.ipynb"), "profiles": {"tiny": {}}}
    spec["base"] = {"photograph": str(photos / "3.jpg"), "models": "faded", "strength": 0.5}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(spec))
    assert run("sweep", path, out=tmp_path) == 0
    [record] = records(tmp_path, "own").values()
    assert record["restored"] == "3.jpg" and "strength 0.5" in record["words"][0]
    before, after = (np.asarray(Image.open(folder / "3.jpg")) for folder in (photos, record["folder"]))
    assert before.shape == after.shape and (before != after).any()
    assert figures(record["folder"]) == {"painted", "detail"}
    notebook = (record["folder"] / "notebook.ipynb").read_text()
    assert "widget" not in notebook and 'type=\\"range\\"' in notebook
