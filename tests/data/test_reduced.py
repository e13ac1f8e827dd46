"""Reduced images against Pillow's own, with and without what was kept before."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from restoration_lib.data import datasets, reduced, samples
from restoration_lib.data.files import ImageError


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """An image in a folder of a cache, whose files have been found to be the pinned ones."""
    folder = tmp_path / "paintings-1"
    folder.mkdir()
    monkeypatch.setattr(samples, "checked", {folder})
    return written(folder / "a.jpg", 0)


def written(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def by_pillow(path, *size):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def pixels(path, size):
    return np.asarray(reduced.open_reduced(path, size)[1])


def kept(path):
    return sorted((path.parents[1] / "reduced").glob("*"))


def no_file_is_decoded(monkeypatch):
    def decoded(path):
        raise AssertionError(f"{path.name} was decoded")

    monkeypatch.setattr("restoration_lib.data.files.open_rgb", decoded)


def test_a_sample_is_decoded_once_for_each_size_and_keeps_its_pixels(sample, monkeypatch):
    for _ in range(2):
        for size, expected in {40: (60, 40), 20: (30, 20), 200: (90, 60)}.items():
            in_file, image = reduced.open_reduced(sample, size)
            assert in_file == (90, 60) and image.dtype == np.uint8
            np.testing.assert_array_equal(np.asarray(image), by_pillow(sample, *expected))
        no_file_is_decoded(monkeypatch)
    assert len(kept(sample)) == 3
    images = datasets.load([sample], 40)
    assert images.names == ["a.jpg"]
    np.testing.assert_array_equal(images.arrays[0], by_pillow(sample, 60, 40))


def test_another_content_is_read_anew_though_its_name_and_time_are_the_same(sample):
    before = os.stat(sample)
    pixels(sample, 40)
    written(sample, 1)
    os.utime(sample, ns=(before.st_atime_ns, before.st_mtime_ns))
    np.testing.assert_array_equal(pixels(sample, 40), by_pillow(sample, 60, 40))


def test_another_version_of_the_code_reads_anew(sample, monkeypatch):
    pixels(sample, 40)
    monkeypatch.setattr(reduced, "digest_of_code", lambda *_: "another")
    pixels(sample, 40)
    assert len(kept(sample)) == 2


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-9], lambda whole: b"\0" * len(whole),
                                    lambda whole: whole[:2000] + b"\0\1\2\3" + whole[2004:]])  # fmt: skip
def test_a_damaged_file_is_made_anew(sample, damage):
    pixels(sample, 40)
    [place] = kept(sample)
    whole = place.read_bytes()
    place.write_bytes(damage(whole))
    np.testing.assert_array_equal(pixels(sample, 40), by_pillow(sample, 60, 40))
    assert place.read_bytes()[-22:] == whole[-22:]


def test_other_images_and_whole_ones_are_not_kept(sample, tmp_path):
    pixels(sample, 0)
    (tmp_path / "own").mkdir()
    other = written(tmp_path / "own" / "b.png", 2)
    np.testing.assert_array_equal(pixels(other, 40), by_pillow(other, 60, 40))
    assert not kept(sample)


def test_a_cache_that_cannot_be_written_does_no_harm(sample):
    (sample.parents[1] / "reduced").write_text("a file where the folder belongs")
    np.testing.assert_array_equal(pixels(sample, 40), by_pillow(sample, 60, 40))


def test_an_unreadable_sample_is_an_error_each_time(sample):
    sample.write_bytes(sample.read_bytes()[:300])
    for _ in range(2):
        with pytest.raises(ImageError, match=r"a\.jpg: cannot be read as an image"):
            reduced.open_reduced(sample, 40)
    sample.unlink()
    with pytest.raises(ImageError, match=r"a\.jpg: cannot be read as an image"):
        reduced.open_reduced(sample, 40)


def test_several_at_once_write_whole_files_and_leave_nothing_else(sample):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda size: (size, pixels(sample, size)), sorted(list(range(20, 50, 2)) * 4)))
    for size, image in made:
        np.testing.assert_array_equal(image, by_pillow(sample, round(90 * size / 60), size))
    assert len(kept(sample)) == 15 and {path.suffix for path in kept(sample)} == {".npz"}
