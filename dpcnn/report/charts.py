"""The charts of one run and of several: curves, and how the classes fare.

Every chart has a title, units and direct labels; each function returns a figure and belongs into
`figures.drawn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from dpcnn.report.facts import Run
from dpcnn.report.figures import BLUE, FAINT, INK, MUTED, ORANGE, SERIES, axes, short
from dpcnn.report.results import Results

Array = NDArray[Any]

FEW = 20  # epochs whose points are marked
STEEP = 30  # a loss that falls so many times over is drawn on a logarithmic scale
DISTANCE = 0.085  # between labels, of the height of a chart
NUMBERED = 15  # classes whose numbers fit into the cells of a confusion matrix
ROWS = 30  # classes in a chart of them


@dataclass(frozen=True)
class Curve:
    """One line of a chart: x and y (N,), and what it is called."""

    x: Array
    y: Array
    label: str
    color: str
    dashed: bool = False


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the seconds of the unit in which such a time reads well, and its symbol."""
    if seconds < 600:
        return 1.0, "s"
    return (60.0, "min") if seconds < 4 * 3600 else (3600.0, "h")


def loss(run: Run) -> Figure:
    """Draw the loss over the epochs."""
    return _over_epochs(_pair(run, run.epochs, "loss", "test_loss"), "Loss over epochs")


def accuracy(run: Run) -> Figure:
    """Draw the accuracy over the epochs."""
    curves = _pair(run, run.epochs, "train_accuracy", "test_accuracy", 100)
    return _over_epochs(curves, "Accuracy over epochs", percent=True)


def loss_over_time(run: Run) -> Figure:
    """Draw the loss over the seconds of training."""
    return _over_time(_pair(run, run.seconds, "loss", "test_loss"), "Loss over time")


def accuracy_over_time(run: Run) -> Figure:
    """Draw the accuracy over the seconds of training."""
    curves = _pair(run, run.seconds, "train_accuracy", "test_accuracy", 100)
    return _over_time(curves, "Accuracy over time", percent=True)


def learning_rate(run: Run) -> Figure:
    """Draw the learning rate over the epochs."""
    return _quantity(run, "learning_rate", "Learning rate", "learning rate", "g")


def speed(run: Run) -> Figure:
    """Draw the images a second over the epochs."""
    return _quantity(run, "images_per_second", "Speed of training", "images a second", ",.0f")


def compared(runs: Sequence[tuple[str, Run]], key: str, title: str, over_time: bool) -> Figure:
    """Draw one key of the metrics of several runs over each other; runs come with their names."""
    percent = key.endswith("accuracy")
    curves = [
        Curve(
            run.seconds if over_time else run.epochs,
            run.series(key) * (100 if percent else 1),
            name,
            SERIES[number % len(SERIES)],
            dashed=number >= len(SERIES),
        )
        for number, (name, run) in enumerate(runs)
    ]
    return (_over_time if over_time else _over_epochs)(curves, title, percent=percent)


def confusion(results: Results) -> Figure:
    """Draw how many images of each class were taken for which."""
    matrix = results.confusion
    assert matrix is not None, "the page asks where there is one"
    title = "Which classes are taken for which"
    figure, chart = axes(4.3, title, "predicted class", "true class")
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    share = np.sqrt(wrong / max(int(wrong.max()), 1))
    red, green, blue = (int(BLUE[at : at + 2], 16) / 255 for at in (1, 3, 5))
    cells = np.empty((*matrix.shape, 4))
    cells[...] = red, green, blue, 0
    cells[..., 3] = share * 0.9
    np.fill_diagonal(cells[..., 3], 0.08)
    chart.imshow(cells, interpolation="none")
    chart.tick_params(length=0)
    chart.spines[:].set_visible(False)
    if len(matrix) <= NUMBERED:
        chart.set_xticks(range(len(matrix)))
        chart.set_yticks(range(len(matrix)))
        size = min(8.0, 80 / len(matrix))
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                strong = cells[row, column, 3] > 0.75
                color = "#ffffff" if strong else MUTED if row == column else INK
                chart.text(
                    column, row, f"{count}", ha="center", va="center", fontsize=size, color=color
                )
    return figure


