"""Figures made from finished numbers and pictures; nothing is measured here.

Pictures are (3, H, W) or (1, 3, H, W) tensors in [0, 1] and are shown as they are: no rescaling, which would hide
colour faults.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from restoration_lib.images import to_uint8
from restoration_lib.tables import METRICS

DPI = 72  # pictures of noise hardly compress: at 100, an executed notebook has twice the bytes


def show(axis: Axes, picture: Tensor, title: str = "") -> None:
    """One picture without ticks."""
    pixels = to_uint8(picture.reshape(picture.shape[-3:]))
    axis.imshow(
        pixels, interpolation="nearest" if max(pixels.shape) <= 640 else "auto"
    )  # "auto" reduces without aliases
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


def grid(rows: Sequence[Sequence[Tensor]], columns: Sequence[str] = (), labels: Sequence[str] = (), side=1.9) -> Figure:
    """Rows of pictures, titles over the first row, a label left of each row; `side` inches a picture."""
    count = max(map(len, rows))
    figure, axes = plt.subplots(
        len(rows), count, figsize=(side * count, side * len(rows) + 0.3), squeeze=False, layout="constrained"
    )
    for y, row in enumerate(rows):
        for x, axis in enumerate(axes[y]):
            if x < len(row):
                show(axis, row[x], columns[x] if columns and y == 0 else "")
            else:
                axis.set_axis_off()
        if labels:
            axes[y][0].text(-0.04, 0.5, labels[y], rotation=90, ha="right", va="center", fontsize=9,
                            transform=axes[y][0].transAxes)  # fmt: skip
    return _done(figure)


def captioned(pictures: Sequence[Tensor], titles: Sequence[str], width: int, side: float = 1.9) -> Figure:
    """Pictures with a title each, `width` in a row; `side` inches a picture."""
    rows = -(-len(pictures) // width)
    figure, axes = plt.subplots(rows, width, figsize=(side * width, (side + 0.2) * rows), squeeze=False,
                                layout="constrained")  # fmt: skip
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (picture, title) in zip(axes.flat, zip(pictures, titles, strict=True), strict=False):
        show(axis, picture, title)
    return _done(figure)


def zoom(
    rows: Sequence[Sequence[Tensor]], columns: Sequence[str], labels: Sequence[str] = (), size: int = 48
) -> Figure:
    """The central `size` x `size` pixels of each picture, large enough to see them one by one."""
    return grid([[centre(picture, size) for picture in row] for row in rows], columns, labels, side=2.4)


def centre(picture: Tensor, size: int) -> Tensor:
    """The central `size` x `size` pixels, or what there is of them."""
    height, width = picture.shape[-2:]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return picture[..., top : top + size, left : left + size]


def files(pictures: dict[str, Path]) -> Figure:
    """Figures that were saved before, one below the other, with a title each."""
    opened = {title: plt.imread(path) for title, path in pictures.items()}
    inches = [8 * pixels.shape[0] / pixels.shape[1] + 0.3 for pixels in opened.values()]
    figure, axes = plt.subplots(len(opened), figsize=(8, sum(inches)), squeeze=False, height_ratios=inches,
                                layout="constrained")  # fmt: skip
    for axis, (title, pixels) in zip(axes[:, 0], opened.items(), strict=True):
        axis.imshow(pixels)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    return _done(figure)


def histograms(pictures: dict[str, Tensor]) -> Figure:
    """Histogram of each colour channel, a panel for each picture."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(3.2 * len(pictures), 2.3), sharey=True,
                                squeeze=False, layout="constrained")  # fmt: skip
    for axis, (title, picture) in zip(axes[0], pictures.items(), strict=True):
        for channel, colour in zip(
            picture.reshape(picture.shape[-3:]), ("tab:red", "tab:green", "tab:blue"), strict=True
        ):
            axis.hist(channel.flatten().numpy(), bins=64, histtype="step", color=colour)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("value")
    axes[0][0].set_ylabel("pixels")
    return _done(figure)


def losses(history: pd.DataFrame) -> Figure:
    """Every loss term over the steps: the generator's on the left, the discriminator's (if any) on the right."""
    names = [n for n in history if n not in ("step",) and not n.startswith("validation_") and "gradient" not in n]
    sides = [
        [n for n in names if not n.startswith("discriminator")],
        [n for n in names if n.startswith("discriminator")],
    ]
    sides = [side for side in sides if side]
    figure, axes = plt.subplots(1, len(sides), figsize=(5.2 * len(sides), 3), squeeze=False, layout="constrained")
    for axis, side in zip(axes[0], sides, strict=True):
        for name in side:
            label = "total" if name in ("generator", "discriminator") else name.removeprefix("discriminator_")
            axis.plot(history["step"], history[name], label=label, lw=2 if label == "total" else 1)
        axis.set_title("discriminator" if side[0].startswith("discriminator") else "generator", fontsize=10)
        axis.set_xlabel("step")
        axis.legend(fontsize=8)
    axes[0][0].set_yscale("log")
    axes[0][0].set_ylabel("weighted loss")
    return _done(figure)


