"""Figures: what they show, read back from their axes."""

import inspect
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from restoration_lib import figures

TERMS = ["generator", "l1", "adversarial", "discriminator", "discriminator_real", "discriminator_fake"]


def picture(seed=0, height=10, width=12):
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
    "grid": lambda: figures.grid([[picture(), picture(1)], [picture(2)[None]]], ["a", "b"], ["top", "bottom"]),
    "captioned": lambda: figures.captioned([picture(), picture(1)[None], picture(2)], ["a", "b", "c"], 2),
    "files": lambda: figures.files({"an icon": Path(matplotlib.get_data_path(), "images", "back.png")}),
    "zoom": lambda: figures.zoom([[picture(), picture(1)]], ["a", "b"], ["top"], size=4),
    "histograms": lambda: figures.histograms({"a": picture(), "b": picture(1)[None]}),
    "losses": lambda: figures.losses(history()),
    "validation": lambda: figures.validation({"a": history(), "b": history()}),
    "bars": lambda: figures.bars(table(), 0.1 * table(), "PSNR (dB)"),
    "intervals": lambda: figures.intervals(
        pd.DataFrame({"difference": [0.5, -1.0], "low": [0.1, -2.0], "high": [0.9, 0.5]}, index=["a", "b"]), "dB"
    ),
    "curves": lambda: figures.curves(table().set_axis([0.0, 0.5], axis=0), "frequency", "dB"),
    "lines": lambda: figures.lines(table(), "row", "PSNR (dB)"),
    "points": lambda: figures.points(
        pd.DataFrame({"psnr_y": [28.0, 30.0], "lpips": [0.4, 0.3]}, ["a", "b"]), "psnr_y", "lpips"
    ),
    "error_maps": lambda: figures.error_maps({"a": np.ones((5, 6)), "b": np.zeros((5, 6))}, 30),
}


def shown(figure):
    """The image array of each axis that has one."""
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]


def test_every_function_that_makes_a_figure_is_tested_here():
    public = {n: f for n, f in inspect.getmembers(figures, inspect.isfunction) if f.__module__ == figures.__name__}
    makes = {name for name, f in public.items() if f.__annotations__.get("return") is Figure and name[0] != "_"}
    assert makes == set(EVERY)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", EVERY)
def test_figure_saves_as_png_and_leaves_none_open(name, tmp_path):
    plt.close("all")
    figure = EVERY[name]()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []
    figure.savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("level", [0, 13, 128, 255])
def test_even_picture_keeps_its_level(level):
    [[pixels]] = [shown(figures.grid([[torch.full((3, 4, 5), level / 255)]]))]
    assert pixels.shape == (4, 5, 3)
    np.testing.assert_array_equal(pixels, np.full((4, 5, 3), level))


def test_pictures_are_shown_without_rescaling_or_smoothing():
    dark, light = picture() * 0.2, 0.8 + picture(1) * 0.2
    figure = figures.grid([[dark, light[None]]])
    for pixels, expected in zip(shown(figure), (dark, light), strict=True):
        assert pixels.dtype == np.uint8
        np.testing.assert_allclose(pixels, 255 * expected.permute(1, 2, 0).numpy(), atol=0.5 + 1e-4)
    assert {axis.images[0].get_interpolation() for axis in figure.axes} == {"nearest"}


def test_value_outside_the_range_is_clipped_not_wrapped():
    [pixels] = shown(figures.grid([[torch.tensor([-0.5, 0.5, 1.5]).view(3, 1, 1).expand(3, 2, 2)]]))
    assert pixels[0, 0, 0] == 0 and pixels[0, 0, 1] in (127, 128) and pixels[0, 0, 2] == 255


def test_grid_puts_titles_over_the_first_row_and_labels_left():
    figure = figures.grid([[picture(), picture(1)], [picture(2)]], ["input", "truth"], ["face", "cat"])
    assert [axis.get_title() for axis in figure.axes] == ["input", "truth", "", ""]
    assert [[text.get_text() for text in axis.texts] for axis in figure.axes] == [["face"], [], ["cat"], []]
    assert not any(axis.axison for axis in figure.axes)  # the empty place shows no frame


