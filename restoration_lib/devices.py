"""Device and precision: where the work runs, and in how many bits."""

import platform
import re
from pathlib import Path

import torch

from restoration_lib.checks import check_choice


def pick_device(device: str = "auto") -> torch.device:
    """The device by name; "auto" takes the GPU where there is one.

    Raises:
        ValueError: a name that torch does not know, or a GPU that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device: expected auto, cpu or cuda, got {device!r}") from None
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: {device!r} was asked for, but torch sees no GPU here; take auto or cpu")
    return picked


def pick_precision(precision: str, device: torch.device) -> str:
    """ "fp32" or "bf16"; "auto" takes bf16 where the hardware is faster in it.

    Raises:
        ValueError: another name.
    """
    check_choice("precision", precision, ("auto", "fp32", "bf16"))
    if precision != "auto":
        return precision
    on_gpu = device.type == "cuda"
    faster = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else _faster_in_bf16()
    return "bf16" if faster else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context of the forward passes."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def describe(device: torch.device) -> str:
    """One line for tables: the processor and the number of threads, or the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads > 1)}"


def _faster_in_bf16() -> bool:
    """Of this processor: AMD's AVX-512 and others are, Intel's is with AMX alone.

    A Xeon without AMX (virtual machines hide it) has instructions for bf16 too, and its convolutions in bf16 take half
    as long again as those in float32.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False  # oneDNN's own answer, not public in torch: it would be emulated
    return torch.cpu._is_amx_tile_supported() or "Intel" not in _processor()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name.*?:(.*)$", info.read_text(), re.MULTILINE) if info.exists() else None
    if found:
        return found[1].strip()
    return platform.processor() or platform.machine()
