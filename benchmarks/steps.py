"""Where the time of a training step goes, for every method: `python benchmarks/steps.py [METHOD …]`.

Prints one JSON line a method, built as its notebook builds it, with the sizes of the sweeps' `full` profiles that a
CPU can train, on crops of the sample images, in the precision "auto":

    batch_ms  making a batch, degradation included; step_ms a step on it: the fastest of several
    conv_ms   the convolutions of these sizes by themselves, PyTorch's own, forward and backward, each as often as a
              step runs it, in its precision and in channels_last: what the networks cost at this machine's speed
    shares    of a step under the profiler: convolutions, norms, activations, losses, optimiser, and copies (changes of
              type, layout and size), the backward pass of each with it; Python and all else is "other". Where
              convolutions are 0.86 of a step, it could be 1 / 0.86 = 1.16 times as fast at most, all else being free

With one CPU thread (OMP_NUM_THREADS=1) the times are the processor's.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.profiler import profile, record_function

from restoration_lib import losses
from restoration_lib.data import batches, datasets, splits
from restoration_lib.degradations import degradation
from restoration_lib.devices import describe, pick_device, pick_precision
from restoration_lib.methods.cyclegan import CycleGAN
from restoration_lib.methods.pix2pix import Pix2Pix
from restoration_lib.methods.shuffle import AdversarialRestorer
from restoration_lib.methods.srgan import SRGAN
from restoration_lib.networks import vgg_weights
from restoration_lib.networks.vgg import VGG

STEPS, REPEATS, CONVOLUTION_REPEATS = 1000, 15, 7
KINDS = {  # of operators, by words in their names; the first that fits
    "convolutions": ("conv",),
    "norms": ("norm",),
    "activations": ("relu", "softmax", "tanh", "sigmoid", "dropout", "threshold"),
    "copies": ("copy", "cat", "pad", "upsample", "clone", "fill", "zero", "shuffle", "slice", "stack"),
}
SHARES = (*KINDS, "losses", "optimiser", "other")


def shuffle(generator: str, channels: int, **weights: float):
    """shuffled_faces and loss_ablation_faces: a method, its batches, and what of it is a size."""
    sizes = {"generator": generator, "channels": channels, "blocks": 6}
    return AdversarialRestorer(steps=STEPS, losses=weights, **sizes), paired("pixel_shuffle", 64, size=320), sizes


def cyclegan(architecture: str, crop: int, domains: tuple[str, str], degrade, losses: dict[str, float], **options):
    """old_photos_256, and the networks of the paper."""
    sizes = {"architecture": architecture, "features": 16} | options
    split_a, split_b = splits.split_domains(*domains)
    a, b = (datasets.load(split["train"], 9 * crop // 8, 16, min_side=crop) for split in (split_a, split_b))
    unpaired = batches.UnpairedBatches(a, b, degrade, crop=crop, batch_size=1, steps=STEPS, seed=0)
    return CycleGAN(steps=STEPS, losses=losses, **sizes), unpaired, sizes


def pix2pix(generator: str, features: int):
    """scratches."""
    sizes = {"generator": generator, "features": features, "crop": 128, "discriminator_features": 16}
    weights = {"l1": 100.0, "adversarial": 0.1 if generator == "refined" else 1.0}
    drawn = paired("scratches", 128, size=512, share=0.8)
    return Pix2Pix(steps=STEPS, losses=weights, **sizes), batches.MonochromeBatches(drawn, 0.5, drawn=True), sizes


def srgan(pretraining_steps: int, adversarial_steps: int):
    """srgan_photos."""
    sizes = {"features": 48, "blocks": 8, "norm": "none", "residual": True, "discriminator_features": 16}
    vgg = VGG(vgg_weights.vgg16()) if adversarial_steps else None
    weights, lengths = {"content": 1.0, "adversarial": 1e-3}, (pretraining_steps, adversarial_steps)
    method = SRGAN(pretraining_steps=lengths[0], adversarial_steps=lengths[1], vgg=vgg, losses=weights, **sizes)
    return method, paired("downscale", 96, size=320, turned=True, scale=4), sizes


def paired(name: str, crop: int, size: int, turned: bool = False, **options) -> batches.CropBatches:
    images = datasets.load(splits.split_dataset("samples")["train"], size, 16, min_side=crop)
    degrade = degradation(name, **options)
    return batches.CropBatches(images, degrade, crop=crop, batch_size=4, steps=STEPS, seed=0, turned=turned)


OLD = {"blocks": 6, "output": "colour", "upsampling": "resize", "norm": "none", "discriminator_norm": "none"}
PHOTOGRAPHS, PAINTINGS = "samples/photographs", "samples/paintings"
METHODS: dict[str, Callable] = {
    "shuffle fcn": partial(shuffle, "fcn", 48, l1=1.0),
    "shuffle fcn adversarial": partial(shuffle, "fcn", 32, l1=1.0, ms_ssim=0.2, cosine=0.2, adversarial=0.001),
    "shuffle picker": partial(shuffle, "picker", 32, l1=1.0, ms_ssim=0.2, cosine=0.2),
    "shuffle picker adversarial": partial(shuffle, "picker", 32, l1=1.0, ms_ssim=0.2, adversarial=0.001),
    "cyclegan old_photo": partial(
        cyclegan, "old_photo", 256, (PHOTOGRAPHS, PHOTOGRAPHS), degradation("ageing"),
        {"adversarial": 1.0, "cycle": 3.0, "identity": 0.5}, discriminator_blur=19, **OLD
    ),
    "cyclegan resnet identity": partial(
        cyclegan, "resnet", 64, (PAINTINGS, PHOTOGRAPHS), degradation("none"),
        {"adversarial": 1.0, "cycle": 10.0, "identity": 5.0}, blocks=3
    ),
    "pix2pix unet": partial(pix2pix, "unet", 32),
    "pix2pix refined": partial(pix2pix, "refined", 16),
    "srgan first stage": partial(srgan, STEPS, 0),
    "srgan second stage": partial(srgan, 0, STEPS),
}  # fmt: skip


def milliseconds(work: Callable, device: torch.device, repeats: int = REPEATS) -> float:
    """Time of the fastest call, after one that does not count."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for _ in range(repeats + 1):
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - start)
    return 1000 * min(times[1:])


