"""Networks against naive loops over pixels, finite differences, and receptive fields measured by gradient."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.networks.discriminators import PatchGAN
from restoration_lib.networks.generators import GENERATORS, Picker, ResidualFCN, build_generator


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def assert_close(found, expected, rtol=1e-5, atol=1e-5):
    # numpy's: the first call of torch.testing.assert_close imports 500 modules, five seconds or more
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=rtol, atol=atol)


def last_convolution(generator):
    return [layer for layer in generator.trunk if isinstance(layer, nn.Conv2d)][-1]


def decided(picker):
    """The picker with a last layer far from zero, so that its weights differ from pixel to pixel."""
    nn.init.normal_(last_convolution(picker).weight, std=2.0)
    return picker


def pick_naively(picture, weights, window):
    """Weighted mean of each pixel's window over the replicated border: (3, H, W), (window², H, W) to (3, H, W)."""
    radius = window // 2
    padded = np.pad(picture, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    result = np.zeros_like(picture)
    for row in range(picture.shape[1]):
        for column in range(picture.shape[2]):
            neighbours = padded[:, row : row + window, column : column + window].reshape(3, -1)
            result[:, row, column] = neighbours @ weights[:, row, column]
    return result


# ---- generators


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (3, 5), (17, 23), (64, 48)])
def test_a_picture_of_any_size_comes_back_at_its_size(name, height, width):
    pictures = torch.rand(2, 3, height, width)
    restored = build_generator(name, channels=8, blocks=1)(pictures)
    assert restored.shape == pictures.shape
    assert restored.dtype == torch.float32
    assert restored.isfinite().all()


@pytest.mark.parametrize("channels", [48, 64, 96])
def test_the_generators_are_of_equal_size(channels):
    fcn, picker = (
        sum(parameter.numel() for parameter in build_generator(name, channels, blocks=6).parameters())
        for name in ("fcn", "picker")
    )
    assert picker == pytest.approx(fcn, rel=0.05)


def test_an_unknown_generator_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"fcn, picker.*'unet'"):
        build_generator("unet", 8, 1)


def test_generators_start_near_the_input():
    pictures = torch.rand(1, 3, 32, 32)
    assert (ResidualFCN(16, 2)(pictures) - pictures).abs().mean() < 0.1
    weights = Picker(16, 2).weights(pictures)
    assert_close(weights, torch.full_like(weights, 1 / 49), rtol=0.5, atol=0)


@pytest.mark.parametrize("name", GENERATORS)
def test_every_parameter_gets_a_gradient(name):
    generator = build_generator(name, 8, 2)
    generator(torch.rand(1, 3, 9, 12)).square().mean().backward()
    for parameter in generator.parameters():
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("name", GENERATORS)
def test_the_pictures_of_a_batch_do_not_touch_each_other(name):
    generator = build_generator(name, 8, 1)
    pictures = torch.rand(3, 3, 10, 12)
    alone = torch.cat([generator(picture[None]) for picture in pictures])
    assert_close(generator(pictures), alone)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(("down", "right"), [(2, 0), (4, 6)])
def test_an_even_shift_of_the_picture_shifts_the_result(name, down, right):
    scene = torch.rand(1, 3, 52, 52)
    generator = build_generator(name, 8, 1)
    margin, side = 12, 44  # three 3x3 convolutions on folded pixels reach 6 px, those at full size and the window 4
    whole = generator(scene[..., :side, :side])
    moved = generator(scene[..., down : down + side, right : right + side])
    expected = whole[..., margin + down : side - margin, margin + right : side - margin]
    found = moved[..., margin : side - margin - down, margin : side - margin - right]
    assert_close(found, expected)


def test_fcn_adds_its_trunk_to_the_picture():
    fcn = ResidualFCN(8, 1)
    for parameter in last_convolution(fcn).parameters():
        nn.init.zeros_(parameter)
    pictures = torch.rand(1, 3, 7, 9)
    assert torch.equal(fcn(pictures), pictures)


# ---- picker


@pytest.mark.parametrize("window", [1, 3, 5, 7])
@pytest.mark.parametrize(("height", "width"), [(9, 12), (7, 5), (2, 3)])
def test_picker_equals_a_loop_over_pixels(window, height, width):
    picker = decided(Picker(8, 1, window))
    pictures = torch.rand(2, 3, height, width)
    with torch.no_grad():
        restored, weights = picker(pictures), picker.weights(pictures)
    assert weights.shape == (2, window**2, height, width)
    for n in range(2):
        expected = pick_naively(pictures[n].double().numpy(), weights[n].double().numpy(), window)
        np.testing.assert_allclose(restored[n].numpy(), expected, atol=1e-6)


def test_picker_stays_within_the_colours_of_the_window():
    picker = decided(Picker(8, 1, 5))
    pictures = torch.rand(1, 3, 11, 13)
    with torch.no_grad():
        restored, weights = picker(pictures), picker.weights(pictures)
    assert weights.min() >= 0
    assert weights.max() > 0.5, "the weights are too even to tell"
    assert_close(weights.sum(1), torch.ones(1, 11, 13))
    padded = np.pad(pictures[0].numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (1, 2))
    assert (restored[0].numpy() >= windows.min((3, 4)) - 1e-6).all()
    assert (restored[0].numpy() <= windows.max((3, 4)) + 1e-6).all()


