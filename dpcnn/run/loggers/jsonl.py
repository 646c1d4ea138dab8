"""metrics.jsonl: one JSON object an epoch; metrics.csv: the same as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Metrics = dict[str, Any]

NAME = "metrics.jsonl"
TABLE = "metrics.csv"


def text(lines: Iterable[Metrics]) -> str:
    """Return the lines as the file holds them."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def table(lines: Iterable[Metrics], header: bool = True) -> str:
    """Return the lines as comma-separated values: a list stands there as its length."""
    rows = [
        {name: len(value) if isinstance(value, list) else value for name, value in line.items()}
        for line in lines
    ]
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), restval="", extrasaction="ignore")
        if header:
            writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def append(directory: Path, line: Metrics) -> None:
    """Add one epoch to both files of a run directory."""
    with (directory / NAME).open("a") as file:
        file.write(text([line]))
    with (directory / TABLE).open("a", newline="") as file:
        file.write(table([line], header=file.tell() == 0))


def best_step(lines: list[Metrics]) -> int | None:
    """Return the step after the epoch of the best test accuracy, the earliest of equals."""
    best = max(lines, key=lambda line: line["test_accuracy"], default=None)
    return None if best is None else best["step"]
