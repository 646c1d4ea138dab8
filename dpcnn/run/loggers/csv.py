"""metrics.csv: the metrics as a table, for spreadsheets; a row an epoch, a list as its length."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dpcnn.run.loggers.logger import Metrics
from dpcnn.system.files import open_inside, write_parts_atomically

NAME = "metrics.csv"


def text(lines: Iterable[Metrics]) -> str:
    """Return the lines as comma-separated values, under the names of the first."""
    return "".join(_rows(lines))


def _rows(lines: Iterable[Metrics]) -> Iterator[str]:
    names: list[str] = []
    for line in lines:
        if not names:
            names = list(line)
            yield _row(dict(zip(names, names, strict=True)), names)
        yield _row(line, names)


def _row(line: Metrics, names: Sequence[str]) -> str:
    row = {name: len(value) if isinstance(value, list) else value for name, value in line.items()}
    table = io.StringIO()
    csv.DictWriter(table, names, restval="", extrasaction="ignore").writerow(row)
    return table.getvalue()


class Csv:
    """Keeps a row an epoch."""

    def append(self, directory: Path, line: Metrics) -> None:
        """Add an epoch; raises OSError."""
        with open_inside(directory, NAME, "a") as file:
            file.write(_row(line, list(line)) if file.tell() else text([line]))

    def rewrite(self, directory: Path, lines: Iterable[Metrics]) -> None:
        """Replace the file by one with these lines; raises OSError."""
        write_parts_atomically(directory / NAME, map(str.encode, _rows(lines)))
