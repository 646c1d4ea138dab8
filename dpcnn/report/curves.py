"""Curves of the metrics of one run or several, over epochs or over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation, Transform
from numpy.typing import NDArray

from dpcnn.report.run import Run, labels
from dpcnn.report.style import BLUE, GREEN, MUTED, ORANGE, SERIES, axes, shortened

Array = NDArray[Any]

FEW = 20  # epochs up to which each is marked by a point
STEEP = 30  # a loss whose largest value is so many times its smallest gets a logarithmic axis
TRAINING = {"accuracy": "train_accuracy", "loss": "loss"}  # the metric on the training images
DISTANCE = 0.085  # between two labels, as a share of the height of the axes
POINTS = 300  # of a curve within the epochs
TOGETHER = 3  # values at least that such a point is the mean of, where there are many
MARGIN = 0.06  # above and below the curves, as a share of their range
THIN = 0.45  # opacity of what is drawn within the epochs behind their line
FLAT = 1e-3  # relative difference up to which two learning rates are the same


@dataclass(frozen=True)
class Quantity:
    """What a y axis shows: its label, the format of a value, and how it is scaled.

    is_set: whether it is given for every step, not measured: then the steps are the curve.
    """

    label: str
    form: str
    factor: float = 1.0
    from_zero: bool = False
    may_be_logarithmic: bool = False
    is_set: bool = False


ACCURACY = Quantity("accuracy (%)", "{:.2f}%", factor=100)
LOSS = Quantity("loss", "{:.4f}", may_be_logarithmic=True)
LEARNING_RATE = Quantity("learning rate", "{:.3g}", from_zero=True, is_set=True)
SPEED = Quantity("images per second", "{:,.0f}", from_zero=True)
JUDGED = (ACCURACY, LOSS)  # on whose curves the best epoch of a run is marked


@dataclass(frozen=True)
class Curve:
    """One metric of a run, and how its line is named and drawn.

    within: the metric of its steps that is drawn behind the line, "" for none.
    """

    run: Run
    key: str
    name: str = ""
    color: str = BLUE
    dashed: bool = False
    within: str = ""


@dataclass(frozen=True)
class Line:
    """A curve as it is drawn: its points x, y, and those within the epochs."""

    curve: Curve
    x: Array
    y: Array
    within_x: Array
    within_y: Array

    @property
    def last(self) -> float:
        """The last value, NaN without any."""
        values = self.y[~np.isnan(self.y)]
        values = values if values.size else self.within_y[~np.isnan(self.within_y)]
        return float(values[-1]) if values.size else float("nan")


def of_sets(run: Run, metric: str) -> list[Curve]:
    """Return the curves of accuracy or loss on the training, validation and test images."""
    curves = [
        Curve(run, TRAINING[metric], "training", ORANGE, dashed=True, within=metric),
        Curve(run, f"validation_{metric}", "validation", GREEN),
        Curve(run, f"test_{metric}", "test"),
    ]
    return [curve for curve in curves if curve.name != "validation" or run.has(curve.key)]


def compared(runs: Sequence[Run], key: str) -> list[Curve]:
    """Return the curve of a metric for each run."""
    return [
        Curve(run, key, name, color(number), dashed=number >= len(SERIES))
        for number, (run, name) in enumerate(zip(runs, labels(runs), strict=True))
    ]


def color(number: int) -> str:
    """Return the colour of one of several runs."""
    return SERIES[number % len(SERIES)]


def is_flat(run: Run, key: str) -> bool:
    """Tell whether a metric has one value in all epochs and steps."""
    values = run.known(key)
    return not values.size or bool(np.ptp(values) <= FLAT * np.abs(values).max())


def over_epochs(title: str, quantity: Quantity, curves: Sequence[Curve]) -> Figure:
    """Draw curves over the epochs."""
    figure, chart = axes(2.9, title, "epoch")
    lines = [_line(curve, quantity, curve.run.epochs) for curve in curves]
    _draw(chart, quantity, lines)
    x = np.concatenate([np.empty(0), *(part for line in lines for part in (line.x, line.within_x))])
    x = x[np.isfinite(x)]
    if x.size and np.ptp(x) < 1:  # one epoch: a tick, not fractions of it
        chart.set_xlim(min(0.0, np.ceil(x.max()) - 1), np.ceil(x.max()) + 0.5)
    chart.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if quantity in JUDGED:
        _mark_best(chart, lines)
    return figure


def over_time(title: str, quantity: Quantity, curves: Sequence[Curve]) -> Figure:
    """Draw curves over the time that training and evaluation have taken."""
    longest = max((np.nanmax(curve.run.seconds, initial=0) for curve in curves), default=0)
    unit, symbol = time_unit(float(longest))
    figure, chart = axes(2.9, title, f"training and evaluation time ({symbol})")
    lines = [_line(curve, quantity, curve.run.seconds / unit, within=False) for curve in curves]
    _draw(chart, quantity, lines)
    chart.set_xlim(left=0)
    if quantity in JUDGED:
        _mark_best(chart, lines)
    return figure


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the seconds of the unit in which such a time reads well, and the unit's symbol."""
    if seconds < 600:
        return 1.0, "s"
    return (60.0, "min") if seconds < 4 * 3600 else (3600.0, "h")


