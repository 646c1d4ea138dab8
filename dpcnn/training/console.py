"""What rank 0 prints: the header, the progress, the epoch lines.

Other ranks get a Console that prints nothing, so that no caller asks which rank it is. The bar,
errors and warnings go to standard error, everything else to standard output.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from dpcnn.system.text import ERASE, in_one_line, on_terminal, over_the_bar, say, warn

if TYPE_CHECKING:
    from tqdm import tqdm

ECHO = "^C"  # what a terminal writes after the bar when somebody types Ctrl-C
SHORTEST_BAR = 2  # columns
STANDARD_ERROR = 2
COLUMNS = 80  # that the layer table keeps to
PLAIN_SECONDS = 10.0  # a plain line at least this often
# What a bar leaves out where there is no room for it, one after the other.
LEFT_OUT = ("lr", "best", "accuracy", "run")


class Outlook(NamedTuple):
    """Beyond the epoch in progress: the steps after it, the seconds of the evaluations to come.

    best: the best accuracy so far, None before the first evaluation.
    """

    steps: int = 0
    seconds: float = 0.0
    best: float | None = None


LAST = Outlook()  # of a run's only epoch


def in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook, whose output is no terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class Console:
    """Prints nothing: what ranks other than 0 have."""

    def line(self, text: str = "") -> None:
        """Print a line."""

    def warn(self, text: str) -> None:
        """Print a line that starts with `warning:`."""

    def interrupt(self, text: str) -> None:
        """Print a line on standard error from a signal handler, in the middle of anything."""

    def header(self, facts: Mapping[str, str], table: Iterable[tuple[str, str, str, str]]) -> None:
        """Print what is about to be trained: facts by name, then the layer table."""

    def start_epoch(
        self, epoch: int, epochs: int, steps: int, done: int, outlook: Outlook = LAST
    ) -> None:
        """Begin to show the progress of an epoch; `done` of its steps have been made before."""

    def step(self, loss: float, images: int, lr: float, correct: float = 0.0) -> None:
        """Count one step: its mean loss, its images, its learning rate, its correct predictions."""

    def end_epoch(self) -> None:
        """End the epoch's progress."""