def convolutions(method, step: Callable) -> Counter:
    """The calls of `torch.convolution` and its backward pass that a step makes, by their arguments, and how often."""
    seen, hooks = Counter(), []

    def note(layer: nn.Conv2d | nn.ConvTranspose2d, given: tuple, made: torch.Tensor) -> None:
        shape, reflected = list(given[0].shape), layer.padding_mode != "zeros"
        if reflected:
            shape[2:] = [side + 2 * margin for side, margin in zip(shape[2:], layer.padding, strict=True)]
        wanted = (
            given[0].requires_grad,
            layer.weight.requires_grad,
            layer.weight.requires_grad and layer.bias is not None,
        )
        padding = (0, 0) if reflected else layer.padding
        geometry = (layer.stride, padding, layer.dilation, layer.transposed, layer.output_padding, layer.groups)
        seen[tuple(shape), made.dtype, tuple(layer.weight.shape), layer.bias is not None, geometry, wanted] += 1

    for network in (*method.networks.values(), *method.frozen.values()):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                hooks.append(layer.register_forward_hook(note))
    step()
    for hook in hooks:
        hook.remove()
    return seen


def convolution_ms(shape, dtype, weight_shape, biased, geometry, wanted, device: torch.device) -> float:
    options = {"device": device, "dtype": dtype}
    x, weight = (torch.randn(side, **options).to(memory_format=torch.channels_last) for side in (shape, weight_shape))
    bias = torch.randn(weight_shape[1 if geometry[3] else 0], **options) if biased else None
    gradient = torch.ops.aten.convolution(x, weight, bias, *geometry)
    sizes = list(bias.shape) if biased else None

    def work() -> None:
        torch.ops.aten.convolution(x, weight, bias, *geometry)
        if any(wanted):
            torch.ops.aten.convolution_backward(gradient, x, weight, sizes, *geometry, wanted)

    return milliseconds(work, device, CONVOLUTION_REPEATS)


def named_losses() -> dict[str, Callable]:
    names = [name for name in vars(losses) if name in {*losses.RECONSTRUCTION, "bce", "dice", "least_squares"}]
    return {name: getattr(losses, name) for name in names}


def shares(step: Callable) -> dict[str, float]:
    """Of the time of a step on the CPU, by kind: each operator's own, the backward one's as that of its forward one."""

    def marked(loss: Callable) -> Callable:
        def run(*given):
            with record_function("losses"):
                return loss(*given)

        return run

    plain, table = named_losses(), dict(losses.RECONSTRUCTION)
    for name, loss in plain.items():
        setattr(losses, name, marked(loss))
    losses.RECONSTRUCTION.update({name: marked(loss) for name, loss in table.items()})
    try:
        with profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            for _ in range(3):
                with record_function("a step"):
                    step()
    finally:
        for name, loss in plain.items():
            setattr(losses, name, loss)
        losses.RECONSTRUCTION.update(table)
    events = profiler.events()
    of_losses = {event.sequence_nr for event in events if _inside(event, "losses")} - {-1}
    total, times = sum(event.cpu_time_total for event in events if event.name == "a step"), Counter()
    for event in events:
        times[_kind(event, of_losses)] += event.self_cpu_time_total
    times["other"] = total - sum(times[kind] for kind in SHARES if kind != "other")
    return {kind: round(times[kind] / total, 3) for kind in SHARES}


def _inside(event, name: str) -> bool:
    return event is not None and (event.name.startswith(name) or _inside(event.cpu_parent, name))


def _kind(event, of_losses: set[int]) -> str:
    if _inside(event, "Optimizer.step"):
        return "optimiser"
    if _inside(event, "losses"):
        return "losses"
    while event is not None:
        if "evaluate_function" in event.name and event.sequence_nr in of_losses:
            return "losses"
        for kind, words in KINDS.items():
            if any(word in event.name.lower() for word in words):
                return kind
        event = event.cpu_parent
    return "other"


def row(name: str, device: torch.device) -> dict:
    torch.manual_seed(0)
    method, data, sizes = METHODS[name]()
    method.to(device).train().precision = pick_precision("auto", device)
    batch = {key: value.to(device, memory_format=torch.channels_last) for key, value in data[0].items()}
    step = partial(method.step, batch)
    for _ in range(3):
        step()
    of_step = milliseconds(step, device)
    made = iter(range(1, STEPS))
    of_batch = milliseconds(lambda: data[next(made)], torch.device("cpu"))
    calls = convolutions(method, step)
    of_convolutions = sum(count * convolution_ms(*call, device) for call, count in calls.items())
    batch_size, _, side, _ = batch["b" if "b" in batch else "target"].shape
    return {
        "method": name,
        "sizes": {"batch": f"{batch_size} x {side} px"} | sizes,
        "commit": commit(),
        "device": describe(device),
        "precision": method.precision,
        "batch_ms": round(of_batch, 1),
        "step_ms": round(of_step, 1),
        "conv_ms": round(of_convolutions, 1),
        "shares": shares(step),
    }


def commit() -> str:
    """Of the library that was imported."""
    command = ["git", "-C", str(Path(losses.__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def main(names: list[str]) -> None:
    device = pick_device()
    for name in names or METHODS:
        print(json.dumps(row(name, device)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