def _line(curve: Curve, quantity: Quantity, x: Array, within: bool = True) -> Line:
    """Return a curve as it is drawn over x, which has a value for each epoch."""
    run, key = curve.run, curve.within if within else ""
    together = 1 if quantity.is_set else TOGETHER
    names = ("epoch", key) if key else ()
    steps = [_binned(run.steps_series(name), together) for name in names] or [np.empty(0)] * 2
    return Line(curve, x, quantity.factor * run.series(curve.key), steps[0],
                quantity.factor * steps[1])  # fmt: skip


def _binned(values: Array, together: int) -> Array:
    """Return at most POINTS values: means of neighbours, of at least `together` of many."""
    width = max(-(-len(values) // POINTS), min(together, len(values) // 10))
    if width <= 1:
        return values
    bins = np.array_split(values, -(-len(values) // width))
    return np.array([part.mean() for part in bins])


def _draw(chart: Axes, quantity: Quantity, lines: Sequence[Line]) -> None:
    """Draw each line, and write its name and last value to its right."""
    for line in lines:
        color, few = line.curve.color, len(line.x) <= FEW
        dashes: Any = (0, (4, 1.6)) if line.curve.dashed else "-"
        course = quantity.is_set and line.within_x.size > 0
        thin: dict[str, Any] = {} if course else {"linewidth": 1.0, "alpha": THIN}
        chart.plot(line.within_x, line.within_y, color=color, **(thin if line.x.size else {}))
        style: Any = "none" if course else dashes
        chart.plot(line.x, line.y, color=color, marker="o" if few else None, linestyle=style)
    chart.set_ylabel(quantity.label)
    _set_limits(chart, quantity, lines)
    chart.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    chart.grid(axis="y")
    chart.autoscale_view()  # now: labels are placed by the limits of the axes
    _write_labels(chart, quantity, lines)


def _set_limits(chart: Axes, quantity: Quantity, lines: Sequence[Line]) -> None:
    """Fit the y axis to the lines: within the epochs, to all values but the hundredth at an end."""
    values = [part for line in lines for part in (line.y, _middle(line.within_y))]
    y = np.concatenate([np.empty(0), *values])
    y = y[np.isfinite(y)]
    positive = y[y > 0]
    if quantity.from_zero:
        chart.set_ylim(0, 1.25 * max(positive, default=1.0))
    elif quantity.may_be_logarithmic and positive.size and y.max() > STEEP * positive.min():
        chart.set_yscale("log")
        chart.set_ylabel(f"{quantity.label}, log scale")
        chart.yaxis.set_minor_formatter(NullFormatter())
    elif y.size and np.ptp(y) > 0:
        margin = MARGIN * float(np.ptp(y))
        chart.set_ylim(float(y.min()) - margin, float(y.max()) + margin)


def _middle(values: Array) -> Array:
    """Return the values without the hundredth at either end."""
    known = np.sort(values[np.isfinite(values)])
    cut = len(known) // 100
    return known[cut : len(known) - cut]


def _mark_best(chart: Axes, lines: Sequence[Line]) -> None:
    """Mark the best epoch of one run: a line, its name, and a ring where it is judged."""
    run = lines[0].curve.run
    if run.best is None or any(line.curve.run is not run for line in lines):
        return
    x = float(lines[0].x[run.best])
    if not np.isfinite(x):
        return
    chart.axvline(x, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
    for line in lines:
        if line.curve.key == run.judged_by:
            ring: dict[str, Any] = {"markersize": 8, "markeredgewidth": 1.4, "linestyle": "none"}
            chart.plot(x, line.y[run.best], "o", color=line.curve.color, fillstyle="none", **ring)
    left, right = chart.get_xlim()
    on_the_left = x > (left + right) / 2
    at_bottom = lines[0].curve.key in ("train_accuracy", "test_accuracy")
    chart.annotate(
        f"best: epoch {run.epochs[run.best]:.0f}", (x, 0.03 if at_bottom else 0.97),
        (-4 if on_the_left else 4, 0), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="right" if on_the_left else "left",
        va="bottom" if at_bottom else "top", color=MUTED, fontsize=8,
    )  # fmt: skip


def _write_labels(chart: Axes, quantity: Quantity, lines: Sequence[Line]) -> None:
    """Write the name and last value of each line to the right of the axes, none over another."""
    ends = []
    for line in lines:
        if not np.isnan(line.last):
            point = chart.transData.transform((0, line.last))
            height = float(chart.transAxes.inverted().transform(point)[1])
            label = f"{shortened(line.curve.name)} {quantity.form.format(line.last)}".strip()
            ends.append((height, label, line.curve.color))
    ends.sort()
    heights = _spread([height for height, _, _ in ends])
    marker, text = (_right_of(chart, points) for points in (8, 13))
    for height, (_, label, color) in zip(heights, ends, strict=True):
        chart.plot([1], [height], "o", color=color, transform=marker, clip_on=False)
        chart.text(1, height, label, va="center", transform=text, clip_on=False)


def _right_of(chart: Axes, points: float) -> Transform:
    """Return the transform of shares of the axes, shifted right by points."""
    return chart.transAxes + ScaledTranslation(points / 72, 0, chart.figure.dpi_scale_trans)


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
