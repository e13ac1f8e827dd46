"""The faster layers against PyTorch's own: values, every gradient, memory format, names of the weights."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.networks import fast, resnet
from restoration_lib.networks.discriminators import PatchGAN
from restoration_lib.networks.fcn import ResidualFCN
from restoration_lib.networks.srresnet import SRResNet


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def started(layer):
    """The layer in float64 with weights that no start has, so that none can hide."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


def assert_equal_to_pytorchs(layers, references, shape):
    found, expected = nn.Sequential(*layers), nn.Sequential(*references)
    expected = started(expected)
    found.double().load_state_dict(expected.state_dict())  # the same names and shapes
    images = torch.randn(*shape, dtype=torch.float64).to(memory_format=torch.channels_last)
    upstream, results = None, []
    for network in (found, expected):
        x = images.clone().requires_grad_()
        made = network(x)
        upstream = torch.randn_like(made) if upstream is None else upstream
        made.backward(upstream)
        results.append([made.detach(), x.grad, *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-8, atol=1e-8)


FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("of_gradient", FORMATS, ids=str)
@pytest.mark.parametrize("of_images", FORMATS, ids=str)
@pytest.mark.parametrize("shape", [(1, 5, 6, 8), (1, 5, 1, 2), (3, 5, 6, 8)], ids=str)
def test_instance_norm(shape, of_images, of_gradient):
    """Against its formula: PyTorch's has a wrong gradient where a single image's comes in channels_last."""
    layer = started(fast.InstanceNorm2d(5, affine=True, eps=1e-3))
    images, upstream = (torch.randn(*shape, dtype=torch.float64) for _ in range(2))
    results = []
    for formats in ((of_images, of_gradient), (torch.contiguous_format,) * 2):
        x, gradient = (
            values.clone(memory_format=kind) for values, kind in zip((images, upstream), formats, strict=True)
        )
        x.requires_grad_()
        layer.zero_grad()
        if not results:
            made = layer(x)
        else:
            variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
            made = (x - mean) / (variance + 1e-3).sqrt() * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)
        made.backward(gradient)
        results.append([made.detach(), x.grad, layer.weight.grad, layer.bias.grad])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)


def test_instance_norm_measures_the_image_in_evaluation_too():
    layer, reference = (kind(4, affine=True).eval() for kind in (fast.InstanceNorm2d, nn.InstanceNorm2d))
    image = 3 + 2 * torch.randn(1, 4, 6, 8)
    np.testing.assert_allclose(layer(image).detach(), reference(image).detach(), atol=1e-6)


def test_prelu():
    assert_equal_to_pytorchs([fast.PReLU()], [nn.PReLU()], (2, 3, 5, 6))
    images = torch.randn(2, 3, 5, 6)
    with torch.no_grad():
        np.testing.assert_array_equal(fast.PReLU()(images), nn.PReLU()(images))


@pytest.mark.parametrize("side", [1, 3])
def test_pixel_shuffle_after_its_convolution(side):
    options = {"kernel_size": side, "padding": side // 2}
    ours = [fast.SubPixelConv2d(3, 20, **options), fast.PixelShuffle()]
    assert_equal_to_pytorchs(ours, [nn.Conv2d(3, 20, **options), nn.PixelShuffle(2)], (2, 3, 5, 7))


@pytest.mark.parametrize("shape", [(2, 5, 12, 10), (2, 5, 11, 10), (2, 5, 12, 9)], ids=str)
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
@pytest.mark.parametrize("side", [3, 7, 9])
def test_convolution_to_few_channels(side, padding_mode, shape):
    options = {"kernel_size": side, "padding": side // 2, "padding_mode": padding_mode}
    layers = [kind(5, 3, **options) for kind in (fast.FewOutputsConv2d, nn.Conv2d)]
    assert_equal_to_pytorchs(layers[:1], layers[1:], shape)


@pytest.mark.parametrize(
    "layers",
    [
        [fast.InstanceNorm2d(4, affine=True)],
        [fast.PReLU()],
        [fast.SubPixelConv2d(4, 12, 3, padding=1), fast.PixelShuffle()],
        [fast.FewOutputsConv2d(4, 3, 7, padding=3)],
    ],
    ids=lambda layers: type(layers[0]).__name__,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_memory_format_and_type_stay(layers, dtype):
    images = torch.randn(1, 4, 8, 10).to(dtype, memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        made = nn.Sequential(*layers)(images)
    assert made.dtype == dtype and made.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda: resnet.ResnetGenerator(4, 1, "transposed", "instance", "tanh"),
        lambda: resnet.OldPhotoGenerator(4, 1, "transposed", "instance", "tanh"),
        lambda: PatchGAN(4, 2, images=1),
        lambda: SRResNet(4, 4, 1, norm="none", residual=True),
        lambda: ResidualFCN(8, 1),
    ],
    ids=["resnet", "old_photo", "patchgan", "srresnet", "fcn"],
)
def test_networks_learn_the_same_in_either_memory_format(make, count):
    network, images, gradients = make().double(), torch.rand(count, 3, 32, 32, dtype=torch.float64), []
    for memory_format in FORMATS:
        network.to(memory_format=memory_format).zero_grad()
        network(images.to(memory_format=memory_format)).square().mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).numpy())
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-6 * np.abs(gradients[0]).max())
