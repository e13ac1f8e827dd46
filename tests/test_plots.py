"""Figures: what they show, read back from their axes and from the pixels of the saved file."""

import inspect
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from skimage.measure import block_reduce

from restoration_lib import plots

TERMS = ["generator", "l1", "adversarial", "discriminator", "discriminator_real", "discriminator_fake"]


def image(seed=0, height=10, width=12):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def history(names=TERMS):
    steps = np.arange(20, 120, 20)
    table = pd.DataFrame({"step": steps} | {name: (k + 1) / steps for k, name in enumerate(names)})
    table["generator_gradient"] = 100.0
    table["validation_psnr"] = [np.nan, 20.0, np.nan, 22.0, 23.0]
    table["validation_ssim"] = [np.nan, 0.5, np.nan, 0.6, 0.7]
    return table


def table():
    return pd.DataFrame({"low": [30.0, 36.0], "high": [27.0, 33.0]}, index=["input", "L1 + cosine"])


EVERY = {
    "images": lambda: plots.images([[image(), image(1)], [image(2)[None]]], ["a", "b"], ["top", "bottom"]),
    "captioned": lambda: plots.captioned({"a": image(), "b": image(1)[None], "c": image(2)}, 2),
    "files": lambda: plots.files({"an icon": Path(matplotlib.get_data_path(), "images", "back.png")}),
    "zoom": lambda: plots.zoom([[image(), image(1)]], ["a", "b"], size=4),
    "histograms": lambda: plots.histograms({"a": image(), "b": image(1)[None]}),
    "losses": lambda: plots.losses(history()),
    "validation": lambda: plots.validation({"a": history(), "b": history()}),
    "dots": lambda: plots.dots(table(), 0.1 * table(), "PSNR (dB)"),
    "intervals": lambda: plots.intervals(
        pd.DataFrame({"difference": [0.5, -1.0], "low": [0.1, -2.0], "high": [0.9, 0.5]}, index=["a", "b"]), "dB"
    ),
    "curves": lambda: plots.curves(table().set_axis([0.0, 0.5], axis=0), "frequency", "dB"),
    "points": lambda: plots.points(
        pd.DataFrame({"psnr_y": [28.0, 30.0], "lpips": [0.4, 0.3]}, ["a", "b"]), "psnr_y", "lpips"
    ),
    "error_maps": lambda: plots.error_maps({"a": np.ones((5, 6)), "b": np.zeros((5, 6))}, 30),
}


def shown(figure):
    """The array of each image of the figure, in which nothing has an axis or a frame."""
    assert figure.axes == []
    return [np.asarray(one.get_array()) for one in figure.images]


def titles_of(figure):
    return [text for text in figure.texts if text.get_rotation() == 0]


def words(texts):
    return [text.get_text() for text in texts]


def box(one):
    """Left, right, bottom and top of one of the figure's images, in px."""
    return one.ox, one.ox + one.get_array().shape[1], one.oy, one.oy + one.get_array().shape[0]


def to_pixels(image):
    """8-bit pixels (H, W, 3) of an image (3, H, W) or (1, 3, H, W)."""
    return np.rint(255 * image.reshape(image.shape[-3:]).permute(1, 2, 0).numpy()).astype(np.uint8)


def enlarged(image, scale):
    """The image's pixels, each a block of `scale` x `scale`."""
    return np.kron(to_pixels(image), np.ones((scale, scale, 1), np.uint8))


def rendered(figure, folder):
    """The pixels (H, W, 3) of the figure's file."""
    figure.savefig(folder / "figure.png")
    with Image.open(folder / "figure.png") as file:
        return np.asarray(file.convert("RGB"))


def place_of(block, pixels):
    """Top and left of the one place in `pixels` where `block` stands, pixel by pixel."""
    height, width = block.shape[:2]
    starts = (pixels == block[0, 0]).all(2).nonzero()
    [place] = [
        (y, x) for y, x in zip(*starts, strict=True) if np.array_equal(pixels[y : y + height, x : x + width], block)
    ]
    return tuple(int(length) for length in place)


def test_every_function_that_makes_a_figure_is_tested_here():
    public = {n: f for n, f in inspect.getmembers(plots, inspect.isfunction) if f.__module__ == plots.__name__}
    makes = {name for name, f in public.items() if f.__annotations__.get("return") is Figure and name[0] != "_"}
    assert makes == set(EVERY)