def per_class(results: Results) -> Figure:
    """Draw precision and recall of each class, of many classes those that fare worst."""
    found = results.per_class
    order = np.argsort(np.nan_to_num(found.f1), kind="stable")[:ROWS]
    shown = np.sort(order)
    title = "Precision and recall of each class"
    title += f": the {ROWS} worst" if results.classes > ROWS else ""
    figure, chart = axes(1.2 + 0.3 * len(shown), title, "share (%)", "class")
    rows = np.arange(len(shown))
    precision, recall = 100 * found.precision[shown], 100 * found.recall[shown]
    chart.hlines(rows, precision, recall, color=FAINT, linewidth=2, zorder=1)
    for values, color, marker, name, above in (
        (precision, BLUE, "o", "precision", recall),
        (recall, ORANGE, "D", "recall", precision),
    ):
        chart.plot(values, rows, marker, color=color, markersize=6, zorder=2)
        if not np.isnan(values[:1]).any():
            side = "left" if values[0] >= np.nan_to_num(above[0]) else "right"
            offset = (7 if side == "left" else -7, 0)
            chart.annotate(
                name, (values[0], 0), offset, textcoords="offset points", ha=side, va="center"
            )
    chart.set_yticks(rows, [f"{each}" for each in shown])
    chart.set_ylim(len(shown) - 0.4, -0.6)
    chart.margins(x=0.22)
    chart.grid(axis="both")
    chart.spines["left"].set_visible(False)
    return figure


def _pair(run: Run, x: Array, train: str, test: str, factor: float = 1) -> list[Curve]:
    """Return the curves of training and test."""
    return [
        Curve(x, factor * run.series(train), "training", ORANGE, dashed=True),
        Curve(x, factor * run.series(test), "test", BLUE),
    ]


def _quantity(run: Run, key: str, title: str, ylabel: str, form: str) -> Figure:
    """Draw a key of the metrics over the epochs, from zero."""
    values = run.series(key)
    known = values[~np.isnan(values)]
    label = format(known[-1], form) if known.size else ""
    return _over_epochs([Curve(run.epochs, values, label, BLUE)], title, ylabel)


def _over_epochs(
    curves: list[Curve], title: str, ylabel: str = "", percent: bool = False
) -> Figure:
    figure, chart = _curves(curves, title, ylabel, percent)
    chart.set_xlabel("epoch")
    chart.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    return figure


def _over_time(curves: list[Curve], title: str, percent: bool = False) -> Figure:
    latest = max((np.nanmax(curve.x, initial=0) for curve in curves), default=0)
    unit, symbol = time_unit(float(latest))
    scaled = [Curve(each.x / unit, each.y, each.label, each.color, each.dashed) for each in curves]
    figure, chart = _curves(scaled, title, "", percent)
    chart.set_xlabel(f"time of training and evaluation ({symbol})")
    chart.set_xlim(left=0)
    return figure


def _curves(curves: list[Curve], title: str, ylabel: str, percent: bool) -> tuple[Figure, Axes]:
    """Draw lines with their names at their ends."""
    words = ylabel or ("images classified right (%)" if percent else "mean loss an image (nats)")
    figure, chart = axes(2.9, title, "", words)
    for curve in curves:
        style: dict[str, Any] = {"linestyle": (0, (4, 1.6)) if curve.dashed else "-"}
        marker = "o" if len(curve.x) <= FEW else None
        chart.plot(curve.x, curve.y, color=curve.color, marker=marker, **style)
    values = np.concatenate([np.empty(0), *(curve.y[curve.y > 0] for curve in curves)])
    if not (percent or ylabel) and values.size and values.max() > STEEP * values.min():
        chart.set_yscale("log")
        chart.yaxis.set_minor_formatter(NullFormatter())
        chart.set_ylabel(f"{words}, log scale")
    if not percent:
        chart.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    if ylabel:
        chart.set_ylim(0, 1.25 * max(values, default=1.0))
    chart.grid(axis="y")
    chart.autoscale_view()  # now, for the labels
    _name(chart, curves, "{:.2f} %" if percent else "{:.4f}" if not ylabel else "")
    return figure, chart


def _name(chart: Axes, curves: list[Curve], number: str) -> None:
    """Write the name and last value of each line to the right of it, none over another."""
    ends = []
    for curve in curves:
        known = curve.y[~np.isnan(curve.y)]
        if known.size:
            point = chart.transData.transform((0, known[-1]))
            height = float(chart.transAxes.inverted().transform(point)[1])
            words = f"{short(curve.label)} {number.format(known[-1])}".strip()
            ends.append((height, curve, words))
    ends.sort(key=lambda end: end[0])
    heights = _spread([end[0] for end in ends])
    for height, (_, curve, words) in zip(heights, ends, strict=True):
        place: dict[str, Any] = {"transform": chart.transAxes, "clip_on": False}
        chart.plot([1.035], [height], "o", color=curve.color, **place)
        chart.text(1.06, height, words, va="center", **place)


def _spread(heights: list[float]) -> list[float]:
    """Return sorted heights moved apart, so that labels do not touch."""
    distance = min(DISTANCE, 1 / max(len(heights) - 1, 1))
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + distance) if moved else max(height, 0.0))
    limit = 1.0
    for at in reversed(range(len(moved))):
        moved[at] = min(moved[at], limit)
        limit = moved[at] - distance
    return moved
