"""Alarms for what waits inside the MPI library, where nothing else can end the wait."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

PERIOD = 1.0  # seconds; of the time for which a process was stopped (Ctrl-Z), at most one counts


@contextlib.contextmanager
def after(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Run the action in a thread if the body takes longer, while this process is not stopped."""
    over = threading.Event()
    threading.Thread(target=_count_down, args=(seconds, over, action), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _count_down(seconds: float, over: threading.Event, action: Callable[[], object]) -> None:
    while seconds > 0:
        period = min(seconds, PERIOD)
        if over.wait(period):
            return
        seconds -= period
    action()


def deadline(seconds: float, message: str) -> contextlib.AbstractContextManager[None]:
    """End this process for good, with a line that says why, if the body takes longer."""
    return after(seconds, lambda: end_this(message))


def end_this(message: str) -> None:
    """End this process for good, with a line that says why; without one if it is empty."""
    if message:
        print(f"dpcnn: error: {message}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
