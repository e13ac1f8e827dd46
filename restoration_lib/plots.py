"""Figures made from finished numbers and images; nothing is measured here.

Images are (3, H, W) or (1, 3, H, W) tensors in [0, 1] and are shown as they are, at a whole scale: no rescaling of
values, which would hide colour faults, and no blur.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from restoration_lib.data.files import to_uint8
from restoration_lib.evaluation.metrics import METRICS

DPI = 100
LINE = 17  # px, height of a line of text
GAP = 6  # px between images


def images(
    rows: Sequence[Sequence[Tensor]], columns: Sequence[str] = (), labels: Sequence[str] = (), side: int = 192
) -> Figure:
    """Rows of images, titles over the first row, a label left of each row.

    Args:
        side: px that an image takes about, its longer side; each is shown at the largest whole scale that fits.
    """
    titles = [[text if y == 0 else "" for text in columns] for y in range(len(rows))]
    return _laid_out([[_pixels(image) for image in row] for row in rows], titles, labels, side)


def captioned(shown: Mapping[str, Tensor], width: int, side: int = 192) -> Figure:
    """Images by their titles, `width` in a row."""
    titles = [list(shown)[k : k + width] for k in range(0, len(shown), width)]
    return _laid_out([[_pixels(shown[title]) for title in row] for row in titles], titles, (), side)


def zoom(rows: Sequence[Sequence[Tensor]], columns: Sequence[str], size: int = 48) -> Figure:
    """The central `size` x `size` pixels of each image, large enough to see them one by one."""
    return images([[centre(image, size) for image in row] for row in rows], columns, side=240)


def centre(image: Tensor, size: int) -> Tensor:
    """The central `size` x `size` pixels, or what there is of them."""
    height, width = image.shape[-2:]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return image[..., top : top + size, left : left + size]


def files(paths: Mapping[str, Path]) -> Figure:
    """Figures that were saved before, pixel by pixel, one below the other, with a title each; of none, a word."""
    if not paths:
        figure, [axis] = _panels(1, 6, 0.5)
        axis.set_axis_off()
        axis.text(0.5, 0.5, "no images were published of these runs", ha="center", va="center")
        return figure
    opened = {title: np.asarray(Image.open(path).convert("RGB")) for title, path in paths.items()}
    return _laid_out([[pixels] for pixels in opened.values()], [[title] for title in opened], (), side=0)


def _pixels(image: Tensor) -> np.ndarray:
    return to_uint8(image.reshape(image.shape[-3:]))


def _laid_out(rows: list[list[np.ndarray]], titles: list[list[str]], labels: Sequence[str], side: int) -> Figure:
    """Images (H, W, 3) at whole scales, each in a cell of its own; a `side` of 0 shows one pixel for each of theirs."""
    rows = [[_scaled(pixels, side) for pixels in row] for row in rows]
    widths = [max(row[x].shape[1] for row in rows if x < len(row)) for x in range(max(map(len, rows)))]
    heights = [max(pixels.shape[0] for pixels in row) for row in rows]
    titles = [
        [textwrap.wrap(text, max(8, width // 7)) for text, width in zip(line, widths, strict=False)] for line in titles
    ]
    above = [LINE * max(map(len, line), default=0) for line in titles]
    left = LINE + 2 if labels else 0
    total_width = left + sum(widths) + GAP * (len(widths) - 1)
    total_height = sum(heights) + sum(above) + GAP * (len(rows) - 1)
    inches = [(length + 0.1) / DPI for length in (total_width, total_height)]  # 203 / 100 * 100 is below 203
    figure = plt.figure(figsize=inches, dpi=DPI)
    top = total_height
    for y, row in enumerate(rows):
        top -= above[y]
        for x, pixels in enumerate(row):
            height, width = pixels.shape[:2]
            start = left + sum(widths[:x]) + GAP * x
            figure.figimage(pixels, start, top - height)  # an axis for each would take ten times as long
            if x < len(titles[y]) and titles[y][x]:
                place = ((start + width / 2) / total_width, top / total_height)
                figure.text(*place, "\n".join(titles[y][x]), ha="center", va="bottom", fontsize=8.5)
        if labels:
            middle = (top - heights[y] / 2) / total_height
            figure.text(2 / total_width, middle, labels[y], rotation=90, ha="left", va="center", fontsize=8.5)
        top -= heights[y] + GAP
    plt.close(figure)
    return figure


def _scaled(pixels: np.ndarray, side: int) -> np.ndarray:
    """Each pixel repeated, or blocks of pixels averaged, so that the longer side fits in `side` px."""
    longer = max(pixels.shape[:2])
    if not side or longer == side:
        return pixels
    if longer < side:
        return pixels.repeat(side // longer, 0).repeat(side // longer, 1)
    fold = -(-longer // side)
    height, width = (length // fold * fold for length in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(height // fold, fold, width // fold, fold, -1)
    return blocks.mean((1, 3)).round().astype(np.uint8)


def histograms(shown: Mapping[str, Tensor]) -> Figure:
    """Histogram of each colour channel, a panel for each image."""
    figure, axes = _panels(len(shown), 10.4 / max(3, len(shown)), 2.3, sharey=True)
    for axis, (title, image) in zip(axes, shown.items(), strict=True):
        for channel, colour in zip(image.reshape(image.shape[-3:]), ("tab:red", "tab:green", "tab:blue"), strict=True):
            axis.hist(channel.flatten().numpy(), bins=64, histtype="step", color=colour)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("value")
    axes[0].set_ylabel("pixels")
    return figure


def losses(history: pd.DataFrame) -> Figure:
    """Every loss term over the steps: the generator's on the left, the discriminator's (if any) on the right.

    Where nothing was trained the figure says so.
    """
    names = [n for n in history if n != "step" and not n.startswith("validation_") and "gradient" not in n]
    if not names:
        return _untrained()
    sides = {"generator": [n for n in names if not n.startswith("discriminator")]}
    if own := [n for n in names if n.startswith("discriminator")]:
        sides["discriminator"] = own
    figure, axes = _panels(len(sides), 5.2, 3)
    for axis, (title, side) in zip(axes, sides.items(), strict=True):
        for name in side:
            label = "total" if name == title else name.removeprefix("discriminator_")
            axis.plot(history["step"], history[name], label=label, lw=2 if label == "total" else 1)
        axis.set_title(title, fontsize=10)
        _label(axis, "step", "weighted loss")
    axes[0].set_yscale("log")
    return figure


def validation(histories: Mapping[str, pd.DataFrame], names: Sequence[str] = ("psnr", "ssim")) -> Figure:
    """The named metrics on the validation images over the steps, a line for each history.

    Where nothing was trained the figure says so.
    """
    if not any(history["step"].any() for history in histories.values()):
        return _untrained()
    figure, axes = _panels(len(names), 10.4 / max(2, len(names)), 3)
    for axis, name in zip(axes, names, strict=True):
        for title, history in histories.items():
            points = history.dropna(subset=f"validation_{name}")
            axis.plot(points["step"], points[f"validation_{name}"], marker=".", label=title)
        ylabel = textwrap.fill(f"validation {METRICS[name].heading}", 30)  # what its height holds
        _label(axis, "step", ylabel, legend=axis is axes[0])
    return figure


def _untrained() -> Figure:
    figure, [axis] = _panels(1, 5.2, 0.5)
    axis.text(0.5, 0.5, "nothing was trained here", ha="center", va="center")
    axis.set_axis_off()
    return figure


def dots(table: pd.DataFrame, spread: pd.DataFrame, xlabel: str) -> Figure:
    """A line for each row, on it a dot for each column, with whiskers of ± spread: no axis that must start at 0."""
    figure, [axis] = _panels(1, 8, 0.36 * len(table) + 1.1)
    y = np.arange(len(table))[::-1]
    for k, column in enumerate(table):
        whisker = spread[column].reindex(table.index).fillna(0)
        place = y + 0.12 * ((len(table.columns) - 1) / 2 - k)
        axis.errorbar(table[column], place, xerr=whisker, fmt="o", ms=5, capsize=3, label=str(column))
    _name_lines(axis, y, table.index)
    _label(axis, xlabel)
    return figure


def intervals(table: pd.DataFrame, xlabel: str) -> Figure:
    """Mean differences with their intervals: columns `difference`, `low`, `high`, a line for each row."""
    figure, [axis] = _panels(1, 8, 0.4 * len(table) + 1)
    y = np.arange(len(table))[::-1]
    error = [table["difference"] - table["low"], table["high"] - table["difference"]]
    axis.errorbar(table["difference"], y, xerr=np.array(error), fmt="o", capsize=3)
    axis.axvline(0, color="black", lw=0.8)
    _name_lines(axis, y, table.index)
    _label(axis, xlabel, legend=False)
    return figure


def curves(table: pd.DataFrame, xlabel: str, ylabel: str) -> Figure:
    """A curve for each column over the numbers of the table's index, or over its names, evenly spaced."""
    figure, [axis] = _panels(1, 8, 3.2)
    x = table.index if pd.api.types.is_numeric_dtype(table.index) else table.index.astype(str)
    for name in table:
        axis.plot(x, table[name], lw=1, marker="." if len(table) < 12 else "", label=str(name))
    _label(axis, xlabel, ylabel)
    return figure


