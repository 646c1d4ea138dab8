"""How far an epoch or an evaluation is, and how fast: as a plain line, or beside a bar."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

# Speed and time left are those of the last seconds, and of so many marks at least: a pause (Ctrl-Z)
# is soon forgotten.
WINDOW = 60.0  # seconds
FEWEST = 10  # marks
BETWEEN = 1.0  # seconds between two marks
SHORTEST_BAR = 4  # columns
BLOCKS = " ▏▎▍▌▋▊▉█"
# What a bar leaves out where there is no room for it, one after the other.
LEFT_OUT = ("best", "rate", "lr", "accuracy", "run", "loss")


class Outlook(NamedTuple):
    """Beyond the epoch in progress: the steps after it, the seconds of the evaluations to come.

    best: the best accuracy so far, None before the first evaluation.
    """

    steps: int = 0
    seconds: float = 0.0
    best: float | None = None


LAST = Outlook()  # of a run's only epoch


class Mark(NamedTuple):
    """How much was done, and of how many images, at a time of time.monotonic."""

    time: float
    done: int
    images: int


class Meter:
    """Counts what is done of `total`: `plain` and `short` are what it says of that."""

    def __init__(self, name: str, plain: str, short: str, total: int, done: int = 0) -> None:
        self.name, self.plain, self.short = name, plain, short
        self.total, self.done, self.images = total, done, 0
        self.marks = deque([Mark(time.monotonic(), done, 0)])

    def count(self, done: int, images: int) -> None:
        """Count so much as done, of so many images."""
        self.done = min(self.done + done, self.total)
        self.images += images
        now = time.monotonic()
        if now - self.marks[-1].time >= BETWEEN:
            self.marks.append(Mark(now, self.done, self.images))
            while len(self.marks) > FEWEST and now - self.marks[0].time > WINDOW:
                self.marks.popleft()

    def seconds(self, amount: int) -> float:
        """Return how many seconds it takes to do so much more."""
        since = self.marks[0]
        return (time.monotonic() - since.time) / max(self.done - since.done, 1) * amount

    def facts(self) -> dict[str, str]:
        """Return, by name, what there is to tell, in the order of a line."""
        if self.images == 0:
            return {}
        since = self.marks[0]
        seconds = max(time.monotonic() - since.time, 1e-9)
        left = self.seconds(self.total - self.done)
        return {
            "rate": f"{(self.images - since.images) / seconds:,.0f} images/s",
            "left": f"{clock(left)} left",
        }

    def line(self) -> str:
        """Return a line for a file."""
        place = self.plain.format(done=f"{self.done:,}", total=f"{self.total:,}")
        return ", ".join([self.name, place, *self.facts().values()])

    def bar(self, width: int) -> str:
        """Return a line of so many columns with a bar, and the facts for which there is room."""
        place = self.short.format(done=self.done, total=self.total)
        before, facts = f"{self.name} |", self.facts()
        room = width - len(before) - SHORTEST_BAR
        after = fitting(place, facts, room)
        length = max(width - len(before) - len(after), SHORTEST_BAR)
        return f"{before}{drawn(self.done / max(self.total, 1), length)}{after}"


class EpochMeter(Meter):
    """Counts the steps of an epoch, with its loss, its accuracy and what follows it."""

    def __init__(
        self, epoch: int, epochs: int, steps: int, done: int, outlook: Outlook = LAST
    ) -> None:
        super().__init__(
            f"epoch {epoch}/{epochs}", "step {done}/{total}", "{done}/{total}", steps, done
        )
        self.outlook, self.loss, self.correct, self.lr = outlook, 0.0, 0.0, 0.0

    def step(self, loss: float, images: int, lr: float, correct: float) -> None:
        """Count a step: its mean loss, its images, its learning rate, its correct predictions."""
        self.loss += loss * images
        self.correct += correct
        self.lr = lr
        self.count(1, images)

    def facts(self) -> dict[str, str]:
        facts = super().facts()
        if not facts:
            return {}
        first = {
            "loss": f"loss {self.loss / self.images:.4f}",
            "accuracy": f"accuracy {self.correct / self.images:.4f}",
            "lr": f"lr {self.lr:.3g}",
        }
        if self.outlook.best is not None:
            first["best"] = f"best {self.outlook.best:.4f}"
        if self.outlook.steps:
            ahead = self.seconds(self.total - self.done + self.outlook.steps)
            facts["run"] = f"run {clock(ahead + self.outlook.seconds)}"
        return first | facts


class EvaluationMeter(Meter):
    """Counts the images of an evaluation; name: what its line begins with, such as epoch 2/5."""

    def __init__(self, name: str, images: int) -> None:
        super().__init__(
            name, "evaluated {done}/{total} images", "evaluated {done}/{total}", images
        )


def fitting(place: str, facts: Mapping[str, str], room: int) -> str:
    """Return the place, behind a bar's end, and the facts of which there is room for."""
    left = dict(facts)
    for name in LEFT_OUT:
        text = ", ".join([f"| {place}", *left.values()])
        if len(text) <= room:
            break
        left.pop(name, None)
    return ", ".join([f"| {place}", *left.values()])


def drawn(share: float, length: int) -> str:
    """Return a bar of so many columns that is full to a share, of what standard error can write."""
    unicode = (getattr(sys.stderr, "encoding", None) or "").lower().startswith("utf")
    blocks = BLOCKS if unicode else " #"
    parts = len(blocks) - 1
    full, part = divmod(int(share * length * parts), parts)
    return f"{blocks[-1] * full}{blocks[part] if part else ''}".ljust(length)


def clock(seconds: float) -> str:
    """Return a time as 01:23, or 1:02:03 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
