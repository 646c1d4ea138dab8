"""What rank 0 prints: the header, the progress, the epoch lines.

Other ranks get a Console that prints nothing, so that no caller asks which rank it is. The bar,
errors and warnings go to standard error, everything else to standard output.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from dpcnn.system.terminal import (
    STANDARD_ERROR,
    STANDARD_OUTPUT,
    bottom_line,
    columns,
    on_terminal,
    over_the_bar,
)
from dpcnn.system.text import in_one_line, say, warn
from dpcnn.training.meter import LAST, EpochMeter, EvaluationMeter, Meter, Outlook

COLUMNS = 80  # that the layer table keeps to
PLAIN_SECONDS = 10.0  # a plain line at least this often
BAR_SECONDS = 0.1  # a bar is drawn no more often


def in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook, whose output is no terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class Console:
    """Prints nothing: what ranks other than 0 have."""

    def line(self, text: str = "", more: Sequence[str] = ()) -> None:
        """Print a line; `more` follows, where a window is too narrow as far as there is room."""

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

    def start_evaluation(self, name: str, images: int) -> None:
        """Begin to show the progress of an evaluation, by its name, on so many images."""

    def evaluated(self, images: int) -> None:
        """Count images that have been evaluated."""

    def end_progress(self) -> None:
        """End the progress of an epoch or of an evaluation."""

    def pause(self) -> None:
        """Take a bar away until the next step: somebody else is about to write, and to read."""


class PlainConsole(Console):
    """Whole lines, flushed at once: for files, pipes and dumb terminals."""

    printed = 0.0  # when the last line was printed, by time.monotonic
    meter: Meter | None = None

    def line(self, text: str = "", more: Sequence[str] = ()) -> None:
        say(in_one_line(", ".join([text, *more])))
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
        self.start(EpochMeter(epoch, epochs, steps, done, outlook))

    def step(self, loss: float, images: int, lr: float, correct: float = 0.0) -> None:
        assert isinstance(self.meter, EpochMeter), "start_epoch makes it"
        self.meter.step(loss, images, lr, correct)
        self.show(self.meter)

    def start_evaluation(self, name: str, images: int) -> None:
        self.start(EvaluationMeter(name, images))

    def evaluated(self, images: int) -> None:
        assert self.meter is not None, "start_evaluation makes it"
        self.meter.count(images, images)
        self.show(self.meter)

    def start(self, meter: Meter) -> None:
        """Begin to show a progress."""
        self.meter = meter

    def show(self, meter: Meter) -> None:
        """Show how far the progress is, if it is time to."""
        if time.monotonic() - self.printed >= PLAIN_SECONDS and meter.done < meter.total:
            self.line(meter.line())

    def end_progress(self) -> None:
        self.meter = None


class BarConsole(PlainConsole):
    """A bar on standard error that keeps to the width of the window; lines are written above it."""

    shown = 0.0  # when the bar was drawn last, by time.monotonic

    def line(self, text: str = "", more: Sequence[str] = ()) -> None:
        line = text
        for each in more:
            if len(line) + len(each) + 2 > columns():
                break
            line += f", {each}"
        same = os.path.sameopenfile(STANDARD_OUTPUT, STANDARD_ERROR)
        if not same:
            bottom_line.clear()
        say(in_one_line(line), over=same)  # at once: a ^C that is typed in between would stay

    def warn(self, text: str) -> None:
        bottom_line.clear()
        warn(text)

    def start(self, meter: Meter) -> None:
        super().start(meter)
        self.shown = 0.0
        self.show(meter)

    def show(self, meter: Meter) -> None:
        now = time.monotonic()
        if now - self.shown >= BAR_SECONDS:
            self.shown = now
            bottom_line.draw(meter.bar(columns() - 1))

    def end_progress(self) -> None:
        super().end_progress()
        bottom_line.clear()

    def pause(self) -> None:
        bottom_line.clear()


class QuietConsole(PlainConsole):
    """The header and the epoch lines without progress between them."""

    def show(self, meter: Meter) -> None:
        """Print nothing."""


class NotebookConsole(QuietConsole):
    """A bar of tqdm's for notebooks, a widget: between lines of text, which have no bar in them."""

    bar: Any = None

    def start(self, meter: Meter) -> None:
        from tqdm.notebook import tqdm

        super().start(meter)
        self.bar = tqdm(total=meter.total, initial=meter.done, desc=meter.name, leave=False)

    def show(self, meter: Meter) -> None:
        self.bar.set_postfix_str(", ".join(meter.facts().values()), refresh=False)
        self.bar.update(meter.done - self.bar.n)

    def end_progress(self) -> None:
        super().end_progress()
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


def bar_or_nothing() -> str:
    """Return the progress for a command whose output is its result: a bar on a terminal, or none.

    The bar is on standard error, so that the output is the same with and without.
    """
    return "bar" if on_terminal() else "none"
