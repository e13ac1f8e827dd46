"""The discriminators: receptive fields measured by gradient, what a logit depends on, layers against the papers."""

import numpy as np
import pytest
import torch
from torch import nn

from restoration_lib.networks.discriminators import OldPhotoDiscriminator, PatchGAN, SRDiscriminator


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# ---- PatchGAN


def without_norms(discriminator):
    """InstanceNorm ties each logit to the whole image; this takes it out."""
    for place, layer in enumerate(discriminator.layers):
        if isinstance(layer, nn.InstanceNorm2d):
            discriminator.layers[place] = nn.Identity()
    return discriminator


def touched_by_the_middle_logit(discriminator, images, given):
    """Map (H, W), bool, of the pixels of the image `given` that the logit in the middle depends on."""
    images[given].requires_grad_()
    logits = discriminator(*images)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    return (images[given].grad != 0).any(1)[0]


@pytest.mark.parametrize(("halvings", "patch"), [(1, 16), (2, 34), (3, 70)])
@pytest.mark.parametrize(("count", "given"), [(2, 0), (2, 1), (1, 0)])
def test_a_logit_judges_a_patch_of_this_width(halvings, patch, count, given):
    discriminator = without_norms(PatchGAN(4, halvings, images=count)).double()
    images = list(torch.rand(count, 1, 3, 128, 144, dtype=torch.float64).unbind())
    touched = touched_by_the_middle_logit(discriminator, images, given)
    for axis in (0, 1):
        places = touched.any(axis).nonzero().flatten()
        assert places.max() - places.min() + 1 == patch


@pytest.mark.parametrize(("halvings", "shape"), [(1, (30, 34)), (2, (14, 16)), (3, (6, 7))])
def test_the_map_of_logits_shrinks_with_the_halvings(halvings, shape):
    images = torch.rand(2, 3, 64, 72)
    # each halving divides by 2; the two convolutions of stride 1 take one position each
    assert PatchGAN(4, halvings)(images, images).shape == (2, 1, *shape)


def test_the_logits_depend_on_both_images():
    discriminator = PatchGAN(4, 2)
    a, b, c = torch.rand(3, 1, 3, 32, 32)
    logits = discriminator(a, b)
    assert not torch.allclose(discriminator(c, b), logits, atol=1e-3)
    assert not torch.allclose(discriminator(a, c), logits, atol=1e-3)
    assert not torch.allclose(discriminator(b, a), logits, atol=1e-3)


def test_the_logits_of_an_image_do_not_depend_on_its_batch():
    discriminator = PatchGAN(4, 2)
    a, b = torch.rand(2, 4, 3, 32, 32)
    with torch.no_grad():
        one_by_one = torch.cat([discriminator(a[n : n + 1], b[n : n + 1]) for n in range(4)])
        np.testing.assert_allclose(discriminator(a, b), one_by_one, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(discriminator.eval()(a, b), one_by_one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("halvings", [0, -1])
def test_a_patchgan_without_a_halving_is_refused(halvings):
    with pytest.raises(ValueError, match=f"halvings: expected a number, 1 or more, got {halvings}"):
        PatchGAN(4, halvings)


def test_a_patchgan_of_one_image_has_the_parameters_of_the_paper_but_for_norms():
    reference = 2_764_737  # of the authors' implementation: a bias at each convolution, norms without parameters
    normed = 128 + 256 + 512  # ours: weight and bias of a norm for each bias before it
    assert sum(p.numel() for p in PatchGAN(64, halvings=3, images=1).parameters()) == reference + normed


# ---- OldPhotoDiscriminator


def test_the_old_photo_discriminator_halves_five_times():
    discriminator = OldPhotoDiscriminator()
    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    found = [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in convolutions]
    assert found == [
        (i, o, (4, 4), (2, 2)) for i, o in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1))
    ]  # fmt: skip
    order = [type(layer) for layer in discriminator.layers]
    assert order == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 4 + [nn.Conv2d]
    assert OldPhotoDiscriminator(2).layers(torch.rand(1, 3, 512, 512)).shape == (1, 1, 16, 16)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_the_old_photo_logit_is_the_mean_of_its_map(norm):
    discriminator, images = OldPhotoDiscriminator(4, norm), torch.rand(2, 3, 96, 128)
    patches = discriminator.layers(2 * images - 1)
    assert patches.shape == (2, 1, 3, 4)
    logits = discriminator(images)
    assert logits.shape == (2, 1, 1, 1)
    np.testing.assert_allclose(logits.detach().flatten(), patches.detach().flatten(1).numpy().mean(1), atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 64), (64, 63), (8, 8)])
def test_an_image_too_small_for_the_old_photo_discriminator_is_refused_in_one_line(shape):
    with pytest.raises(ValueError, match=rf"crop: {shape[1]} x {shape[0]} px .*64") as error:
        OldPhotoDiscriminator(4)(torch.rand(1, 3, *shape))
    assert "\n" not in str(error.value)


# ---- SRDiscriminator


def test_the_sr_discriminator_has_the_layers_of_the_paper():
    network = SRDiscriminator()
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.stride[0]) for c in convolutions] == [
        (3, 64, 1), (64, 64, 2), (64, 128, 1), (128, 128, 2),
        (128, 256, 1), (256, 256, 2), (256, 512, 1), (512, 512, 2),
    ]  # fmt: skip
    dense = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert [(d.in_features, d.out_features) for d in dense] == [(512 * 6 * 6, 1024), (1024, 1)]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) == 7
    assert SRDiscriminator(4)(torch.rand(2, 3, 64, 64)).shape == (2, 1)


# ---- all


@pytest.mark.parametrize(
    "discriminator",
    [PatchGAN(4, 3, images=1), OldPhotoDiscriminator(4), SRDiscriminator(4)],
    ids=lambda network: type(network).__name__,
)
def test_discriminators_compute_on_images_from_minus_1_to_1(discriminator):
    images, seen = torch.rand(2, 3, 64, 64), []
    discriminator.layers[0].register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    discriminator(images)
    np.testing.assert_allclose(seen[0].numpy(), (images.numpy() - 0.5) / 0.5, atol=1e-6)
