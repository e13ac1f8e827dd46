"""VGG against torchvision's own networks, with random weights: nothing is downloaded."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from restoration_lib.networks.vgg import VGG


def tensors_of(features):
    """The weights of a network's convolutions, under the names that VGG takes them by."""
    convolutions = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    return {f"conv{k}.{name}": p for k, layer in enumerate(convolutions) for name, p in layer.state_dict().items()}


def untrained_vgg16():
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    return [nn.Conv2d(a, b, 3) for a, b in pairwise(widths)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "letter", "last_of_each_block"),  # the letter of the configuration in the paper; relu1_2, relu2_2, …
    [("vgg16", "D", (3, 8, 15, 22, 29)), ("vgg19", "E", (3, 8, 17, 26, 35))],
)
def test_maps_equal_those_of_torchvisions_network(name, letter, last_of_each_block):
    from torchvision.models.vgg import cfgs, make_layers
    from torchvision.transforms.functional import normalize

    torch.manual_seed(0)
    features = make_layers(cfgs[letter])
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)  # or the deep maps fade
    network = VGG({**tensors_of(features), "head0": torch.ones(64)})  # the heads of LPIPS are no part of it
    assert network.name == name
    images = torch.rand(2, 3, 48, 40)
    x, expected = normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), []
    with torch.no_grad():
        for k, layer in enumerate(features):
            x = layer(x)
            if k in last_of_each_block:
                expected.append(x.clone())
        found = network(images)
    assert [tuple(maps.shape[1:]) for maps in found] == [
        (64, 48, 40), (128, 24, 20), (256, 12, 10), (512, 6, 5), (512, 3, 2)
    ]  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        assert other.std() > 0.1, "too even to tell"
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_an_image_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match=r"VGG: images of \(15, 40\) px are too small, take 16 px or more"):
        VGG(tensors_of(untrained_vgg16()))(torch.rand(1, 3, 15, 40))


def test_the_first_blocks_alone_are_the_first_of_all():
    network, images = VGG(tensors_of(untrained_vgg16())), torch.rand(1, 3, 32, 48)
    found, every = network(images, depth=3), network(images)
    assert len(found) == 3 and all(torch.equal(one, other) for one, other in zip(found, every[:3], strict=True))


def test_a_gradient_goes_through_to_the_image_and_leaves_the_weights_alone():
    network = VGG(tensors_of(untrained_vgg16()))
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(image)[-1].sum().backward()
    assert image.grad.abs().max() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