def points(table: pd.DataFrame, x: str, y: str) -> Figure:
    """One metric against another, of METRICS: a named point for each row."""
    figure, [axis] = _panels(1, 6, 3.6)
    for name, row in table.iterrows():
        axis.plot(row[x], row[y], marker="o", ls="none", label=str(name))
    _label(axis, METRICS[x].heading, METRICS[y].heading)
    return figure


def error_maps(maps: Mapping[str, np.ndarray], top: float) -> Figure:
    """Maps (H, W) of absolute error in grey levels as colours, from black, 0, to bright, `top`; and their scale."""
    scale = np.linspace(top, 0, 192)[:, None].repeat(32, 1)
    colours = [plt.get_cmap("magma")(values / top, bytes=True)[..., :3] for values in (*maps.values(), scale)]
    return _laid_out([colours], [[*maps, f"{top:g}–0"]], (), side=256)


def _panels(count: int, width: float, height: float, **options) -> tuple[Figure, np.ndarray]:
    """A figure, closed in pyplot, so that a notebook shows it once, and its axes side by side, of so many inches."""
    figure, axes = plt.subplots(
        1, count, figsize=(width * count, height), dpi=DPI, squeeze=False, layout="constrained", **options
    )
    plt.close(figure)
    return figure, axes[0]


def _label(axis: Axes, xlabel: str, ylabel: str = "", legend: bool = True) -> None:
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.grid(alpha=0.3)
    if legend:
        axis.legend(fontsize=8)


def _name_lines(axis: Axes, y: np.ndarray, names: pd.Index) -> None:
    axis.set_yticks(y, [str(name) for name in names], fontsize=8)
    axis.set_ylim(-0.6, len(names) - 0.4)
