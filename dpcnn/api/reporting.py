"""Reports and charts of runs, where the extra `report` is installed."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dpcnn.errors import OptionError
from dpcnn.models.user import Make
from dpcnn.nn.layer import Layer
from dpcnn.run.loggers.logger import Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXTRA = ("matplotlib", "jinja2", "markupsafe")  # packages of the extra `report`


def report(
    *runs: str | Path,
    out: str | Path | None = None,
    format: str = "html",
    dataroot: str | Path | None = None,
    best: bool = False,
    network: Sequence[Layer] | Make | None = None,
) -> Path:
    """Write the report of a run, or the comparison of several, as `python -m dpcnn.report` does.

    out: the page, or with format="png" the folder of the pictures; dataroot: where the dataset is
    now; best: show the network after the best epoch instead of the newest; network: the layers of a
    single run, needed if some are your own classes. Returns what was written; raises OptionError.
    """
    if not runs:
        raise OptionError("found no run, expected at least one run directory")
    if format not in ("html", "png"):
        raise OptionError(f"format= is {format!r:.100}, expected html or png")
    with needing_extra():
        from dpcnn.report.write import write
    root = None if dataroot is None else str(dataroot)
    target = None if out is None else Path(out)
    return write([*map(Path, runs)], target, format, root, best, network)


def chart(metrics: Sequence[Metrics], name: str) -> Figure:
    """Return a chart of a report by its name, of a run with these metrics; raises OptionError."""
    with needing_extra():
        from dpcnn.report import figures, style
    with style.applied():
        drawn = figures.of_metrics(metrics)
    if name not in drawn:
        expected = f"one of {', '.join(drawn)}" if drawn else "a run with a finished epoch"
        raise OptionError(f"found chart {name!r:.100}, expected {expected}")
    return drawn[name]


def card(rows: Mapping[str, str], metrics: Sequence[Metrics]) -> str:
    """Return a table of texts as HTML, with the chart of the accuracy where it can be drawn."""
    cells = (f"<tr><th>{escape(key)}</th><td>{escape(rows[key])}</td></tr>" for key in rows)
    table = f"<table>{''.join(cells)}</table>"
    try:
        figure = chart(metrics, "accuracy")
    except OptionError:  # the extra is missing, or no epoch is finished
        return table
    from dpcnn.report import style

    with style.applied():
        picture = base64.b64encode(style.png(figure)).decode()
    image = f'<img alt="accuracy over epochs" width="440" src="data:image/png;base64,{picture}">'
    return f"{table}{image}"


@contextlib.contextmanager
def needing_extra() -> Iterator[None]:
    """Raise OptionError that names the extra where the body lacks one of its packages."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in EXTRA:
            raise
        raise OptionError(
            f"writing a report needs the package {package}: pip install 'dpcnn[report]'"
        ) from error
