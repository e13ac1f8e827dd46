"""The choice of device and precision, its refusals, and the line that names a device."""

import pytest
import torch

from restoration_lib import devices


@pytest.mark.parametrize("name", ["gpu", "cpu2x", ""])
def test_unknown_device_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"device: .*'{name}'"):
        devices.pick_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_absent_gpu_is_refused_by_name(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device: '{name}'"):
        devices.pick_device(name)


@pytest.mark.parametrize(("there", "picked"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_the_gpu_where_there_is_one(monkeypatch, there, picked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert devices.pick_device("auto").type == picked
    assert devices.pick_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["fp16", "float32", ""])
def test_unknown_precision_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"precision: .*auto, fp32, bf16.*'{name}'"):
        devices.pick_precision(name, torch.device("cpu"))


def test_precision_asked_for_is_the_one_taken():
    cpu = torch.device("cpu")
    assert [devices.pick_precision(name, cpu) for name in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert devices.pick_precision("auto", cpu) in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("processor", "instructions", "tiles", "picked"),
    [
        ("AMD EPYC", True, False, "bf16"),
        ("Intel(R) Xeon(R) Processor", True, True, "bf16"),
        ("Intel(R) Xeon(R) Processor", True, False, "fp32"),
        ("AMD EPYC", False, False, "fp32"),
    ],
)
def test_auto_takes_bf16_where_the_processor_is_faster_in_it(monkeypatch, processor, instructions, tiles, picked):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(devices, "_processor", lambda: processor)
    assert devices.pick_precision("auto", torch.device("cpu")) == picked


@pytest.mark.parametrize(("threads", "words"), [(1, "1 thread"), (3, "3 threads")])
def test_a_processor_is_described_by_its_name_and_the_threads(monkeypatch, threads, words):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    name, count = devices.describe(torch.device("cpu")).rsplit(", ", 1)
    assert name and count == words
