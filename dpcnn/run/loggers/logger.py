"""What a logger is: it keeps the metrics of a run in files of one kind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

Metrics = dict[str, Any]  # of one epoch: a line


class Logger(Protocol):
    """Keeps a line an epoch. Whatever the disk does not take is an OSError."""

    def append(self, directory: Path, line: Metrics) -> None:
        """Add an epoch to the files in a run directory."""

    def rewrite(self, directory: Path, lines: Iterable[Metrics]) -> None:
        """Make the files in a run directory say these lines, whatever they said before."""