@pytest.mark.parametrize("choice", [0, 3, 4, 8])
def test_a_sure_picker_copies_a_pixel_of_the_window(choice):
    picker = Picker(8, 1, window=3)
    scores = torch.zeros(1, 9, 6, 8)
    scores[:, choice] = 100
    picker.trunk.forward = lambda pictures: scores
    pictures = torch.rand(1, 3, 6, 8)
    down, right = choice // 3 - 1, choice % 3 - 1
    rows, columns = (np.arange(6) + down).clip(0, 5), (np.arange(8) + right).clip(0, 7)
    expected = pictures.numpy()[:, :, rows][..., columns]
    np.testing.assert_allclose(picker(pictures).numpy(), expected, atol=1e-6)


def test_gradients_of_the_weighted_sum_are_finite_differences():
    picker = Picker(8, 1, window=3)
    pictures, weights = torch.rand(1, 3, 4, 5), torch.rand(1, 9, 4, 5).softmax(1)
    upstream = torch.randn(1, 3, 4, 5)

    def total(pictures, weights):
        picker.weights = lambda _: weights
        return (upstream * picker(pictures)).sum()

    given = [pictures.requires_grad_(), weights.requires_grad_()]
    total(*given).backward()
    for place, one in enumerate(given):
        step = 0.5  # linear in each alone: a wide step is exact
        for k in range(one.numel()):
            change = torch.zeros(one.numel())
            change[k] = step
            up, down = ([x.detach().clone() for x in given] for _ in range(2))
            up[place] += change.view_as(one)
            down[place] -= change.view_as(one)
            slope = (total(*up) - total(*down)) / (2 * step)
            assert one.grad.flatten()[k].item() == pytest.approx(slope.item(), abs=2e-5)


def test_picker_in_bf16_takes_softmax_and_sum_in_float32():
    picker = decided(Picker(8, 1, 5))
    pictures = torch.rand(1, 3, 10, 13)
    seen = []
    picker.trunk.register_forward_hook(lambda module, given, result: seen.append(result))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        restored = picker(pictures)
    scores = seen[0][0, :, :10, :13]
    assert scores.dtype == torch.bfloat16
    assert restored.dtype == torch.float32
    powers = np.exp(scores.double().numpy())
    expected = pick_naively(pictures[0].double().numpy(), powers / powers.sum(0), 5)
    np.testing.assert_allclose(restored[0].numpy(), expected, atol=1e-6)


def test_fcn_in_bf16_adds_in_float32():
    fcn = ResidualFCN(8, 1)
    pictures = torch.rand(1, 3, 8, 8)
    seen = []
    fcn.trunk.register_forward_hook(lambda module, given, result: seen.append(result))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        restored = fcn(pictures)
    assert seen[0].dtype == torch.bfloat16
    np.testing.assert_allclose(restored.numpy(), pictures.numpy() + seen[0].double().numpy(), atol=1e-7)


@pytest.mark.parametrize("window", [0, 4, -1])
def test_a_window_without_a_middle_is_refused(window):
    with pytest.raises(ValueError, match="window"):
        Picker(8, 1, window)


# ---- discriminator


def without_norms(discriminator):
    """InstanceNorm ties each logit to the whole picture; this takes it out."""
    for place, layer in enumerate(discriminator.layers):
        if isinstance(layer, nn.InstanceNorm2d):
            discriminator.layers[place] = nn.Identity()
    return discriminator


@pytest.mark.parametrize(("halvings", "patch"), [(1, 16), (2, 34), (3, 70)])
@pytest.mark.parametrize("given", ["observed", "candidate"])
def test_a_logit_judges_a_patch_of_this_width(halvings, patch, given):
    discriminator = without_norms(PatchGAN(4, halvings)).double()
    pictures = {name: torch.rand(1, 3, 128, 144, dtype=torch.float64) for name in ("observed", "candidate")}
    pictures[given].requires_grad_()
    logits = discriminator(*pictures.values())
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    touched = (pictures[given].grad != 0).any(1)[0]
    for axis in (0, 1):
        places = touched.any(axis).nonzero().flatten()
        assert places.max() - places.min() + 1 == patch


@pytest.mark.parametrize(("halvings", "shape"), [(1, (30, 34)), (2, (14, 16)), (3, (6, 7))])
def test_the_map_of_logits_shrinks_with_the_halvings(halvings, shape):
    pictures = torch.rand(2, 3, 64, 72)
    # each halving divides by 2; the two convolutions of stride 1 take one position each
    assert PatchGAN(4, halvings)(pictures, pictures).shape == (2, 1, *shape)


def test_the_verdict_depends_on_both_pictures():
    discriminator = PatchGAN(4, 2)
    a, b, c = torch.rand(3, 1, 3, 32, 32)
    verdict = discriminator(a, b)
    assert not torch.allclose(discriminator(c, b), verdict, atol=1e-3)
    assert not torch.allclose(discriminator(a, c), verdict, atol=1e-3)
    assert not torch.allclose(discriminator(b, a), verdict, atol=1e-3)


def test_the_verdict_on_a_picture_does_not_depend_on_its_batch():
    discriminator = PatchGAN(4, 2)
    a, b = torch.rand(2, 4, 3, 32, 32)
    alone = torch.cat([discriminator(a[n : n + 1], b[n : n + 1]) for n in range(4)])
    assert_close(discriminator(a, b), alone, rtol=1e-4, atol=1e-4)
    assert_close(discriminator.eval()(a, b), alone, rtol=1e-4, atol=1e-4)
