"""metrics.csv: the metrics as a table, for spreadsheets; a row an epoch, a list as its length."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from dpcnn.run.loggers.logger import Metrics
from dpcnn.system.files import open_inside, write_atomically

NAME = "metrics.csv"


def text(lines: Sequence[Metrics], header: bool = True) -> str:
    """Return the lines as comma-separated values, under their names if there is a header."""
    rows = [
        {name: len(value) if isinstance(value, list) else value for name, value in line.items()}
        for line in lines
    ]
    if not rows:
        return ""
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), restval="", extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


class Csv:
    """Keeps a row an epoch."""

    def append(self, directory: Path, line: Metrics) -> None:
        """Add an epoch; raises OSError."""
        with open_inside(directory, NAME, "a") as file:
            file.write(text([line], header=file.tell() == 0))

    def rewrite(self, directory: Path, lines: Sequence[Metrics]) -> None:
        """Replace the file by one with these lines; raises OSError."""
        write_atomically(directory / NAME, text(lines).encode())
