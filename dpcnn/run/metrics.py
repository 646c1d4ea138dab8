"""metrics.jsonl: one JSON object an epoch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Metrics = dict[str, Any]

NAME = "metrics.jsonl"


def text(lines: Iterable[Metrics]) -> str:
    """Return the lines as the file holds them."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def append(directory: Path, line: Metrics) -> None:
    """Add one epoch to the file of a run directory."""
    with (directory / NAME).open("a") as file:
        file.write(text([line]))


def best_step(lines: list[Metrics]) -> int | None:
    """Return the step after the epoch of the best test accuracy, the earliest of equals."""
    best = max(lines, key=lambda line: line["test_accuracy"], default=None)
    return None if best is None else best["step"]