@pytest.mark.filterwarnings("error", "ignore::ResourceWarning")  # those are of what ran before in this process
@pytest.mark.parametrize("name", EVERY)
def test_figure_saves_as_png_and_leaves_none_open(name, tmp_path):
    plt.close("all")
    figure = EVERY[name]()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []
    figure.savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


# ---- images


@pytest.mark.parametrize("level", [0, 13, 128, 255])
def test_an_even_image_keeps_its_level(level, tmp_path):
    figure = plots.images([[torch.full((3, 4, 5), level / 255)]], side=5)
    np.testing.assert_array_equal(rendered(figure, tmp_path), np.full((4, 5, 3), level))


def test_values_are_shown_without_rescaling_or_smoothing():
    dark, light = image() * 0.2, 0.8 + image(1) * 0.2
    figure = plots.images([[dark, light[None]]], side=12)
    for pixels, expected in zip(shown(figure), (dark, light), strict=True):
        assert pixels.dtype == np.uint8
        np.testing.assert_allclose(pixels, 255 * expected.permute(1, 2, 0).numpy(), atol=0.5 + 1e-4)


def test_a_value_outside_the_range_is_clipped_not_wrapped():
    [pixels] = shown(plots.images([[torch.tensor([-0.5, 0.5, 1.5]).view(3, 1, 1).expand(3, 2, 2)]], side=2))
    assert pixels[0, 0, 0] == 0 and pixels[0, 0, 1] in (127, 128) and pixels[0, 0, 2] == 255


