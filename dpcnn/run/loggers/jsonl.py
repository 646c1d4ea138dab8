"""metrics.jsonl: one JSON object an epoch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from dpcnn.run.loggers.logger import Metrics
from dpcnn.system.files import open_inside, write_parts_atomically

NAME = "metrics.jsonl"


def text(lines: Iterable[Metrics]) -> str:
    """Return the lines as the file holds them."""
    return "".join(json.dumps(line) + "\n" for line in lines)


class JsonLines:
    """Keeps every value of every epoch."""

    def append(self, directory: Path, line: Metrics) -> None:
        """Add an epoch; raises OSError."""
        with open_inside(directory, NAME, "a") as file:
            file.write(text([line]))

    def rewrite(self, directory: Path, lines: Iterable[Metrics]) -> None:
        """Replace the file by one with these lines; raises OSError."""
        write_parts_atomically(directory / NAME, (text([line]).encode() for line in lines))
