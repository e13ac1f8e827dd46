"""One training loop that knows no method.

It needs a method (`methods.base.Method`: a `step` and a state) and a data set with one whole batch per step, each
batch a pure function of its step. So a training that was killed and starts again from its last checkpoint sees the
same batches, and ends with the same weights, bit for bit, on the same machine.
"""

import math
import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from restoration_lib.checks import check
from restoration_lib.devices import describe, pick_device, pick_precision
from restoration_lib.filesystem import shown, write_durably
from restoration_lib.methods.base import Method
from restoration_lib.progress import Progress

LAST, BEST = "last.pt", "best.safetensors"
ANEW = "or start the sweep with --fresh"  # what removes a run's checkpoints


class NonFiniteLoss(RuntimeError):
    """A loss term or gradient norm is NaN or infinite."""


def fit(
    method: Method,
    batches: Dataset,
    folder: str | Path,
    validate: Callable[[Method], dict[str, float]],
    validate_every: int = 200,  # steps between validations, each followed by a checkpoint
    log_every: int = 20,  # steps averaged into one row of the history
    device: str = "auto",  # "auto", "cpu" or "cuda"
    precision: str = "auto",  # "auto", "fp32" or "bf16"
    workers: int = 0,  # processes that prepare batches beside the training
) -> pd.DataFrame:
    """Train for `len(batches)` steps, or go on from `folder`/last.pt, and return the history.

    A method that does not learn is validated, as step 0.

    The folder receives `last.pt` (everything needed to go on) and `best.safetensors` (the networks at the best
    validation so far), both replaced atomically and flushed to the disk; and `progress.json`, for who watches.

    Args:
        batches: item `step` is the batch of that step, a dictionary of tensors (N, C, H, W).
        validate: metrics by name; the first decides which checkpoint is the best (higher is better).

    Returns:
        A row every `log_every` steps: `step`, the mean of each term; in validation rows also `validation_<name>`.
        Its `attrs` are what the record of a run keeps: `steps`, `seconds` (validations and stopped earlier parts
        included), `precision`, and `device`, in words.

    Raises:
        NonFiniteLoss: names the step and the term; the last good checkpoint stays.
        ValueError: `last.pt` is damaged, or belongs to another method, or to a training of another length.
    """
    folder, where, steps = Path(folder), pick_device(device), len(batches)
    for name, value in {"steps": steps, "validate_every": validate_every, "log_every": log_every}.items():
        check(name, value, 1)
    folder.mkdir(parents=True, exist_ok=True)
    method.to(where).precision = pick_precision(precision, where)
    if not method.learns:
        metrics = {f"validation_{name}": float(value) for name, value in validate(method).items()}
        _save_networks(method, folder / BEST)
        return _history([{"step": 0} | metrics], method, where, steps=0, seconds=0.0)
    state = _resume(method, folder / LAST, steps, where)
    start, before, history = state["step"], state["seconds"], state["history"]
    if start:
        print(f"goes on after step {start}")
    # a generator of its own: DataLoader would otherwise draw its seed from the global one, which the method uses
    loader = DataLoader(
        batches, batch_size=None, sampler=range(start, steps), num_workers=workers, generator=torch.Generator()
    )
    pending: list[dict[str, Tensor]] = []
    bar = tqdm(total=steps, initial=start, unit="step", disable=not _someone_watches(), mininterval=1, leave=False)
    progress = Progress(folder, start, steps)
    begin = time.perf_counter()
    method.train()
    for step, batch in enumerate(loader, start=start + 1):
        moved = {name: images.to(where, memory_format=torch.channels_last) for name, images in batch.items()}
        pending.append(method.step(moved))
        bar.update()
        progress.at(step)
        validating = step % validate_every == 0 or step == steps
        if validating or step % log_every == 0:
            history.append({"step": step, **_mean(pending, step, folder)})
            pending.clear()
        if validating:
            metrics = {name: float(value) for name, value in validate(method).items()}
            method.train()
            history[-1] |= {f"validation_{name}": value for name, value in metrics.items()}
            score = next(iter(metrics.values()))
            if score > state["best"]:
                state["best"] = score
                _save_networks(method, folder / BEST)
            elapsed = time.perf_counter() - begin
            state |= {"step": step, "seconds": before + elapsed}
            _save(method, folder / LAST, state, where)
            bar.write(_line(step, steps, history[-1], (step - start) / elapsed), file=sys.stdout)
    bar.close()
    return _history(history, method, where, steps, state["seconds"])


