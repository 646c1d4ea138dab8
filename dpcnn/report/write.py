"""From run directories to the files of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from dpcnn.errors import OptionError
from dpcnn.report import charts, pictures, timecharts
from dpcnn.report.comparison import CURVES, comparison, labels
from dpcnn.report.facts import Run, read
from dpcnn.report.figures import drawn, png
from dpcnn.report.page import page
from dpcnn.report.results import Learned, learned
from dpcnn.system.files import write_atomically

Drawings = dict[str, Callable[[], Figure]]


def write(paths: Sequence[Path], out: Path | None, form: str, dataroot: str | None) -> Path:
    """Write the report of one run, or of several; return where it is.

    form: html for one file, png for a folder of pictures; dataroot: where the dataset of a single
    run is, None: where it was. Raises OptionError for a path that is no run directory, or where
    the report cannot be written.
    """
    runs = [read(path) for path in paths]
    several = len(runs) > 1
    known = Learned() if several else learned(runs[0], dataroot)
    name = ("comparison" if several else "report") + (".html" if form == "html" else "")
    target = out or paths[0] / name
    try:
        if form == "png":
            drawings = _compared(runs) if several else _drawings(runs[0], known)
            target.mkdir(parents=True, exist_ok=True)
            for title, draw in drawings.items():
                write_atomically(target / f"{title}.png", png(drawn(draw)))
        else:
            text = comparison(runs) if several else page(runs[0], known)
            write_atomically(target, text.encode())
    except OSError as error:
        raise OptionError(
            f"--out {target}: {error.strerror}, expected a place to write to"
        ) from error
    return target


def _compared(runs: list[Run]) -> Drawings:
    named = labels(runs)
    return {name: partial(charts.compared, named, *arguments) for name, arguments in CURVES.items()}


def _drawings(run: Run, known: Learned) -> Drawings:
    """Return the pictures that there are of one run, by name."""
    found: Drawings = {}
    if run.metrics:
        found |= {
            "loss": lambda: charts.loss(run),
            "loss-time": lambda: charts.loss_over_time(run),
            "accuracy": lambda: charts.accuracy(run),
            "accuracy-time": lambda: charts.accuracy_over_time(run),
            "learning-rate": lambda: charts.learning_rate(run),
            "speed": lambda: charts.speed(run),
        }
    if timecharts.ranks(run):
        found["spending"] = lambda: timecharts.spending(run)
    if run.sessions:
        found["timeline"] = lambda: timecharts.timeline(run)
    if (results := known.results) is not None:
        found["per-class"] = lambda: charts.per_class(results)
        if results.confusion is not None:
            found["confusion"] = lambda: charts.confusion(results)
        if results.worst:
            worst = [
                pictures.Tile(
                    pictures.pixels(each.image),
                    f"{each.label} ({each.right:.1%})\n"
                    f"for {each.classes[0]} ({each.probabilities[0]:.1%})",
                )
                for each in results.worst
            ]
            found["mistakes"] = lambda: pictures.sheet(worst, "The worst mistakes", 5)
    if (dataset := known.dataset) is not None:
        rows = pictures.samples(dataset.train)
        found["samples"] = lambda: pictures.sheet(rows, "Training images", 1)
    if (W := known.filters) is not None:
        tiles = pictures.filters(W)
        found["filters"] = lambda: pictures.sheet(tiles, "Filters of the first layer", 8)
    return found
