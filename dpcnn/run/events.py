"""events.jsonl: what happened to a run, and when; lines are added and never removed.

One JSON object an event: `time` (UTC), `event`, and its details. A start or resume that no `end`
follows was killed, or is still running.
"""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpcnn.system.files import open_inside

NAME = "events.jsonl"
BEGINNINGS = ("start", "resume")


def append(directory: Path, event: str, **details: Any) -> None:
    """Add an event that happens now to the file in a run directory; raises OSError."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "event": event} | details) + "\n"
    with open_inside(directory, NAME, "ab+") as file:
        if file.tell():  # a full disk may have cut the last line
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())


def beginning(directory: Path) -> tuple[int, float] | None:
    """Return after which step the newest start or resume began, and how many seconds ago.

    None if the file has no such line, or cannot be read.
    """
    try:
        with open_inside(directory, NAME) as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            event = json.loads(line)
            if event["event"] in BEGINNINGS:
                begun = datetime.fromisoformat(event["time"])
                return int(event["step"]), (datetime.now(UTC) - begun).total_seconds()
    return None