def _history(rows: list[dict], method: Method, device: torch.device, steps: int, seconds: float) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    table.attrs = {"steps": steps, "seconds": round(seconds, 1), "precision": method.precision}
    table.attrs["device"] = describe(device)
    return table


def load_best(method: Method, folder: str | Path) -> Method:
    """Give the method the networks of `folder`/best.safetensors, ready to restore.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / BEST
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{shown(path)} cannot be read ({error}); remove it and {LAST}, {ANEW}") from None
    for name, network in method.networks.items():
        prefix = f"{name}/"
        network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return method.train(False)


def _mean(pending: list[dict[str, Tensor]], step: int, folder: Path) -> dict[str, float]:
    """Mean of each term over the pending steps that have it. The values leave the device here, not at every step."""
    columns: dict[str, list[float]] = {}
    for place, terms in enumerate(pending, start=step + 1 - len(pending)):
        for name, term in terms.items():
            value = float(term)
            if not math.isfinite(value):
                kept = f"the last good checkpoint is {LAST}" if (folder / LAST).exists() else "no checkpoint yet"
                raise NonFiniteLoss(
                    f"step {place}: {name} is {value}; {kept}. A lower learning rate or precision fp32 may help"
                )
            columns.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in columns.items()}


def _resume(method: Method, path: Path, steps: int, device: torch.device) -> dict:
    """How far the last checkpoint is, or a new training: `step` of `steps`, `history`, `best` score, `seconds`."""
    state = {"step": 0, "steps": steps, "history": [], "best": -math.inf, "seconds": 0.0}
    if not path.exists():
        return state
    try:
        saved = _read(path, device)
        if saved["steps"] != steps:
            raise ValueError(f"it is of a training of {saved['steps']} steps, not {steps}")
        method.load_state_dict(saved["method"])
        torch.set_rng_state(saved["generators"]["cpu"].cpu())
        if device.type == "cuda" and "cuda" in saved["generators"]:
            torch.cuda.set_rng_state(saved["generators"]["cuda"].cpu(), device)
        return {name: saved[name] for name in state}
    except Exception as error:  # damaged files raise nearly anything, some with torch's advice to load them unsafely
        reason = " ".join(str(error).split()) if isinstance(error, ValueError) else type(error).__name__
        raise ValueError(f"{shown(path)} cannot be resumed ({reason}); remove it, {ANEW}") from None


def _read(path: Path, device: torch.device) -> dict:
    with zipfile.ZipFile(path) as archive:  # torch writes checksums, but reads numbers with flipped bits all the same
        if damaged := archive.testzip():
            raise ValueError(f"wrong checksum of {damaged}")
    return torch.load(path, map_location=device, weights_only=True)


def _save(method: Method, path: Path, state: dict, device: torch.device) -> None:
    generators = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(device)
    whole = {**state, "method": method.state_dict(), "generators": generators, "device": describe(device)}
    write_durably(path, lambda temporary: torch.save(whole, temporary))


def _save_networks(method: Method, path: Path) -> None:
    tensors = {}
    for name, network in method.networks.items():
        tensors |= {f"{name}/{key}": value.cpu().contiguous() for key, value in network.state_dict().items()}
    write_durably(path, lambda temporary: save_file(tensors, temporary))


def _someone_watches() -> bool:
    """A bar is for a terminal or a live notebook; a log gets the line of each validation alone."""
    return sys.stderr.isatty() or ("ipykernel" in sys.modules and "TQDM_DISABLE" not in os.environ)


def _line(step: int, steps: int, row: dict[str, float], rate: float) -> str:
    losses = [f"{name} {row[name]:.4f}" for name in ("generator", "discriminator") if name in row]
    metrics = [f"{name.removeprefix('validation_')} {v:.3f}" for name, v in row.items() if "validation_" in name]
    return f"step {step}/{steps}  {'  '.join(losses + metrics)}  {rate:.1f} steps/s"
