"""Figures of the results per class: the confusion matrix, precision and recall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from dpcnn.report.results import Results
from dpcnn.report.style import BLUE, DEEP, FAINT, INK, ORANGE, axes, shortened

Array = NDArray[Any]

NUMBERED = 15  # classes up to which the counts fit into the cells of a confusion matrix
ROWS = 30  # classes in the figure of precision and recall
NUMBERS = 3  # characters up to which names stand side by side below an axis
TICK = 16  # characters of the name of a class beside an axis
STRONG = 0.7  # opacity of a cell from which its count is white
GAP = 0.06  # between two cells, as a share of one


def confusion(counts: Array, name: Callable[[int], str] = str, how: str = "") -> Figure:
    """Draw a confusion matrix (classes, classes): true class by predicted class, each by name.

    how: what the title says of the evaluation, after its first words.
    """
    figure, chart = axes(4.3, f"Confusion matrix{how}", "predicted class", "true class")
    opacity = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    chart.tick_params(length=0)
    chart.spines[:].set_visible(False)
    if len(counts) <= NUMBERED:
        _draw_cells(chart, opacity)
        _write_counts(chart, counts, opacity, name)
    else:
        cells = np.empty((*counts.shape, 4))
        cells[..., :3] = to_rgb(BLUE)
        cells[..., 3] = opacity
        chart.imshow(cells, interpolation="none")
    return figure


def _draw_cells(chart: Axes, opacity: Array) -> None:
    """Draw a square in each cell, in the page's colour: dark where many images are."""
    for (row, column), strength in np.ndenumerate(opacity):
        corner = column - 0.5 + GAP / 2, row - 0.5 + GAP / 2
        side = 1 - GAP
        if strength > 0:
            square = Rectangle(corner, side, side, facecolor=DEEP, alpha=strength, linewidth=0)
            chart.add_patch(square)
    chart.set_xlim(-0.5, len(opacity) - 0.5)
    chart.set_ylim(len(opacity) - 0.5, -0.5)
    chart.set_aspect("equal")


def _write_counts(chart: Axes, counts: Array, opacity: Array, name: Callable[[int], str]) -> None:
    """Label every class, and write the counts into their cells: zeros on the diagonal alone."""
    names = [shortened(name(label), TICK) for label in range(len(counts))]
    chart.set_xticks(range(len(counts)), names)
    if max(map(len, names)) > NUMBERS:
        for text in chart.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")
    chart.set_yticks(range(len(counts)), names)
    style: dict[str, Any] = {"ha": "center", "va": "center"}
    style["fontsize"] = min(8.0, 80 / len(counts))
    for (row, column), count in np.ndenumerate(counts):
        if count or row == column:
            color = "#ffffff" if opacity[row, column] > STRONG else INK
            weight = "bold" if row == column else "normal"
            chart.text(column, row, f"{count}", color=color, fontweight=weight, **style)


def per_class(results: Results, name: Callable[[int], str] = str, how: str = "") -> Figure:
    """Draw precision and recall of each class; of many classes, those of the lowest F1.

    how: as for `confusion`.
    """
    scores = results.per_class
    shown = np.sort(np.argsort(np.nan_to_num(scores.f1), kind="stable")[:ROWS])
    worst = f": the {ROWS} worst" if results.classes > ROWS else ""
    height = 1.2 + 0.3 * len(shown)
    figure, chart = axes(height, f"Precision and recall per class{worst}{how}", "%", "class")
    rows = np.arange(len(shown))
    precision = 100 * scores.precision[shown]
    recall = 100 * scores.recall[shown]
    chart.hlines(rows, precision, recall, color=FAINT, linewidth=2, zorder=1)
    chart.plot(precision, rows, "o", color=BLUE, markersize=6, zorder=2)
    chart.plot(recall, rows, "D", color=ORANGE, markersize=6, zorder=2)
    _name_markers(chart, precision[0], recall[0])
    chart.set_yticks(rows, [shortened(name(label), TICK) for label in shown])
    chart.set_ylim(len(shown) - 0.4, -0.6)
    chart.margins(x=0.22)  # room for the names of the markers
    chart.set_xticks([tick for tick in chart.get_xticks() if 0 <= tick <= 100])
    chart.grid(axis="both")
    chart.spines["left"].set_visible(False)
    return figure


def _name_markers(chart: Axes, precision: float, recall: float) -> None:
    """Name the two markers of the first row, away from each other."""
    sign = 1 if np.nan_to_num(precision) >= np.nan_to_num(recall) else -1
    for name, value, direction in (("precision", precision, sign), ("recall", recall, -sign)):
        if not np.isnan(value):
            side = "left" if direction > 0 else "right"
            chart.annotate(
                name, (value, 0), (7 * direction, 0), textcoords="offset points", ha=side,
                va="center",
            )  # fmt: skip
