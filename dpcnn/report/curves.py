"""Curves of the metrics of one run or several, over epochs or over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from dpcnn.report.run import Run, labels
from dpcnn.report.style import BLUE, GREEN, ORANGE, SERIES, axes, shortened

Array = NDArray[Any]

FEW = 20  # epochs up to which each is marked by a point
STEEP = 30  # a loss whose largest value is so many times its smallest gets a logarithmic axis
TRAINING = {"accuracy": "train_accuracy", "loss": "loss"}  # the metric on the training images
DISTANCE = 0.085  # between two labels, as a share of the height of the axes


@dataclass(frozen=True)
class Quantity:
    """What a y axis shows: its label, the format of a value, and how it is scaled."""

    label: str
    form: str
    factor: float = 1.0
    from_zero: bool = False
    may_be_logarithmic: bool = False


ACCURACY = Quantity("accuracy (%)", "{:.2f} %", factor=100)
LOSS = Quantity("mean loss per image (nats)", "{:.4f}", may_be_logarithmic=True)
LEARNING_RATE = Quantity("learning rate", "{:g}", from_zero=True)
SPEED = Quantity("images per second", "{:,.0f}", from_zero=True)


@dataclass(frozen=True)
class Curve:
    """One metric of a run, and how its line is named and drawn."""

    run: Run
    key: str
    name: str = ""
    color: str = BLUE
    dashed: bool = False


def of_sets(run: Run, metric: str) -> list[Curve]:
    """Return the curves of accuracy or loss on the training, validation and test images."""
    curves = [
        Curve(run, TRAINING[metric], "training", ORANGE, dashed=True),
        Curve(run, f"validation_{metric}", "validation", GREEN),
        Curve(run, f"test_{metric}", "test"),
    ]
    return [curve for curve in curves if curve.name != "validation" or run.has(curve.key)]


def compared(runs: Sequence[Run], key: str) -> list[Curve]:
    """Return the curve of a metric for each run."""
    return [
        Curve(run, key, name, SERIES[number % len(SERIES)], dashed=number >= len(SERIES))
        for number, (run, name) in enumerate(zip(runs, labels(runs), strict=True))
    ]


def over_epochs(title: str, quantity: Quantity, curves: Sequence[Curve]) -> Figure:
    """Draw curves over the epochs."""
    figure, chart = axes(2.9, title, "epoch")
    _draw(chart, quantity, [(curve, curve.run.epochs) for curve in curves])
    chart.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    return figure


def over_time(title: str, quantity: Quantity, curves: Sequence[Curve]) -> Figure:
    """Draw curves over the time that training and evaluation have taken."""
    longest = max((np.nanmax(curve.run.seconds, initial=0) for curve in curves), default=0)
    unit, symbol = time_unit(float(longest))
    figure, chart = axes(2.9, title, f"training and evaluation time ({symbol})")
    _draw(chart, quantity, [(curve, curve.run.seconds / unit) for curve in curves])
    chart.set_xlim(left=0)
    return figure


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the seconds of the unit in which such a time reads well, and the unit's symbol."""
    if seconds < 600:
        return 1.0, "s"
    return (60.0, "min") if seconds < 4 * 3600 else (3600.0, "h")


def _draw(chart: Axes, quantity: Quantity, curves: Sequence[tuple[Curve, Array]]) -> None:
    """Draw each curve at its x, and write its name and last value to its right."""
    lines = [(curve, x, quantity.factor * curve.run.series(curve.key)) for curve, x in curves]
    for curve, x, y in lines:
        marker = "o" if len(x) <= FEW else None
        dashes: Any = (0, (4, 1.6)) if curve.dashed else "-"
        chart.plot(x, y, color=curve.color, marker=marker, linestyle=dashes)
    chart.set_ylabel(quantity.label)
    positive = np.concatenate([np.empty(0), *(y[y > 0] for _, _, y in lines)])
    if quantity.from_zero:
        chart.set_ylim(0, 1.25 * max(positive, default=1.0))
    if quantity.may_be_logarithmic and positive.size and positive.max() > STEEP * positive.min():
        chart.set_yscale("log")
        chart.set_ylabel(f"{quantity.label}, log scale")
        chart.yaxis.set_minor_formatter(NullFormatter())
    chart.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    chart.grid(axis="y")
    chart.autoscale_view()  # now: labels are placed by the limits of the axes
    _write_labels(chart, quantity, [(curve, y[~np.isnan(y)]) for curve, _, y in lines])


def _write_labels(chart: Axes, quantity: Quantity, lines: Sequence[tuple[Curve, Array]]) -> None:
    """Write the name and last value of each line to the right of the axes, none over another."""
    ends = []
    for curve, y in lines:
        if y.size:
            point = chart.transData.transform((0, y[-1]))
            height = float(chart.transAxes.inverted().transform(point)[1])
            label = f"{shortened(curve.name)} {quantity.form.format(y[-1])}".strip()
            ends.append((height, label, curve.color))
    ends.sort()
    heights = _spread([height for height, _, _ in ends])
    beside: dict[str, Any] = {"transform": chart.transAxes, "clip_on": False}
    for height, (_, label, color) in zip(heights, ends, strict=True):
        chart.plot([1.035], [height], "o", color=color, **beside)
        chart.text(1.06, height, label, va="center", **beside)


def _spread(heights: Sequence[float]) -> list[float]:
    """Return sorted heights in [0, 1] moved apart, so that labels do not touch."""
    distance = min(DISTANCE, 1 / max(len(heights) - 1, 1))
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + distance) if moved else max(height, 0.0))
    limit = 1.0
    for place in reversed(range(len(moved))):
        moved[place] = min(moved[place], limit)
        limit = moved[place] - distance
    return moved
