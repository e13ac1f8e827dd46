"""Layers that several networks share, against numpy and against values worked out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.networks.fast import InstanceNorm2d
from restoration_lib.networks.layers import ResidualBlock, convolution, norm_layers, pad, run_padded, shrink, upsample


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# ---- ResidualBlock, shrink


def test_a_residual_block_adds_what_its_layers_make_one_after_the_other():
    class Halved(nn.Module):
        def forward(self, x):
            return x / 2

    block = ResidualBlock(1, "none", Halved())
    for layer, bias in ((block.layers[0], 0.0), (block.layers[2], 1.0)):  # each doubles, the second one adds 1
        nn.init.dirac_(layer.weight)
        layer.weight.data *= 2
        nn.init.constant_(layer.bias, bias)
    x = torch.rand(2, 1, 3, 4)
    assert torch.allclose(block(x), x + 2 * (2 * x / 2) + 1)
    nn.init.constant_(block.layers[0].bias, 3.0)
    assert torch.allclose(block(x), x + 2 * ((2 * x + 3) / 2) + 1)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_residual_block_has_its_norm_after_each_convolution(norm):
    kinds = [type(layer) for layer in ResidualBlock(4, norm, nn.PReLU()).layers]
    expected = type(norm_layers(norm, 4)[0])
    assert kinds == [nn.Conv2d, expected, nn.PReLU, nn.Conv2d, expected]


def test_near_identity_shrinks_the_last_layer_alone():
    def block(**options):
        torch.manual_seed(1)
        return ResidualBlock(4, "none", nn.ReLU(), **options)

    plain, near = block().layers, block(near_identity=True).layers
    assert torch.equal(near[0].weight, plain[0].weight)
    assert torch.allclose(near[2].weight, plain[2].weight / 10)
    assert torch.equal(near[2].bias, plain[2].bias)


def test_shrink_takes_a_tenth_of_the_weight_and_still_trains():
    layer = nn.Conv2d(3, 5, 3)
    before = layer.weight.detach().clone()
    assert shrink(layer) is layer
    assert torch.allclose(layer.weight, 0.1 * before)
    assert layer.weight.requires_grad and layer.weight.is_leaf


# ---- borders


@pytest.mark.parametrize(("left", "right", "top", "bottom"), [(0, 0, 0, 0), (1, 2, 3, 4), (7, 0, 0, 9)])
def test_pad_repeats_the_border_pixels_on_each_side(left, right, top, bottom):
    images = torch.rand(2, 3, 4, 5)
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (top, bottom), (left, right)), mode="edge")
    np.testing.assert_array_equal(pad(images, left, right, top, bottom), expected)


@pytest.mark.parametrize(
    ("shape", "multiple", "padded"),
    [
        ((4, 6), 2, (4, 6)),
        ((5, 7), 2, (6, 8)),
        ((1, 1), 8, (8, 8)),
        ((16, 17), 8, (16, 24)),
        ((9, 16), 8, (16, 16)),
        ((5, 7), 1, (5, 7)),
    ],
)
def test_run_padded_repeats_the_last_row_and_column_up_to_the_next_multiple(shape, multiple, padded):
    images = torch.rand(2, 3, *shape)
    below, right = padded[0] - shape[0], padded[1] - shape[1]
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
    seen = []
    assert torch.equal(run_padded(lambda x: seen.append(x) or x, images, multiple), images)
    np.testing.assert_array_equal(seen[0], expected)


# ---- convolutions and norms


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("instance", InstanceNorm2d)])
def test_a_norm_has_a_weight_and_an_offset_for_each_channel_and_takes_the_bias_before_it(norm, kind):
    [layer] = norm_layers(norm, 6)
    assert type(layer) is kind
    assert layer.weight.shape == layer.bias.shape == (6,)
    for layers in (
        convolution(3, 6, 3, norm),
        upsample(3, 6, 4, "transposed", norm),
        upsample(3, 6, 4, "resize", norm),
    ):
        assert type(layers[-1]) is kind and layers[-1].num_features == 6
        assert layers[-2].bias is None


def test_without_a_norm_a_layer_has_a_bias():
    assert norm_layers("none", 6) == []
    [layer] = convolution(3, 6, 3, "none")
    assert layer.bias.shape == (6,)
    for upsampling in ("transposed", "resize"):
        assert upsample(3, 6, 4, upsampling)[-1].bias.shape == (6,)


@pytest.mark.parametrize(("padding_mode", "numpys"), [({}, "reflect"), ({"padding_mode": "zeros"}, "constant")])
def test_a_convolution_reflects_the_borders_unless_told_otherwise(padding_mode, numpys):
    [layer] = convolution(2, 3, 3, "none", **padding_mode, stride=2, padding=1)
    image = torch.rand(1, 2, 8, 6)
    padded = np.pad(image[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode=numpys)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = np.empty((3, 4, 3))
    for row in range(4):
        for column in range(3):
            window = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            expected[:, row, column] = (weight * window).sum((1, 2, 3)) + bias
    np.testing.assert_allclose(layer(image)[0].detach(), expected, atol=1e-6)


# ---- upsampling


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("side", [3, 4])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 8), (7, 5)])
def test_upsampling_doubles_both_sides(upsampling, side, norm, height, width):
    network = nn.Sequential(*upsample(4, 2, side, upsampling, norm))
    assert network(torch.rand(2, 4, height, width)).shape == (2, 2, 2 * height, 2 * width)


def test_resize_repeats_each_pixel_and_then_convolves_with_reflected_borders():
    network = nn.Sequential(*upsample(1, 1, 4, "resize"))
    x = torch.rand(1, 1, 3, 4)
    repeated = np.pad(x[0, 0].numpy().repeat(2, 0).repeat(2, 1), 1, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(repeated, (3, 3))
    layer = network[-1]
    expected = (windows * layer.weight[0, 0].detach().numpy()).sum((2, 3)) + layer.bias.item()
    np.testing.assert_allclose(network(x)[0, 0].detach(), expected, atol=1e-6)


@pytest.mark.parametrize("side", [3, 4])
def test_a_transposed_convolution_stamps_its_kernel_at_every_second_pixel(side):
    [layer] = upsample(1, 1, side, "transposed")
    x = torch.rand(1, 1, 3, 4)
    kernel = layer.weight[0, 0].detach().numpy()
    stamped = np.zeros((2 * 3 + side, 2 * 4 + side))
    for row in range(3):
        for column in range(4):
            stamped[2 * row : 2 * row + side, 2 * column : 2 * column + side] += x[0, 0, row, column].item() * kernel
    expected = stamped[1:7, 1:9] + layer.bias.item()  # cut to twice the size, one pixel from the top left
    np.testing.assert_allclose(layer(x)[0, 0].detach(), expected, atol=1e-6)


def test_an_even_image_stays_even_through_resize_but_not_through_a_transposed_convolution():
    even = torch.full((1, 3, 8, 8), 0.7)
    resized = nn.Sequential(*upsample(3, 3, 4, "resize"))(even)
    stamped = nn.Sequential(*upsample(3, 3, 4, "transposed"))(even)[..., 2:-2, 2:-2]
    assert resized.std((2, 3)).max() < 1e-6
    assert stamped.std((2, 3)).min() > 1e-3


# ---- refused


@pytest.mark.parametrize("make", [norm_layers, lambda norm, outputs: convolution(3, outputs, 3, norm)])
def test_an_unknown_norm_is_named_with_the_known_ones(make):
    with pytest.raises(ValueError, match="norm: expected one of batch, instance, none, got 'layer'"):
        make("layer", 4)


def test_an_unknown_upsampling_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="upsampling: expected one of transposed, resize, got 'shuffle'"):
        upsample(4, 2, 3, "shuffle")
