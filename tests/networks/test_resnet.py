"""The CycleGANs' generators: layers against the papers' lists, sizes, borders, colours worked out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.networks import resnet
from restoration_lib.networks.layers import ResidualBlock
from restoration_lib.networks.resnet import OldPhotoGenerator, ResnetGenerator

GENERATORS = {"old_photo": OldPhotoGenerator, "resnet": ResnetGenerator}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def layers(network, *kinds):
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=rtol, atol=atol)


def test_old_photo_generator_is_three_convolutions_six_blocks_three_transposed_convolutions():
    generator = OldPhotoGenerator(64, 6, "transposed", "instance", "tanh")
    assert [(c.in_channels, c.out_channels, c.stride) for c in layers(generator, nn.Conv2d)] == [
        *((i, o, (2, 2)) for i, o in ((3, 64), (64, 128), (128, 256))),
        *[(256, 256, (1, 1))] * 12,
    ]
    up = layers(generator, nn.ConvTranspose2d)
    assert [(c.in_channels, c.out_channels, c.stride) for c in up] == [
        (256, 128, (2, 2)), (128, 64, (2, 2)), (64, 3, (2, 2))
    ]  # fmt: skip
    assert len(layers(generator, nn.LeakyReLU)) == 3
    resize = OldPhotoGenerator(4, 1, "resize", "instance", "tanh")
    assert len(layers(resize, nn.Upsample)) == 3 and not layers(resize, nn.ConvTranspose2d)


@pytest.mark.parametrize("kind", GENERATORS)
def test_blocks_that_run_again_in_the_backward_pass_give_the_same_gradients(kind, monkeypatch):
    images, gradients, runs = torch.rand(1, 3, 32, 32), [], []
    for large in (resnet.LARGE, 32 * 32):
        monkeypatch.setattr(resnet, "LARGE", large)
        torch.manual_seed(0)
        generator, calls = GENERATORS[kind](4, 2, "transposed", "instance", "tanh"), []
        for block in layers(generator, ResidualBlock):
            block.register_forward_pre_hook(lambda module, given, calls=calls: calls.append(module))
        generator(images).square().sum().backward()
        gradients.append([parameter.grad for parameter in generator.parameters()])
        runs.append(len(calls))
    assert runs == [2, 4]
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_resnet_generator_has_the_layers_of_the_paper():
    """c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-3 (Zhu et al. 2017, appendix 7.2)."""
    generator = ResnetGenerator(64, 9, "transposed", "instance", "tanh")
    found = [
        (nn.ConvTranspose2d if c.transposed else nn.Conv2d, c.kernel_size[0], c.stride[0], c.out_channels)
        for c in layers(generator, nn.Conv2d, nn.ConvTranspose2d)
    ]
    convolution, transposed = nn.Conv2d, nn.ConvTranspose2d
    assert found == [
        (convolution, 7, 1, 64), (convolution, 3, 2, 128), (convolution, 3, 2, 256),
        *[(convolution, 3, 1, 256)] * 18,
        (transposed, 3, 2, 128), (transposed, 3, 2, 64), (convolution, 7, 1, 3),
    ]  # fmt: skip
    assert [n.num_features for n in layers(generator, nn.InstanceNorm2d)] == [64, 128, 256, *[256] * 18, 128, 64]


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_resnet_generator_has_the_parameters_of_the_paper_but_for_the_norms(upsampling):
    reference = 11_378_179  # of the authors' implementation: a bias at each convolution, norms without parameters
    normed = 64 + 128 + 256 + 18 * 256 + 128 + 64
    expected = reference + normed  # ours: weight and bias of a norm for each bias before it
    assert size(ResnetGenerator(64, 9, upsampling, "instance", "tanh")) == expected
    assert size(ResnetGenerator(64, 9, upsampling, "none", "tanh")) == expected - normed


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("shape", [(64, 64), (65, 71), (62, 47)])
def test_an_image_of_any_size_comes_back_at_its_size_and_in_range(kind, upsampling, norm, shape):
    images = torch.rand(1, 3, *shape)
    generator = GENERATORS[kind](4, 1, upsampling, norm, "tanh")
    for parameter in generator.layers[-1].parameters():
        nn.init.normal_(parameter, std=20)  # far into the ends of tanh
    drawn = generator(images)
    assert drawn.shape == images.shape
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert ((drawn < 0.01) | (drawn > 0.99)).any()


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_plain_colour_stays_plain_up_to_the_borders(kind):
    generator = GENERATORS[kind](8, 2, "resize", "none", "tanh")
    drawn = generator(torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 61, 70))
    assert_close(drawn, drawn[..., :1, :1].expand_as(drawn))


def starting_at(images, generator):
    """The generator, which starts near the images, and its last layer, set to zeros: now it makes the images."""
    assert (generator(images) - images).abs().mean() < 0.15
    last = generator.layers[-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    assert_close(generator(images), images)
    return generator, last


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_colour_output_is_a_matrix_and_an_offset_for_each_pixel(kind, upsampling):
    images = torch.rand(2, 3, 21, 30)
    generator, last = starting_at(images, GENERATORS[kind](4, 1, upsampling, "none", "colour"))
    matrix, offset = torch.randn(3, 3), torch.randn(3)
    with torch.no_grad():
        last.bias.copy_(torch.cat([matrix.flatten(), offset]))
    x = 2 * images.movedim(1, -1).numpy() - 1
    expected = (x + x @ matrix.numpy().T + offset.numpy() + 1) / 2
    np.testing.assert_allclose(generator(images).detach().movedim(1, -1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_residual_output_is_added_to_the_image(kind, upsampling):
    images = torch.rand(2, 3, 21, 30)
    generator, last = starting_at(images, GENERATORS[kind](4, 1, upsampling, "instance", "residual"))
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.2, 0.0, -1.0]))  # of images in [-1, 1]
    assert_close(generator(images), images + torch.tensor([0.1, 0.0, -0.5]).view(3, 1, 1))