def test_captioned_shows_each_picture_under_its_title_and_leaves_the_rest_empty():
    pictures, titles = [picture(k) for k in range(5)], list("abcde")
    figure = figures.captioned([pictures[0], pictures[1][None], *pictures[2:]], titles, 3)
    assert [axis.get_title() for axis in figure.axes] == [*titles, ""]
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 3)
    assert not any(axis.axison for axis in figure.axes)
    found = shown(figure)
    assert len(found) == 5
    for pixels, expected in zip(found, pictures, strict=True):
        np.testing.assert_allclose(pixels, 255 * expected.permute(1, 2, 0).numpy(), atol=0.5 + 1e-4)


def test_files_shows_each_file_under_its_title_with_height_by_its_own(tmp_path):
    saved, paths = {}, {}
    for k, height in enumerate((30, 90)):
        saved[f"{k}"] = np.random.default_rng(k).integers(0, 256, (height, 120, 3), dtype=np.uint8)
        paths[f"{k}"] = tmp_path / f"{k}.png"
        Image.fromarray(saved[f"{k}"]).save(paths[f"{k}"])
    figure = figures.files(paths)
    assert [axis.get_title() for axis in figure.axes] == ["0", "1"]
    assert not any(axis.axison for axis in figure.axes)
    for pixels, expected in zip(shown(figure), saved.values(), strict=True):
        np.testing.assert_allclose(255 * pixels[..., :3], expected, atol=0.01)
    low, high = figure.axes[0].get_gridspec().get_height_ratios()
    assert low < high


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
    assert torch.equal(figures.centre(pixels, size), pixels[..., slice(*rows), slice(*columns)])


def test_zoom_shows_the_middle_of_each_picture():
    [pixels] = shown(figures.zoom([[picture()]], ["a"], size=4))
    np.testing.assert_allclose(pixels, 255 * picture()[:, 3:7, 4:8].permute(1, 2, 0).numpy(), atol=0.5 + 1e-4)


def curves(axis):
    return {line.get_label(): line.get_ydata().tolist() for line in axis.lines}


def test_losses_of_generator_and_discriminator_stand_apart():
    left, right = figures.losses(history()).axes
    expected = history()
    assert (left.get_title(), right.get_title()) == ("generator", "discriminator")
    own = {name: expected[name].tolist() for name in ("l1", "adversarial")}
    assert curves(left) == {"total": expected["generator"].tolist(), **own}
    its = {name: expected[f"discriminator_{name}"].tolist() for name in ("real", "fake")}
    assert curves(right) == {"total": expected["discriminator"].tolist(), **its}
    assert left.lines[0].get_xdata().tolist() == expected["step"].tolist()


def test_losses_without_discriminator_have_one_panel():
    [axis] = figures.losses(history(["generator", "l1"])).axes
    assert set(curves(axis)) == {"total", "l1"}


def test_validation_draws_only_the_rows_that_were_validated():
    psnr, ssim = figures.validation({"with": history(), "without": history()}).axes
    assert curves(psnr) == {"with": [20.0, 22.0, 23.0], "without": [20.0, 22.0, 23.0]}
    assert psnr.lines[0].get_xdata().tolist() == [40, 80, 100]
    assert ssim.lines[0].get_ydata().tolist() == [0.5, 0.6, 0.7]


def test_validation_draws_the_figures_that_are_named():
    table = history().rename(
        columns={"validation_psnr": "validation_round_trip", "validation_ssim": "validation_identity"}
    )
    [axis] = figures.validation({"one": table}, ["identity"]).axes
    assert curves(axis) == {"one": [0.5, 0.6, 0.7]}
    assert axis.get_ylabel() == "validation identity (dB)"


