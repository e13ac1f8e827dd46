"""How far a training is, as another process reads it."""

import json
import os

from restoration_lib import progress


def test_it_is_described_from_the_start_to_the_end(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    assert progress.described(tmp_path) == "starts"
    training = progress.Progress(folder, start=100, steps=1100)
    now[0] += 0.5
    training.at(101)
    assert progress.described(tmp_path) == "starts", "it does not write at every step"
    now[0] = 120.0
    training.at(200)  # 100 steps in 20 s, of 900 that are left
    assert progress.described(tmp_path) == "step 200/1100, 3 min left"
    now[0] = 300.0
    training.at(1000)
    assert progress.described(tmp_path) == "step 1000/1100, 22 s left"
    now[0] += 0.01
    training.at(1100)
    assert progress.described(tmp_path) == "measures"


def test_of_two_stages_the_later_one_counts_and_half_a_file_is_none(tmp_path):
    for name, step in (("first", 10), ("second", 3)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / progress.FILE
        path.write_text(json.dumps({"step": step, "steps": 10, "seconds_a_step": 1.0}))
        os.utime(path, (1000 + len(name),) * 2)
    assert progress.described(tmp_path) == "step 3/10, 7 s left"
    path.write_text('{"step": 3')
    assert progress.described(tmp_path) == "starts"
