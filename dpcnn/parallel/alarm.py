"""Alarms for what waits inside the MPI library, where nothing else can end the wait."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def after(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Run the action in a thread if the body takes longer."""
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), action)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def deadline(seconds: float, message: str) -> contextlib.AbstractContextManager[None]:
    """End this process for good, with a line that says why, if the body takes longer."""
    return after(seconds, lambda: end_this(message))


def end_this(message: str) -> None:
    """End this process for good, with a line that says why; without one if it is empty."""
    if message:
        print(f"dpcnn: error: {message}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