def test_points_are_named_and_stand_at_their_two_figures():
    [axis] = EVERY["points"]().axes
    assert [(line.get_label(), line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines] == [
        ("a", 28.0, 0.4), ("b", 30.0, 0.3)
    ]  # fmt: skip
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("PSNR of Y (dB)", "LPIPS")


def heights(axis):
    return [[bar.get_height() for bar in group.patches] for group in axis.containers if hasattr(group, "patches")]


def whiskers(axis):
    """Ends (low, high) of each bar's whisker, column after column."""
    bars = [group for group in axis.containers if hasattr(group, "patches")]
    return [[tuple(s[:, 1]) for s in group.errorbar.lines[2][0].get_segments()] for group in bars]


def test_bars_have_the_heights_and_whiskers_of_the_tables():
    spread = pd.DataFrame({"low": [0.5, 1.0], "high": [0.25, np.nan]}, index=table().index)
    [axis] = figures.bars(table(), spread, "PSNR (dB)").axes
    assert heights(axis) == [[30.0, 36.0], [27.0, 33.0]]
    assert whiskers(axis) == [[(29.5, 30.5), (35.0, 37.0)], [(26.75, 27.25), (33.0, 33.0)]]  # unknown: no whisker
    assert axis.get_ylabel() == "PSNR (dB)"
    low, high = axis.get_ylim()
    assert low < 27 and high > 36


def test_bars_of_one_seed_have_no_spread_but_are_drawn(tmp_path):
    figure = figures.bars(table(), table() * np.nan, "PSNR (dB)")
    figure.savefig(tmp_path / "bars.png", dpi=40)
    assert heights(figure.axes[0]) == [[30.0, 36.0], [27.0, 33.0]]


def test_intervals_reach_from_low_to_high():
    rows = pd.DataFrame({"difference": [0.5, -1.0], "low": [0.1, -2.0], "high": [0.9, 0.5]}, index=["a", "b"])
    [axis] = figures.intervals(rows, "dB").axes
    segments = axis.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([s[:, 0] for s in segments], [[0.1, 0.9], [-2.0, 0.5]])
    named = dict(zip(axis.get_yticks(), (label.get_text() for label in axis.get_yticklabels()), strict=True))
    assert [named[s[0, 1]] for s in segments] == ["a", "b"]


def test_curves_stand_over_the_numbers_of_the_index():
    numbered = table().set_axis([0.125, 0.5], axis=0)
    [axis] = figures.curves(numbered, "frequency", "dB").axes
    for line, name in zip(axis.lines, numbered, strict=True):
        assert line.get_xdata().tolist() == [0.125, 0.5]
        assert line.get_ydata().tolist() == numbered[name].tolist()


def test_lines_follow_the_columns_over_the_index():
    [axis] = figures.lines(table(), "row", "PSNR (dB)").axes
    assert curves(axis) == {"low": [30.0, 36.0], "high": [27.0, 33.0]}
    assert [label.get_text() for label in axis.get_xticklabels()] == ["input", "L1 + cosine"]


def test_error_maps_share_one_scale():
    figure = figures.error_maps({"a": np.full((5, 6), 3.0), "b": np.full((5, 6), 60.0)}, 30)
    images = [axis.images[0] for axis in figure.axes if axis.images]
    assert [image.get_clim() for image in images] == [(0, 30), (0, 30)]
    assert [float(image.get_array().mean()) for image in images] == [3.0, 60.0]


def test_histograms_count_each_channel_in_its_colour():
    even = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1).expand(3, 4, 5)
    [axis] = figures.histograms({"even": even}).axes
    assert axis.get_title() == "even"
    peaks = {}
    for outline in axis.patches:
        x, y = outline.get_xy().T
        assert y.max() == 20
        peaks[matplotlib.colors.to_hex(outline.get_edgecolor())] = x[np.argmax(y)]
    for colour, value in (("tab:red", 0.1), ("tab:green", 0.5), ("tab:blue", 0.9)):
        assert peaks[matplotlib.colors.to_hex(colour)] == pytest.approx(value, abs=0.02)
