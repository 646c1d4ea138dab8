"""steps.jsonl: loss, accuracy and learning rate within the epochs, in about 1,000 lines a run.

A line has means over the steps since the one before it. Rank 0 adds lines while it trains, and a
run that goes on keeps those up to the step that it goes on from. What the disk does not take is
tried again with the next lines: metrics.jsonl tells of such a disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from dpcnn.run import validation
from dpcnn.system.files import open_inside, write_parts_atomically

NAME = "steps.jsonl"
POINTS = 1000  # lines of a run, unless it is made longer later
SECONDS = 1.0  # between two times that lines are written
LONGEST = 4 << 20  # bytes of a file that is read


class Step(NamedTuple):
    """A step that was made.

    step: counted from the start of the run, from 1; of: so many in the whole run. epoch: how many
    are done, a fraction within one. loss, correct: sums over its images.
    """

    step: int
    of: int
    epoch: float
    loss: float
    correct: float
    images: float
    learning_rate: float


class Steps:
    """Gathers steps into lines. The memory that it takes does not grow with the run."""

    def __init__(self) -> None:
        self._loss = self._correct = self._images = 0.0
        self._lines: list[str] = []
        self._written = time.monotonic()

    def add(self, step: Step, directory: Path) -> None:
        """Count a step, and write in the directory now and then."""
        self._loss += step.loss
        self._correct += step.correct
        self._images += step.images
        if step.step % -(-step.of // POINTS) == 0:
            self._lines.append(self._line(step))
            self._loss = self._correct = self._images = 0.0
        if self._lines and time.monotonic() - self._written >= SECONDS:
            self.write(directory)

    def _line(self, step: Step) -> str:
        values = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "step": step.step,
            "of": step.of,
            "epoch": round(step.epoch, 6),
            "loss": self._loss / self._images,
            "accuracy": self._correct / self._images,
            "learning_rate": step.learning_rate,
        }
        return json.dumps(values) + "\n"

    def write(self, directory: Path) -> None:
        """Write the lines that are not written yet, if the disk takes them."""
        self._written = time.monotonic()
        with contextlib.suppress(OSError):
            with open_inside(directory, NAME, "a") as file:
                file.writelines(self._lines)
            self._lines.clear()
        del self._lines[:-POINTS]


def settle(source: Path, target: Path, step: int) -> None:
    """Leave in the directory `target` the lines that `source` has up to a step.

    Raises OSError if they cannot be written.
    """
    lines = list(_read(source, step))
    if lines or os.path.lexists(target / NAME):
        write_parts_atomically(target / NAME, lines)


def _read(directory: Path, end: int) -> Iterator[bytes]:
    """Yield the sound lines up to a step, each of a later step than the one before it."""
    try:
        with open_inside(directory, NAME) as file:
            texts = file.read(LONGEST).splitlines(keepends=True)
    except OSError:  # a run of before there was this file, or no file
        return
    last = 0
    for text in texts:
        try:
            line = validation.parse(text)
        except (ValueError, RecursionError):  # cut off by a full disk
            continue
        step = line.get("step") if isinstance(line, dict) else None
        if isinstance(step, int) and last < step <= end and text.endswith(b"\n"):
            last = step
            yield text