@pytest.mark.parametrize("side", [40, 57, 101, 203])  # 57 / 100 * 100 and 203 / 100 * 100 are just below the whole
@pytest.mark.parametrize("labels", [[], ["top", "bottom"]])
@pytest.mark.parametrize("columns", [[], ["a", "b", "c"]])
def test_each_pixel_is_a_whole_block_of_equal_pixels_in_the_file(side, labels, columns, tmp_path):
    """Rows and columns are as high and wide as their largest image, and 6 px apart."""
    rows = [[image(0, 7, 9), image(1, 8, 5), image(2, 3, 11)], [image(3, 10, 10)[None], image(4, 13, 4)]]
    pixels = rendered(plots.images(rows, columns, labels, side), tmp_path)
    left, top = (19 if labels else 0), (17 if columns else 0)
    blocks = [[enlarged(one, side // max(one.shape[-2:])) for one in row] for row in rows]
    widths = [max(row[x].shape[1] for row in blocks if x < len(row)) for x in range(3)]
    heights = [max(block.shape[0] for block in row) for row in blocks]
    for y, row in enumerate(blocks):
        for x, block in enumerate(row):
            assert side / 2 < max(block.shape) <= side, "not the largest whole scale"
            assert place_of(block, pixels) == (top + sum(heights[:y]) + 6 * y, left + sum(widths[:x]) + 6 * x)
    assert pixels.shape == (top + sum(heights) + 6, left + sum(widths) + 12, 3)
    white = pixels[top + heights[0] + 6 :, left + widths[0] + widths[1] + 12 :]
    assert (white == 255).all(), "something stands where the second row has no image"


@pytest.mark.parametrize(
    ("height", "width", "side", "fold"),
    [(30, 50, 20, 3), (64, 64, 32, 2), (33, 64, 63, 2), (100, 41, 13, 8), (12, 20, 20, 1)],
)
def test_a_large_image_is_the_means_of_blocks(height, width, side, fold, tmp_path):
    large = image(0, height, width)
    whole = to_pixels(large)[: height // fold * fold, : width // fold * fold]
    means = np.rint(block_reduce(whole, (fold, fold, 1), np.mean))
    np.testing.assert_array_equal(rendered(plots.images([[large]], side=side), tmp_path), means)


def test_images_has_titles_over_the_first_row_and_labels_left():
    figure = plots.images([[image(), image(1)], [image(2)]], ["input", "target"], ["face", "cat"])
    assert figure.axes == []  # no frame
    assert words(titles_of(figure)) == ["input", "target"]
    labels = [text for text in figure.texts if text.get_rotation() == 90]
    assert words(labels) == ["face", "cat"]
    figure.draw_without_rendering()
    for label, one in zip(labels, (figure.images[0], figure.images[2]), strict=True):
        area, (left, _, bottom, top) = label.get_window_extent(), box(one)
        assert area.x0 >= 0 and area.x1 <= left
        assert (area.y0 + area.y1) / 2 == pytest.approx((bottom + top) / 2, abs=2)


@pytest.mark.parametrize("side", [120, 192, 240])
def test_long_titles_are_wrapped_and_cover_neither_images_nor_each_other(side):
    titles = ["restored, L1 + MS-SSIM + cosine", "damaged at a rate of 0.25, with a window of 7 px", "x"]
    figure = plots.images([[image()] * 3], titles, side=side)
    written = words(figure.texts)
    assert [text.replace("\n", " ") for text in written] == titles
    assert "\n" in written[1] and written[2] == "x"
    figure.draw_without_rendering()
    areas = [text.get_window_extent() for text in figure.texts]
    for area, one in zip(areas, figure.images, strict=True):
        left, right, _, top = box(one)
        assert top <= area.y0 + 0.01 and area.y1 <= figure.bbox.y1
        assert area.x0 >= 0 and area.x1 <= figure.bbox.x1
        assert (area.x0 + area.x1) / 2 == pytest.approx((left + right) / 2, abs=1)
    assert areas[0].x1 < areas[1].x0


def test_captioned_shows_each_image_under_its_title_and_leaves_the_rest_empty(tmp_path):
    originals, titles = [image(k) for k in range(5)], list("abcde")
    shown = [originals[0], originals[1][None], *originals[2:]]
    figure = plots.captioned(dict(zip(titles, shown, strict=True)), 3, side=24)
    assert words(figure.texts) == titles
    assert figure.axes == []
    pixels = rendered(figure, tmp_path)
    assert pixels.shape == (2 * (17 + 20) + 6, 3 * 24 + 2 * 6, 3)
    for k, one in enumerate(originals):
        block = enlarged(one, 2)
        assert place_of(block, pixels) == (17 + k // 3 * (20 + 6 + 17), k % 3 * (24 + 6))
    assert (pixels[20 + 17 + 6 :, 2 * (24 + 6) :] == 255).all()


def test_files_shows_each_file_pixel_by_pixel_under_its_title(tmp_path):
    saved, paths = {}, {}
    for name, (height, width) in {"low": (30, 120), "high": (90, 300)}.items():
        saved[name] = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        paths[name] = tmp_path / f"{name}.png"
        Image.fromarray(saved[name]).save(paths[name])
    figure = plots.files(paths)
    assert words(figure.texts) == ["low", "high"]
    assert figure.axes == []
    pixels = rendered(figure, tmp_path)
    assert place_of(saved["low"], pixels) == (17, 0)
    assert place_of(saved["high"], pixels) == (17 + 30 + 6 + 17, 0)
    assert pixels.shape == (17 + 30 + 6 + 17 + 90, 300, 3)


@pytest.mark.parametrize(
    ("shape", "size", "rows", "columns"),
    [
        ((3, 10, 12), 4, (3, 7), (4, 8)),
        ((1, 3, 9, 9), 3, (3, 6), (3, 6)),
        ((3, 5, 12), 8, (0, 5), (2, 10)),
        ((3, 5, 6), 50, (0, 5), (0, 6)),
    ],
)
def test_centre_is_the_middle_or_what_there_is_of_it(shape, size, rows, columns):
    pixels = torch.arange(np.prod(shape)).view(shape)
    assert torch.equal(plots.centre(pixels, size), pixels[..., slice(*rows), slice(*columns)])


def test_zoom_shows_the_middle_of_each_image_60_times_enlarged(tmp_path):
    figure = plots.zoom([[image(), image(1)]], ["a", "b"], size=4)
    assert words(figure.texts) == ["a", "b"]
    pixels = rendered(figure, tmp_path)
    for x, one in enumerate((image(), image(1))):
        block = enlarged(one[:, 3:7, 4:8], 60)
        assert place_of(block, pixels) == (17, x * (240 + 6))


# ---- charts


def curves(axis):
    return {line.get_label(): line.get_ydata().tolist() for line in axis.lines}


def test_losses_of_generator_and_discriminator_stand_apart():
    left, right = plots.losses(history()).axes
    expected = history()
    assert (left.get_title(), right.get_title()) == ("generator", "discriminator")
    own = {name: expected[name].tolist() for name in ("l1", "adversarial")}
    assert curves(left) == {"total": expected["generator"].tolist(), **own}
    its = {name: expected[f"discriminator_{name}"].tolist() for name in ("real", "fake")}
    assert curves(right) == {"total": expected["discriminator"].tolist(), **its}
    assert left.lines[0].get_xdata().tolist() == expected["step"].tolist()
    assert (left.get_yscale(), left.get_xlabel()) == ("log", "step")


def test_losses_and_validation_of_what_was_not_trained_say_so():
    untrained = pd.DataFrame([{"step": 0, "validation_psnr": 20.0}])
    for figure in (plots.losses(untrained), plots.validation({"a": untrained, "b": untrained}, ["psnr"])):
        [axis] = figure.axes
        assert [text.get_text() for text in axis.texts] == ["nothing was trained here"]
    [axis] = plots.validation({"untrained": untrained, "trained": history()}, ["psnr"]).axes
    assert set(curves(axis)) == {"untrained", "trained"}


def test_losses_without_discriminator_have_one_panel():
    [axis] = plots.losses(history(["generator", "l1"])).axes
    assert set(curves(axis)) == {"total", "l1"}


def test_validation_draws_only_the_rows_that_were_validated():
    psnr, ssim = plots.validation({"with": history(), "without": history()}).axes
    assert curves(psnr) == {"with": [20.0, 22.0, 23.0], "without": [20.0, 22.0, 23.0]}
    assert psnr.lines[0].get_xdata().tolist() == [40, 80, 100]
    assert ssim.lines[0].get_ydata().tolist() == [0.5, 0.6, 0.7]


def test_validation_draws_the_metrics_that_are_named():
    table = history().rename(
        columns={"validation_psnr": "validation_round_trip", "validation_ssim": "validation_identity"}
    )
    [axis] = plots.validation({"one": table}, ["identity"]).axes
    assert curves(axis) == {"one": [0.5, 0.6, 0.7]}
    assert axis.get_ylabel() == "validation identity (dB) ↑"
    table = history().rename(columns={"validation_psnr": "validation_inside"})
    [axis] = plots.validation({"one": table}, ["inside"]).axes
    assert axis.get_ylabel() == "validation PSNR inside the\ndamage (dB) ↑"


def test_points_are_named_and_stand_at_their_two_metrics():
    [axis] = EVERY["points"]().axes
    assert [(line.get_label(), line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines] == [
        ("a", 28.0, 0.4), ("b", 30.0, 0.3)
    ]  # fmt: skip
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("PSNR of Y (dB) ↑", "LPIPS ↓")


def row_names(axis):
    """The names on the left, by their height in the axis."""
    return dict(zip(axis.get_yticks(), (label.get_text() for label in axis.get_yticklabels()), strict=True))


def whiskers(group):
    """Ends (low, high) of the whiskers of a group of dots."""
    return [tuple(segment[:, 0].tolist()) for segment in group.lines[2][0].get_segments()]


def test_dots_stand_at_the_values_of_the_table_with_whiskers_of_the_spread():
    spread = pd.DataFrame({"low": [0.5, 1.0], "high": [0.25, np.nan]}, index=table().index)
    [axis] = plots.dots(table(), spread, "PSNR (dB)").axes
    assert [group.get_label() for group in axis.containers] == ["low", "high"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["low", "high"]
    assert [group.lines[0].get_xdata().tolist() for group in axis.containers] == [[30.0, 36.0], [27.0, 33.0]]
    low, high = (whiskers(group) for group in axis.containers)
    assert low == [(29.5, 30.5), (35.0, 37.0)]
    assert high == [(26.75, 27.25), (33.0, 33.0)]  # unknown: no whisker
    assert axis.get_xlabel() == "PSNR (dB)"
    start, end = axis.get_xlim()
    assert 20 < start < 26.75 and 37 < end < 40


def test_dots_stand_in_the_row_of_their_name_the_first_at_the_top():
    one = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}, index=["x", "y", "z"])
    [axis] = plots.dots(one, one, "dB").axes
    first, second = (group.lines[0].get_ydata() for group in axis.containers)
    rows = row_names(axis)
    for dots in (first, second):
        assert [rows[round(height)] for height in dots] == ["x", "y", "z"]
    assert sorted(rows, reverse=True) == [height for height, _ in sorted(rows.items(), key=lambda row: row[1])]
    assert (first - second > 0.05).all(), "the dots of a row hide each other"
    bottom, top = axis.get_ylim()
    assert bottom < second.min() and first.max() < top


def test_dots_match_the_spread_by_the_name_of_the_row():
    turned = pd.DataFrame({"low": [1.0, 0.5], "high": [2.0, 0.25]}, index=table().index[::-1])
    [axis] = plots.dots(table(), turned, "dB").axes
    assert [whiskers(group) for group in axis.containers] == [
        [(29.5, 30.5), (35.0, 37.0)], [(26.75, 27.25), (31.0, 35.0)]
    ]  # fmt: skip


def test_dots_of_one_seed_have_no_spread_but_are_drawn(tmp_path):
    figure = plots.dots(table(), table() * np.nan, "PSNR (dB)")
    figure.savefig(tmp_path / "dots.png", dpi=40)
    assert [group.lines[0].get_xdata().tolist() for group in figure.axes[0].containers] == [[30.0, 36.0], [27.0, 33.0]]


def test_intervals_reach_from_low_to_high():
    rows = pd.DataFrame({"difference": [0.5, -1.0], "low": [0.1, -2.0], "high": [0.9, 0.5]}, index=["a", "b"])
    [axis] = plots.intervals(rows, "dB").axes
    segments = axis.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([s[:, 0] for s in segments], [[0.1, 0.9], [-2.0, 0.5]])
    assert [row_names(axis)[s[0, 1]] for s in segments] == ["a", "b"]
    assert segments[0][0, 1] > segments[1][0, 1]  # the first row is at the top
    assert axis.containers[0].lines[0].get_xdata().tolist() == [0.5, -1.0]


def test_curves_stand_over_the_numbers_of_the_index():
    numbered = table().set_axis([0.125, 0.5], axis=0)
    [axis] = plots.curves(numbered, "frequency", "dB").axes
    for line, name in zip(axis.lines, numbered, strict=True):
        assert line.get_xdata().tolist() == [0.125, 0.5]
        assert line.get_ydata().tolist() == numbered[name].tolist()


def test_curves_over_whole_numbers_stand_at_their_places():
    [axis] = plots.curves(table().set_axis([2, 40], axis=0), "row", "PSNR (dB)").axes
    assert [line.get_xdata().tolist() for line in axis.lines] == [[2, 40]] * 2


def test_curves_over_names_are_evenly_spaced():
    index = ["input", "L1 + cosine"]
    [axis] = plots.curves(table().set_axis(index, axis=0), "row", "PSNR (dB)").axes
    assert curves(axis) == {"low": [30.0, 36.0], "high": [27.0, 33.0]}
    assert [line.get_xdata(orig=False).tolist() for line in axis.lines] == [[0, 1]] * 2
    assert [label.get_text() for label in axis.get_xticklabels()] == [str(name) for name in index]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("row", "PSNR (dB)")


def test_error_maps_share_one_scale():
    figure = plots.error_maps({"a": np.full((5, 6), 3.0), "b": np.full((5, 6), 60.0)}, 30)
    low, high, scale = shown(figure)
    colours = [np.array(plt.get_cmap("magma")(share, bytes=True)[:3]) for share in (0.1, 1.0, 0.0)]
    assert (low == colours[0]).all() and (high == colours[1]).all(), "3 of 30 levels; 60 are above the top"
    assert (scale[0] == colours[1]).all() and (scale[-1] == colours[2]).all()
    assert words(figure.texts) == ["a", "b", "30–0"]


def test_histograms_count_each_channel_in_its_colour():
    even = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1).expand(3, 4, 5)
    [axis] = plots.histograms({"even": even}).axes
    assert axis.get_title() == "even"
    peaks = {}
    for outline in axis.patches:
        x, y = outline.get_xy().T
        assert y.max() == 20
        peaks[matplotlib.colors.to_hex(outline.get_edgecolor())] = x[np.argmax(y)]
    for colour, value in (("tab:red", 0.1), ("tab:green", 0.5), ("tab:blue", 0.9)):
        assert peaks[matplotlib.colors.to_hex(colour)] == pytest.approx(value, abs=0.02)
