"""What travels to a GPU, what comes back, and what is run there."""

import io
import os
import subprocess
import sys
import tarfile

import pytest
import torch
from PIL import Image

STUB = """#!/usr/bin/env bash
if [[ $1 == scripts/slim.py ]]; then mkdir -p "$3" && head -c 16000000 /dev/zero >"$3/best"; exit; fi
sleep "${SLEEP:-0}"
echo "${1#scripts/} ${*:2}"
[[ $1 != *"$FAILS"* ]]
"""
LOGS = {  # what is said last, without the folders
    "finder": "train_finder.py data data/overlays finder 6000",
    "painter": "train_painter.py data data/overlays finder painter 1000",
    "enlarge-2x": "train_enlarge.py 2 data enlarge-2x 6000",
    "enlarge-4x": "train_enlarge.py 4 data enlarge-4x 4000",
    "shuffled": "train_shuffled.py data shuffled 6000",
    "faded": "train_faded.py data faded 3000",
}


def test_a_packed_folder_holds_all_images_small(load_script, photographs, monkeypatch):
    script = load_script("pack_for_gpu", SIDE=25)
    Image.new("RGB", (20, 24)).save(photographs / "test" / "small.png")
    paintings = sorted((photographs / "train").iterdir())[:1]
    split = {"photographs": {"train": []}, "paintings": {"train": paintings}}
    monkeypatch.setattr("restoration_lib.data.samples.split", split.get)
    target = photographs / "packed"
    script.main(photographs, photographs / "overlays", target)
    monkeypatch.setattr("restoration_lib.data.samples.split", lambda which: pytest.fail("the samples stay behind"))
    found = [*script.training_files(target), script.validation_files(target)]
    assert [len(paths) for paths in found] == [3, 1, 4]
    assert {Image.open(path).size for paths in found for path in paths} == {(30, 25), (20, 24)}
    assert len(list((target / "overlays").iterdir())) == 3
    with pytest.raises(SystemExit, match="packed: not empty"):
        script.main(photographs, photographs / "overlays", target)


def test_what_comes_back_is_what_a_card_is_made_of(load_script, tmp_path):
    folder = tmp_path / "trained" / "faded"
    folder.mkdir(parents=True)
    history = [{"step": 100, "validation_psnr": 20.0}]
    state = {"step": 100, "steps": 100, "history": history, "seconds": 60.0, "device": "a GPU"}
    torch.save({**state, "method": {"weights": torch.zeros(1000)}, "generators": {}}, folder / "last.pt")
    (folder / "best.safetensors").write_bytes(b"networks")
    load_script("slim").main(folder.parent, tmp_path / "slim")
    assert (tmp_path / "slim" / "faded" / "best.safetensors").read_bytes() == b"networks"
    assert torch.load(tmp_path / "slim" / "faded" / "last.pt", weights_only=True) == state
    assert load_script("ship").training_of(str(tmp_path / "slim" / "faded"))["steps"] == "100"


@pytest.mark.skipif(sys.platform != "linux", reason="timeout and split are those of Linux")
def test_all_trainings_run_side_by_side_and_a_failure_is_named(load_script, tmp_path):
    script = load_script("slim").__file__.replace("slim.py", "gpu_full.sh")
    stub, data, folder = tmp_path / "python", tmp_path / "data", tmp_path / "trained"
    stub.write_text(STUB)
    stub.chmod(0o755)

    data.mkdir()

    def run(fails, *more, minutes="1", sleep="0"):
        variables = {**os.environ, "PYTHON": str(stub), "DIVISOR": "10", "FAILS": fails, "SLEEP": sleep}
        return subprocess.run([script, data, folder, minutes, *more], env=variables, capture_output=True, text=True)

    done = run("nothing", tmp_path / "parts")
    assert done.returncode == 0, done.stderr
    said = {line.split(": ")[0]: line.split(": ")[1] for line in done.stdout.splitlines()}
    assert said == {
        name: line.replace(" data", f" {data}").replace("finder painter", f"{folder}/finder {folder}/painter")
        .replace(f" {name} ", f" {folder}/{name} ")
        for name, line in LOGS.items()
    }  # fmt: skip
    pieces = sorted((tmp_path / "parts").iterdir())
    assert len(pieces) == 2 and all(path.stat().st_size <= 15_000_000 for path in pieces)
    with tarfile.open(fileobj=io.BytesIO(b"".join(path.read_bytes() for path in pieces))) as archive:
        assert [(member.name, member.size) for member in archive if member.isfile()] == [("./best", 16_000_000)]
    failed = run("train_finder")
    assert failed.returncode == 1 and "finder failed, see" in failed.stderr and "painter" not in failed.stdout
    (folder / "painter.log").unlink()
    late = run("nothing", minutes="0", sleep="5")
    assert late.returncode == 0 and not (folder / "painter.log").exists(), "its turn is after the finder's"
    assert subprocess.run([script], capture_output=True, text=True).stdout.startswith("Train all networks that ship")
