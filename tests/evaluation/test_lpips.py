"""LPIPS against a loop over the pixels, and its heads against those of the authors' package."""

import zipfile

import pytest
import torch
import torch.nn.functional as F

from restoration_lib.data.files import to_uint8
from restoration_lib.data.samples import FetchError, packaged
from restoration_lib.evaluation.lpips import distance, lpips
from restoration_lib.evaluation.metrics import METRICS
from restoration_lib.networks.vgg_weights import vgg16


@pytest.mark.slow
def test_lpips_is_0_for_equal_images_and_rises_with_blur():
    sharp = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    blurred = [sharp]
    for _ in range(3):
        blurred.append(F.avg_pool2d(blurred[-1], 3, 1, 1, count_include_pad=False))
    images = [to_uint8(image)[0] for image in blurred]
    values = [lpips(images[0], image) for image in images]
    assert values[0] == 0 and values == sorted(values) and values[1] > 0.05
    assert [METRICS["lpips"].function(images[0], image) for image in images] == values


@pytest.mark.slow
def test_the_heads_are_those_of_the_lpips_package(tmp_path):
    try:
        package = packaged("weights of lpips", "lpips-0.1.4-py3-none-any.whl", tmp_path, "lpips==0.1.4")
    except FetchError as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(package) as wheel:
        wheel.extract("lpips/weights/v0.1/vgg.pth", tmp_path)
    theirs = torch.load(tmp_path / "lpips/weights/v0.1/vgg.pth", "cpu", weights_only=True)
    ours = vgg16()
    for k in range(5):
        assert torch.equal(ours[f"head{k}"], theirs[f"lin{k}.model.1.weight"].flatten())


def test_distance_is_that_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    maps, others = ([torch.rand(1, c, 3, 2, generator=generator) for c in (4, 5)] for _ in range(2))
    heads = [torch.rand(c, generator=generator) for c in (4, 5)]
    expected = 0.0
    for one, other, head in zip(maps, others, heads, strict=True):
        for y in range(3):
            for x in range(2):
                a, b = one[0, :, y, x], other[0, :, y, x]
                expected += float(((a / a.norm() - b / b.norm()) ** 2 * head).sum()) / 6
    assert distance(maps, others, heads).item() == pytest.approx(expected, rel=1e-5)
