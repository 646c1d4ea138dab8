"""The layers of a run with --watch: a row each, with every number's way over the epochs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dpcnn.report.files import as_line
from dpcnn.report.run import Run, number

Array = NDArray[Any]

COLUMNS = {
    "weights": "norm of weights",
    "gradient": "norm of gradient",
    "update": "update ratio",
    "batch_mean": "batch mean",
    "batch_variance": "batch variance",
    "dead": "dead ReLUs",
}
WIDTH, HEIGHT, EDGE = 64, 16, 1.5  # of a line, in its own units
POINTS = 200  # of a line at most


class Table(NamedTuple):
    """The heads of the columns, and each layer's name with a cell for each of them."""

    heads: list[str]
    rows: list[tuple[str, list[Markup]]]


def table(run: Run) -> Table:
    """Return the layers in the order of the network, with the columns that some layer has."""
    series = _series(run)
    columns = {key for numbers in series.values() for key in numbers} & COLUMNS.keys()
    shown = [key for key in COLUMNS if key in columns]
    rows = [
        (name, [_cell(key, numbers[key]) if key in numbers else Markup() for key in shown])
        for name, numbers in series.items()
    ]
    return Table([COLUMNS[key] for key in shown], rows)


def _series(run: Run) -> dict[str, dict[str, Array]]:
    """Return layer -> quantity -> its value for each epoch (epochs,), NaN where there is none."""
    series: dict[str, dict[str, Array]] = {}
    for place, epoch in enumerate(run.metrics):
        lines = epoch.get("layers")
        for line in lines if isinstance(lines, list) else []:
            if isinstance(line, dict) and "layer" in line:
                numbers = series.setdefault(as_line(line["layer"]), {})
                for key in COLUMNS.keys() & line.keys():
                    values = numbers.setdefault(key, np.full(len(run.metrics), np.nan))
                    values[place] = number(line[key])
    return series


def _cell(key: str, values: Array) -> Markup:
    """Return the newest value, and a line of all."""
    known = values[np.isfinite(values)]
    if not known.size:
        return Markup("-")
    text = f"{known[-1]:.1%}" if key == "dead" else f"{known[-1]:#.3g}".removesuffix(".")
    return Markup("{} {}").format(text, _line(values))


def _line(values: Array) -> Markup:
    """Return a small chart of values over the epochs, from their smallest to their largest."""
    places = np.flatnonzero(np.isfinite(values))
    places = places[:: max(1, len(places) // POINTS)]
    if places.size < 2:
        return Markup()
    x = EDGE + places / (len(values) - 1) * (WIDTH - 2 * EDGE)
    low, high = values[places].min(), values[places].max()
    height = (values[places] - low) / (high - low) if high > low else np.full(places.size, 0.5)
    y = HEIGHT - EDGE - height * (HEIGHT - 2 * EDGE)
    points = " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(x, y, strict=True))
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" aria-hidden="true"><polyline points="{}"/></svg>'
    ).format(WIDTH, HEIGHT, points)