def validation(histories: dict[str, pd.DataFrame], names: Sequence[str] = ("psnr", "ssim")) -> Figure:
    """The named figures on the validation pictures over the steps, a line for each history."""
    figure, axes = plt.subplots(1, len(names), figsize=(5.2 * len(names), 3), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names, strict=True):
        for title, history in histories.items():
            points = history.dropna(subset=f"validation_{name}")
            axis.plot(points["step"], points[f"validation_{name}"], marker=".", label=title)
        axis.set_xlabel("step")
        axis.set_ylabel(f"validation {METRICS[name][0]}")
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    return _done(figure)


def bars(table: pd.DataFrame, spread: pd.DataFrame, ylabel: str) -> Figure:
    """A group of bars for each row, a colour for each column, whiskers of ± spread; the axis need not start at 0."""
    figure, axis = plt.subplots(figsize=(10.4, 3.6), layout="constrained")
    width = 0.8 / len(table.columns)
    whiskers = spread.reindex_like(table).fillna(0)
    for k, column in enumerate(table):
        x = np.arange(len(table)) + (k - (len(table.columns) - 1) / 2) * width
        axis.bar(
            x, table[column], width, yerr=spread[column].reindex(table.index).fillna(0), capsize=3, label=str(column)
        )
    low, high = np.nanmin(table - whiskers), np.nanmax(table + whiskers)
    margin = 0.1 * (high - low) or 1.0
    axis.set_ylim(low - margin, high + margin)
    axis.set_xticks(range(len(table)), [str(name).replace(" + ", " +\n") for name in table.index], fontsize=8)
    axis.set_ylabel(ylabel)
    axis.legend(fontsize=8)
    axis.grid(axis="y", alpha=0.3)
    return _done(figure)


def intervals(table: pd.DataFrame, xlabel: str) -> Figure:
    """Mean differences with their intervals: columns `difference`, `low`, `high`, a line for each row."""
    figure, axis = plt.subplots(figsize=(8, 0.4 * len(table) + 1), layout="constrained")
    y = np.arange(len(table))[::-1]
    error = [table["difference"] - table["low"], table["high"] - table["difference"]]
    axis.errorbar(table["difference"], y, xerr=np.array(error), fmt="o", capsize=3)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(y, [str(name) for name in table.index], fontsize=8)
    axis.set_xlabel(xlabel)
    return _done(figure)


def lines(table: pd.DataFrame, xlabel: str, ylabel: str) -> Figure:
    """A line for each column over the table's index."""
    figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for name in table:
        axis.plot(range(len(table)), table[name], marker=".", label=str(name))
    axis.set_xticks(range(len(table)), [str(value) for value in table.index])
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return _done(figure)


def curves(table: pd.DataFrame, xlabel: str, ylabel: str) -> Figure:
    """A curve for each column over the numbers of the table's index."""
    figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for name in table:
        axis.plot(table.index, table[name], lw=1, label=str(name))
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return _done(figure)


def points(table: pd.DataFrame, x: str, y: str) -> Figure:
    """One figure of merit against another, of `tables.METRICS`: a named point for each row."""
    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, row in table.iterrows():
        axis.plot(row[x], row[y], marker="o", ls="none", label=str(name))
    axis.set_xlabel(METRICS[x][0])
    axis.set_ylabel(METRICS[y][0])
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return _done(figure)


def error_maps(maps: dict[str, np.ndarray], top: float) -> Figure:
    """Maps (H, W) of absolute error in grey levels, one colour scale from 0 to `top` for all."""
    figure, axes = plt.subplots(1, len(maps), figsize=(2.8 * len(maps), 2.6), squeeze=False, layout="constrained")
    for axis, (title, values) in zip(axes[0], maps.items(), strict=True):
        image = axis.imshow(values, vmin=0, vmax=top, cmap="magma", interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    figure.colorbar(image, ax=axes[0].tolist(), label="grey levels", shrink=0.8)
    return _done(figure)


def _done(figure: Figure) -> Figure:
    """Close the figure in pyplot, so that a notebook shows it once: as the value of its cell."""
    figure.set_dpi(DPI)
    plt.close(figure)
    return figure
