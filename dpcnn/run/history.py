"""The metrics of a run: a state and its checkpoints keep the newest, metrics.jsonl has all.

So neither grows with the epochs. A run that goes on from a checkpoint takes the epochs before those
that it keeps from the file, and no others: a killed run may have written later ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dpcnn.run import validation
from dpcnn.run.best import best_epoch
from dpcnn.run.loggers import jsonl
from dpcnn.run.loggers.logger import Metrics
from dpcnn.system.files import open_inside

# Lines that are kept: a disk that is full for fewer epochs costs the file none of them.
NEWEST = 256
LONGEST = 1 << 20  # bytes of a line that is read


def kept(metrics: Sequence[Metrics]) -> list[Metrics]:
    """Return the lines that a run goes on with: the newest, after the best if that is older."""
    newest, best = list(metrics[-NEWEST:]), best_epoch(metrics)
    return newest if best is None or best["epoch"] >= newest[0]["epoch"] else [best, *newest]


def first_kept(metrics: Sequence[Metrics]) -> int:
    """Return the epoch that the kept lines go back to without a gap, 1 if there are none."""
    return int(metrics[-NEWEST:][0]["epoch"]) if metrics else 1


def all_epochs(directory: Path, metrics: Sequence[Metrics]) -> Iterator[Metrics]:
    """Yield the line of each epoch: the older ones as the file has them, then the kept ones.

    What the file lacks is left out. Raises OSError if it cannot be read.
    """
    end = first_kept(metrics)
    if end > 1:
        yield from _read(directory, end)
    yield from metrics[-NEWEST:]


def _read(directory: Path, end: int) -> Iterator[Metrics]:
    """Yield the sound lines of the epochs before `end`."""
    last = 0
    try:
        file = open_inside(directory, jsonl.NAME)
    except FileNotFoundError:
        return
    with file:
        for text in iter(lambda: file.readline(LONGEST), b""):
            try:
                line = validation.parse(text)
            except (ValueError, RecursionError):  # cut off by a full disk
                continue
            epoch = line.get("epoch") if isinstance(line, dict) else None
            if isinstance(epoch, int) and last < epoch < end:
                last = epoch
                yield line
