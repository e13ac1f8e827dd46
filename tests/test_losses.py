"""Losses against scipy, scikit-image, pytorch-msssim, naive formulas, and finite differences."""

import math
import re

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import scipy.spatial.distance
import scipy.special
import skimage.data
import torch
from PIL import Image
from skimage.metrics import mean_squared_error, structural_similarity
from torch.autograd import gradcheck

from restoration_lib import losses

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def image_pair(height, width):
    """A photograph and a shifted, noisy one, RGB in [0, 1], float64 (H, W, 3)."""
    photograph = skimage.data.astronaut() / 255
    noise = np.random.default_rng(0).normal(0, 0.05, (height, width, 3))
    a = photograph[20 : 20 + height, 120 : 120 + width]
    b = photograph[21 : 21 + height, 119 : 119 + width]
    return a.copy(), (b + noise).clip(0, 1)


def tensor(*images):
    """Images (H, W, 3) as a batch (N, 3, H, W), float64."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def luma(image):
    return 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def blur(image):
    """Gaussian window of 11 pixels, positions where it lies inside the image."""
    return scipy.ndimage.gaussian_filter(image, 1.5, radius=5)[5:-5, 5:-5]


def halve(image):
    """Means of 2x2 pixels; an odd last row or column is dropped."""
    return (image[:-1:2, :-1:2] + image[1::2, :-1:2] + image[:-1:2, 1::2] + image[1::2, 1::2]) / 4


def multi_scale(a, b, scales):
    """MS-SSIM of grey float64 images as in Wang, Simoncelli and Bovik 2003, equation 7."""
    c1, c2 = 0.01**2, 0.03**2
    index = 1.0
    for scale in range(scales):
        mean_a, mean_b = blur(a), blur(b)
        variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
        covariance = blur(a * b) - mean_a * mean_b
        term = (2 * covariance + c2) / (variance_a + variance_b + c2)
        if scale == scales - 1:
            term = term * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        index *= term.mean() ** (WEIGHTS[scale] / sum(WEIGHTS[:scales]))
        a, b = halve(a), halve(b)
    return index


# ---- MS-SSIM


@pytest.mark.parametrize(
    ("height", "width", "scales"),
    [
        (176, 176, 5),
        (192, 256, 5),
        (181, 203, 5),
        (175, 200, 4),
        (44, 90, 3),
        (32, 32, 2),
        (23, 22, 2),
        (21, 60, 1),
        (11, 11, 1),
    ],
)
def test_ms_ssim_equals_scipy_at_every_number_of_scales(height, width, scales):
    a, b = image_pair(height, width)
    expected = multi_scale(luma(a), luma(b), scales)
    assert 0.05 < expected < 0.95
    assert losses.ms_ssim(tensor(a), tensor(b)).item() == pytest.approx(1 - expected, abs=1e-9)
    single = losses.ms_ssim(tensor(a).float(), tensor(b).float()).item()
    # flat areas lose digits in float32: mean of squares less square of mean; few positions average it out least
    assert single == pytest.approx(1 - expected, abs=1e-4 if scales == 5 else 5e-4)


def test_ms_ssim_equals_pytorch_msssim():
    a = skimage.data.camera()[100:276, 120:312] / 255
    b = np.abs(a - 0.05) * 0.9 + 0.03 * (np.indices(a.shape).sum(0) % 2)
    # pytorch_msssim.ms_ssim(a, b, data_range=1.0) of version 1.0.0, on float64 tensors (1, 1, 176, 192)
    published = 0.9735671030021931
    index = losses.ms_ssim_index(torch.from_numpy(a)[None, None], torch.from_numpy(b)[None, None]).item()
    # its weights, the paper's, sum to 1.0001; ours to 1
    assert index ** sum(WEIGHTS) == pytest.approx(published, abs=1e-7)


def test_one_scale_equals_scikit_image():
    a, b = (luma(image) for image in image_pair(21, 50))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    _, similarity = structural_similarity(a, b, full=True, **options)
    index = losses.ms_ssim_index(torch.from_numpy(a)[None, None], torch.from_numpy(b)[None, None])
    assert index.item() == pytest.approx(similarity[5:-5, 5:-5].mean(), abs=1e-9)


def test_ms_ssim_of_a_batch_is_the_mean_of_its_images():
    a, b = image_pair(30, 40)
    near, far = (losses.ms_ssim(tensor(b), tensor(other)).item() for other in (a, 1 - a))
    assert far - near > 0.3
    assert losses.ms_ssim(tensor(b, b), tensor(a, 1 - a)).item() == pytest.approx((near + far) / 2, abs=1e-12)


def test_ms_ssim_judges_the_luma_of_bt601():
    a, b = image_pair(20, 30)
    pillow = [
        np.asarray(Image.fromarray((image * 255).round().astype(np.uint8)).convert("L")) / 255 for image in (a, b)
    ]
    expected = multi_scale(*pillow, 1)
    assert losses.ms_ssim(tensor(a), tensor(b)).item() == pytest.approx(1 - expected, abs=2e-3)


@pytest.mark.parametrize("side", [11, 32, 176])
def test_equal_images_have_no_loss(side):
    a = tensor(image_pair(side, side)[0]).float()
    for loss in losses.RECONSTRUCTION.values():
        equal = loss(a, a.clone()).item()
        assert equal < 2e-3 and equal < loss(a, 0.9 * a).item()
    for loss in (losses.l1, losses.mse, losses.ms_ssim, losses.cosine):
        assert loss(a, a.clone()).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(10, 64), (64, 10), (1, 1)])
def test_an_image_smaller_than_the_window_is_named(height, width):
    images = torch.zeros(1, 3, height, width)
    with pytest.raises(ValueError, match=f"MS-SSIM.* {width} x {height} px"):
        losses.ms_ssim(images, images)


# ---- gradients


def random_images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gradient_of_l1():
    prediction = random_images(2, 3, 4, 5)
    sign = torch.where(random_images(2, 3, 4, 5, seed=1) < 0.5, -1, 1)
    target = prediction + 0.1 * sign  # away from 0, where there is no derivative
    assert gradcheck(losses.l1, (prediction.requires_grad_(), target.requires_grad_()))


@pytest.mark.parametrize("side", [32, 11])
def test_gradient_of_ms_ssim(side):
    prediction, target = (tensor(image).requires_grad_() for image in image_pair(side, side))
    assert gradcheck(losses.ms_ssim, (prediction, target), fast_mode=True)


def test_gradient_of_cosine():
    prediction, target = random_images(2, 3, 4, 5), random_images(2, 3, 4, 5, seed=1)
    prediction[0, :, 0, 0] = 0
    target[0, :, 0, 1] = 0
    assert gradcheck(losses.cosine, (prediction.requires_grad_(), target.requires_grad_()))


def test_gradient_of_mse():
    prediction, target = random_images(2, 3, 4, 5), random_images(2, 3, 4, 5, seed=1)
    assert gradcheck(losses.mse, (prediction.requires_grad_(), target.requires_grad_()))


@pytest.mark.parametrize("loss", [losses.bce, losses.least_squares, losses.dice])
def test_gradient_of_the_losses_of_logits(loss):
    logits = (6 * random_images(2, 1, 3, 4) - 3).requires_grad_()
    answers = random_images(2, 1, 3, 4, seed=1)
    for answer in (1.0, 0.0, answers):
        assert gradcheck(lambda x, answer=answer: loss(x, answer), (logits,))


BLACK, WHITE = torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
NOISE = random_images(1, 3, 32, 32).float()


@pytest.mark.parametrize("loss", losses.RECONSTRUCTION.values(), ids=losses.RECONSTRUCTION)
@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        pytest.param(1 - NOISE, NOISE, id="negative"),
        pytest.param(NOISE, NOISE, id="equal"),
        pytest.param(NOISE, WHITE / 2, id="noise-grey"),
        pytest.param(BLACK, NOISE, id="black-noise"),
        pytest.param(BLACK, BLACK, id="black"),
        pytest.param(BLACK, WHITE, id="black-white"),
        pytest.param(WHITE, BLACK, id="white-black"),
        pytest.param(WHITE, WHITE, id="white"),
    ],
)
def test_losses_and_gradients_stay_finite_and_bounded(loss, prediction, target):
    prediction = prediction.clone().requires_grad_()
    value = loss(prediction, target)
    value.backward()
    assert -1e-6 <= value.item() <= 1 + 1e-5
    assert prediction.grad.isfinite().all()
    # times the number of pixels: what one pixel pulls
    assert prediction.grad.abs().max() * 32 * 32 < 1000


def test_gradient_of_ms_ssim_is_bounded_where_a_scale_does_not_correlate():
    a = np.random.default_rng(0).random((22, 22, 3))

    def correlation(share):
        """Mean contrast and structure at full size between the image and its mixture with its negative."""
        one, other = luma(a), luma(share * a + (1 - share) * (1 - a))
        variance = blur(one * one) - blur(one) ** 2 + blur(other * other) - blur(other) ** 2
        return ((2 * (blur(one * other) - blur(one) * blur(other)) + 0.03**2) / (variance + 0.03**2)).mean()

    share = scipy.optimize.brentq(correlation, 0, 1, xtol=1e-15)
    for step in (0, 1e-12, 1e-9, 1e-7):  # next to 0, a power below 1 has no bound to its slope
        mixed = tensor((share + step) * a + (1 - share - step) * (1 - a)).requires_grad_()
        losses.ms_ssim(mixed, tensor(a)).backward()
        assert mixed.grad.isfinite().all()
        assert mixed.grad.abs().max() < 100


def test_a_negative_correlation_is_the_largest_ms_ssim_loss():
    assert losses.ms_ssim(1 - NOISE, NOISE).item() > 0.99


# ---- cosine


def test_cosine_is_scipys_distance_of_the_rgb_vectors():
    a, b = image_pair(5, 7)
    for softening in (0.0, 0.02, 0.3):
        shared = [softening]
        distances = [
            scipy.spatial.distance.cosine([*a[row, column], *shared], [*b[row, column], *shared])
            for row in range(5)
            for column in range(7)
        ]
        loss = losses.cosine(tensor(a), tensor(b), softening)
        assert loss.item() == pytest.approx(np.mean(distances), abs=1e-12)
    assert losses.cosine(tensor(a), tensor(b)).item() == losses.cosine(tensor(a), tensor(b), 0.02).item()


def one_colour(*rgb):
    return torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)


def test_cosine_sees_the_hue_and_not_the_brightness():
    assert losses.cosine(one_colour(0.4, 0.2, 0.2), one_colour(0.8, 0.4, 0.4)).item() < 1e-3
    assert losses.cosine(one_colour(1, 0, 0), one_colour(0, 1, 0)).item() == pytest.approx(1, abs=1e-3)


def test_cosine_fades_out_next_to_black():
    by_brightness = [losses.cosine(one_colour(v, 0, 0), one_colour(0, v, 0)).item() for v in (0, 0.002, 0.02, 0.2)]
    assert by_brightness == sorted(by_brightness)
    assert by_brightness[0] == 0
    assert by_brightness[1] < 0.01
    assert by_brightness[2] == pytest.approx(0.5)  # as bright as the softening
    assert by_brightness[3] > 0.98


# ---- L1, MSE, content


def test_l1_is_the_mean_absolute_difference():
    a, b = image_pair(5, 7)
    assert losses.l1(tensor(a), tensor(b)).item() == pytest.approx(np.abs(a - b).mean())


def test_mse_is_scikit_images():
    a, b = image_pair(5, 7)
    assert losses.mse(tensor(a), tensor(b)).item() == pytest.approx(mean_squared_error(a, b), rel=1e-12)


def test_mse_of_bf16_images_is_float32():
    a, b = (tensor(image).bfloat16() for image in image_pair(5, 7))
    value = losses.mse(a, b)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(mean_squared_error(a.double().numpy(), b.double().numpy()), rel=1e-5)


def test_content_is_the_mse_of_the_last_maps_over_12_75_squared():
    a, b = image_pair(16, 24)
    seen = []

    def network(images):
        seen.append(images)
        return [1e3 * images, images**2, 10 * images[..., ::4, ::4]]

    expected = mean_squared_error(10 * a[::4, ::4], 10 * b[::4, ::4]) / 12.75**2
    assert losses.content(network, tensor(a), tensor(b)).item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(seen[0], tensor(a)) and torch.equal(seen[1], tensor(b))


# ---- adversarial losses, dice


LOGITS = np.array([-3.0, -0.5, 0.0, 0.2, 4.0]).reshape(1, 1, 1, 5)


@pytest.mark.parametrize("answer", [1.0, 0.0, np.array([0.0, 0.25, 0.5, 1.0, 0.9]).reshape(1, 1, 1, 5)])
def test_adversarial_losses_are_the_formulas_of_their_papers(answer):
    given = torch.from_numpy(answer) if isinstance(answer, np.ndarray) else answer
    real = scipy.special.expit(LOGITS)
    entropy = -(answer * np.log(real) + (1 - answer) * np.log(1 - real)).mean()
    logits = torch.from_numpy(LOGITS)
    assert losses.bce(logits, given).item() == pytest.approx(entropy, rel=1e-6)
    assert losses.least_squares(logits, given).item() == pytest.approx(((LOGITS - answer) ** 2).mean(), rel=1e-6)


def test_adversarial_losses_of_bf16_logits_are_float32():
    logits = torch.tensor([[1.2345, -200.0, 0.1]]).bfloat16()
    expected = np.logaddexp(0, logits.double().numpy()).mean()
    for answer in (0.0, torch.zeros(1, 3, dtype=torch.bool)):
        value = losses.bce(logits, answer)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected, rel=1e-6)
        assert losses.least_squares(logits, answer).dtype == torch.float32


def test_dice_is_one_minus_f1_of_a_decided_mask():
    generator = torch.Generator().manual_seed(0)
    found, true = (torch.rand(2, 1, 40, 40, generator=generator) > share for share in (0.7, 0.8))
    logits = 100.0 * (2 * found.float() - 1)
    expected = 1 - f1_score(true, found)
    assert losses.dice(logits, true).item() == pytest.approx(expected, abs=2e-3)
    assert losses.dice(torch.full((1, 1, 8, 8), -100.0), torch.zeros(1, 1, 8, 8)).item() == pytest.approx(0, abs=1e-6)


def f1_score(true, found):
    hits = sum(bool(t) and bool(f) for t, f in zip(true.flatten(), found.flatten(), strict=True))
    return 2 * hits / (int(true.sum()) + int(found.sum()))


# ---- weights


def test_weighted_terms_are_weight_times_loss():
    a, b = image_pair(21, 24)
    weights = {"l1": 2.0, "mse": 7, "ms_ssim": 0.5, "cosine": 3}
    terms = losses.weighted(weights, tensor(a), tensor(b))
    extended = [np.concatenate([image, np.full((21, 24, 1), 0.02)], axis=2) for image in (a, b)]
    lengths = np.linalg.norm(extended[0], axis=2) * np.linalg.norm(extended[1], axis=2)
    assert {name: term.item() for name, term in terms.items()} == {
        "l1": pytest.approx(2 * np.abs(a - b).mean()),
        "mse": pytest.approx(7 * ((a - b) ** 2).mean()),
        "ms_ssim": pytest.approx(0.5 * (1 - multi_scale(luma(a), luma(b), 1))),
        "cosine": pytest.approx(3 * (1 - ((extended[0] * extended[1]).sum(2) / lengths).mean())),
    }


def test_a_weight_of_another_kind_of_loss_is_no_reconstruction_term():
    a, b = image_pair(21, 24)
    weights = {"l1": 2.0, "adversarial": 1e-3, "mask": 1.0}
    assert losses.weighted(weights, tensor(a), tensor(b)) == {"l1": 2 * losses.l1(tensor(a), tensor(b))}
    assert losses.weighted({"adversarial": 1.0}, tensor(a), tensor(b)) == {}


def test_a_term_of_weight_0_is_absent_and_never_computed(monkeypatch):
    def never(prediction, target):
        raise AssertionError("computed in spite of its weight")

    monkeypatch.setitem(losses.RECONSTRUCTION, "ms_ssim", never)
    monkeypatch.setitem(losses.RECONSTRUCTION, "cosine", never)
    a, b = (tensor(image) for image in image_pair(8, 8))
    assert list(losses.weighted({"l1": 1.0, "ms_ssim": 0.0, "cosine": 0}, a, b)) == ["l1"]
    assert losses.weighted({"ms_ssim": 0.0}, a, b) == {}


def test_weighted_computes_bf16_images_in_float32():
    a, b = (tensor(image).bfloat16() for image in image_pair(176, 176))
    wide = [image[0].permute(1, 2, 0).double().numpy() for image in (a, b)]
    terms = losses.weighted({"l1": 1.0, "ms_ssim": 1.0}, a, b)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    assert terms["l1"].item() == pytest.approx(np.abs(wide[0] - wide[1]).mean(), rel=1e-5)
    assert terms["ms_ssim"].item() == pytest.approx(1 - multi_scale(luma(wide[0]), luma(wide[1]), 5), abs=1e-4)


def test_weighted_computes_in_float32_within_autocast():
    a, b = image_pair(176, 176)
    with torch.autocast("cpu", torch.bfloat16):
        terms = losses.weighted({"l1": 1.0, "ms_ssim": 1.0, "cosine": 1.0}, tensor(a).float(), tensor(b).float())
    assert terms["l1"].item() == pytest.approx(np.abs(a - b).mean(), rel=1e-5)
    assert terms["ms_ssim"].item() == pytest.approx(1 - multi_scale(luma(a), luma(b), 5), abs=1e-4)
    assert math.isfinite(terms["cosine"].item())


@pytest.mark.parametrize("weights", [{"l1": 1.0}, {"l1": 0, "adversarial": 1e-3}, {"adversarial": 1, "cosine": 0.0}])
def test_weights_of_known_names_are_accepted(weights):
    losses.check_weights(weights, ("l1", "cosine", "adversarial"))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"l1": 1.0, "hinge": 1.0, "bce": 0.0}, "losses: expected any of l1, adversarial, got 'bce', 'hinge'"),
        ({"l1": 1.0, "adversarial": -0.1}, "losses: adversarial: expected a number, 0 or more, got -0.1"),
        ({"l1": "much"}, "losses: l1: expected a number, 0 or more, got 'much'"),
        ({"l1": math.nan}, "losses: l1: expected a number, 0 or more, got nan"),
        ({"l1": 0.0, "adversarial": 0}, "losses: give at least one of l1, adversarial a weight above 0"),
        ({}, "losses: give at least one of l1, adversarial a weight above 0"),
    ],
)
def test_weights_that_mean_nothing_are_refused_by_name(weights, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        losses.check_weights(weights, ("l1", "adversarial"))