class PlainConsole(Console):
    """Whole lines, flushed at once: for files, pipes and dumb terminals."""

    printed = 0.0  # when the last line was printed, by time.monotonic

    def line(self, text: str = "") -> None:
        say(in_one_line(text))
        self.printed = time.monotonic()

    def warn(self, text: str) -> None:
        warn(text)

    def interrupt(self, text: str) -> None:
        _interrupt(text)

    def header(self, facts: Mapping[str, str], table: Iterable[tuple[str, str, str, str]]) -> None:
        width = max(map(len, facts))
        for name, fact in facts.items():
            self.line(f"{name:<{width}}  {fact}")
        rows = [("layer", "what", "output", "parameters"), *table]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        room = min(widths[1], COLUMNS - widths[0] - widths[2] - widths[3] - 6)
        self.line()
        for name, what, output, parameters in rows:
            what = what if len(what) <= room else f"{what[: room - 3].rstrip(' ,')}..."
            left = f"{name:<{widths[0]}}  {what:<{room}}  {output:<{widths[2]}}"
            self.line(f"{left}  {parameters:>{widths[3]}}")
        self.line()

    def start_epoch(
        self, epoch: int, epochs: int, steps: int, done: int, outlook: Outlook = LAST
    ) -> None:
        self.epoch, self.epochs, self.steps, self.done = epoch, epochs, steps, done
        self.images, self.correct, self.first, self.outlook = 0, 0.0, done, outlook
        self.started = time.monotonic()

    def step(self, loss: float, images: int, lr: float, correct: float = 0.0) -> None:
        self.count(images, correct)
        if time.monotonic() - self.printed >= PLAIN_SECONDS and self.done < self.steps:
            seconds = time.monotonic() - self.started
            left = seconds / (self.done - self.first) * (self.steps - self.done)
            facts = ", ".join(self.facts(loss, lr).values())
            place = f"epoch {self.epoch}/{self.epochs}, step {self.done}/{self.steps}"
            self.line(f"{place}, {facts}, {left:.0f} s left")

    def count(self, images: int, correct: float) -> None:
        """Count a step with so many images and correct predictions."""
        self.done += 1
        self.images += images
        self.correct += correct

    def facts(self, loss: float, lr: float) -> dict[str, str]:
        """Return, by name, what there is to tell after a step, in the order of a line."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        facts = {
            "loss": f"loss {loss:.4f}",
            "accuracy": f"accuracy {self.correct / self.images:.4f}",
            "lr": f"lr {lr:.3g}",
            "rate": f"{self.images / seconds:,.0f} images/s",
        }
        if self.outlook.best is not None:
            facts["best"] = f"best test {self.outlook.best:.4f}"
        if self.outlook.steps:
            ahead = self.steps - self.done + self.outlook.steps
            left = seconds / (self.done - self.first) * ahead + self.outlook.seconds
            facts["run"] = f"{timedelta(seconds=round(left))} of the run"
        return facts


class BarConsole(PlainConsole):
    """A tqdm bar on standard error; lines are written above it.

    On a narrow terminal it leaves out the learning rate and more.
    """

    bar: tqdm[Any] | None = None

    def line(self, text: str = "") -> None:
        self._write(in_one_line(text), sys.stdout)

    def warn(self, text: str) -> None:
        self._write(in_one_line(f"warning: {text}"), sys.stderr)

    def _write(self, text: str, file: TextIO) -> None:
        """Write a line above the bar."""
        from tqdm import tqdm  # here, as most ranks show no bar

        with tqdm.external_write_mode(file):
            print(ERASE, end="", file=sys.stderr, flush=True)
            say(text, file)

    def start_epoch(
        self, epoch: int, epochs: int, steps: int, done: int, outlook: Outlook = LAST
    ) -> None:
        from tqdm import tqdm

        super().start_epoch(epoch, epochs, steps, done, outlook)
        terminal = shutil.get_terminal_size()
        width = terminal.columns - 1 - len(ECHO)
        around = f"epoch {epoch}/{epochs} 100%|| {steps}/{steps},  00:00 left"
        self.room = width - len(around) - SHORTEST_BAR  # for loss, learning rate and speed
        self.bar = tqdm(
            total=steps,
            initial=done,
            desc=f"epoch {epoch}/{epochs}",
            unit="step",
            file=sys.stderr,
            leave=False,
            # tqdm would ask standard error alone, a pipe under mpirun, and believe a size of 0.
            ncols=width,
            nrows=terminal.lines,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n}/{total}{postfix} {remaining} left",
        )

    def step(self, loss: float, images: int, lr: float, correct: float = 0.0) -> None:
        assert self.bar is not None, "start_epoch makes the bar"
        self.count(images, correct)
        facts = self.facts(loss, lr)
        for name in LEFT_OUT:
            if len(", ".join(facts.values())) < self.room:  # with a comma behind it
                break
            facts.pop(name, None)
        self.bar.set_postfix_str(f"{', '.join(facts.values())},", refresh=False)
        self.bar.update()

    def end_epoch(self) -> None:
        if self.bar is not None:
            self.bar.close()
            print(ERASE, end="", file=sys.stderr, flush=True)
            self.bar = None


class QuietConsole(PlainConsole):
    """The header and the epoch lines without progress between them."""

    def step(self, loss: float, images: int, lr: float, correct: float = 0.0) -> None:
        """Print nothing."""


class NotebookConsole(QuietConsole):
    """A bar of tqdm's for notebooks, a widget: between lines of text, which have no bar in them."""

    bar: Any = None

    def start_epoch(
        self, epoch: int, epochs: int, steps: int, done: int, outlook: Outlook = LAST
    ) -> None:
        from tqdm.notebook import tqdm

        super().start_epoch(epoch, epochs, steps, done, outlook)
        name = f"epoch {epoch}/{epochs}"
        self.bar = tqdm(total=steps, initial=done, desc=name, unit="step", leave=False)

    def step(self, loss: float, images: int, lr: float, correct: float = 0.0) -> None:
        self.count(images, correct)
        self.bar.set_postfix_str(", ".join(self.facts(loss, lr).values()), refresh=False)
        self.bar.update()

    def end_epoch(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class SilentConsole(Console):
    """Warnings alone."""

    def warn(self, text: str) -> None:
        warn(text)

    def interrupt(self, text: str) -> None:
        _interrupt(text)


def _interrupt(text: str) -> None:
    """Write a line on standard error past Python's buffers, which may be in use at the moment."""
    with contextlib.suppress(OSError):
        os.write(STANDARD_ERROR, f"{over_the_bar()}dpcnn: {text}\n".encode())


CONSOLES = {"bar": BarConsole, "plain": PlainConsole, "none": QuietConsole, "silent": SilentConsole}


def console(progress: str, rank: int) -> Console:
    """Return the console for --progress auto, bar, plain, none or silent."""
    if rank != 0:
        return Console()
    if progress in ("auto", "bar") and in_notebook():
        return NotebookConsole() if find_spec("ipywidgets") else QuietConsole()
    if progress == "auto":
        progress = "bar" if on_terminal() else "plain"
    return CONSOLES[progress]()
