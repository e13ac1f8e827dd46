"""`picker` against naive loops over pixels and finite differences."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.networks.picker import Picker


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def decided(picker):
    """The picker with a last layer far from zero, so that its weights differ from pixel to pixel."""
    last = [layer for layer in picker.trunk if isinstance(layer, nn.Conv2d)][-1]
    nn.init.normal_(last.weight, std=2.0)
    return picker


def pick_naively(image, weights, window):
    """Weighted mean of each pixel's window over the replicated border: (3, H, W), (window², H, W) to (3, H, W)."""
    radius = window // 2
    padded = np.pad(image, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    result = np.zeros_like(image)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            neighbours = padded[:, row : row + window, column : column + window].reshape(3, -1)
            result[:, row, column] = neighbours @ weights[:, row, column]
    return result


def test_picker_starts_at_the_mean_of_the_window():
    with torch.no_grad():
        weights = Picker(16, 2).predict(torch.rand(1, 3, 32, 32))[0]
    np.testing.assert_allclose(weights, np.full((1, 49, 32, 32), 1 / 49), rtol=0.5)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("window", [1, 3, 5, 7])
@pytest.mark.parametrize(("height", "width"), [(9, 12), (7, 5), (2, 3)])
def test_picker_equals_a_loop_over_pixels(window, height, width, corrected):
    picker = decided(Picker(8, 1, window, corrected))
    images = torch.rand(2, 3, height, width)
    with torch.no_grad():
        restored, (weights, corrections) = picker(images), picker.predict(images)
    assert weights.shape == (2, window**2, height, width)
    assert corrections.shape == (2, 3 if corrected else 0, height, width)
    for n in range(2):
        expected = pick_naively(images[n].double().numpy(), weights[n].double().numpy(), window)
        if corrected:
            expected += corrections[n].double().numpy()
        np.testing.assert_allclose(restored[n].numpy(), expected, atol=1e-5)


def test_picker_stays_within_the_colours_of_the_window():
    picker = decided(Picker(8, 1, 5))
    images = torch.rand(1, 3, 11, 13)
    with torch.no_grad():
        restored, weights = picker(images), picker.predict(images)[0]
    assert weights.min() >= 0
    assert weights.max() > 0.5, "the weights are too even to tell"
    np.testing.assert_allclose(weights.sum(1), np.ones((1, 11, 13)), rtol=1e-5, atol=1e-5)
    padded = np.pad(images[0].numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (1, 2))
    assert (restored[0].numpy() >= windows.min((3, 4)) - 1e-6).all()
    assert (restored[0].numpy() <= windows.max((3, 4)) + 1e-6).all()


@pytest.mark.parametrize("choice", [0, 3, 4, 8])
def test_a_sure_picker_copies_a_pixel_of_the_window(choice):
    picker = Picker(8, 1, window=3)
    scores = torch.zeros(1, 9, 6, 8)
    scores[:, choice] = 100
    picker.trunk.forward = lambda images: scores
    images = torch.rand(1, 3, 6, 8)
    down, right = choice // 3 - 1, choice % 3 - 1
    rows, columns = (np.arange(6) + down).clip(0, 5), (np.arange(8) + right).clip(0, 7)
    expected = images.numpy()[:, :, rows][..., columns]
    np.testing.assert_allclose(picker(images).numpy(), expected, atol=1e-6)


def test_gradients_of_the_weighted_sum_are_finite_differences():
    picker = Picker(8, 1, window=3)
    images, weights = torch.rand(1, 3, 4, 5), torch.rand(1, 9, 4, 5).softmax(1)
    upstream = torch.randn(1, 3, 4, 5)

    def total(images, weights):
        picker.predict = lambda _: (weights, None)
        return (upstream * picker(images)).sum()

    given = [images.requires_grad_(), weights.requires_grad_()]
    total(*given).backward()
    for place, one in enumerate(given):
        step = 0.5  # linear in each by itself: a wide step is exact
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
    images = torch.rand(1, 3, 10, 13)
    seen = []
    picker.trunk.register_forward_hook(lambda module, given, result: seen.append(result))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        restored = picker(images)
    scores = seen[0][0, :, :10, :13]
    assert scores.dtype == torch.bfloat16
    assert restored.dtype == torch.float32
    powers = np.exp(scores.double().numpy())
    expected = pick_naively(images[0].double().numpy(), powers / powers.sum(0), 5)
    np.testing.assert_allclose(restored[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("window", [0, 4, -1])
def test_a_window_without_a_middle_is_refused(window):
    with pytest.raises(ValueError, match=f"window: expected an odd number, 1 or more, got {window}"):
        Picker(8, 1, window)
