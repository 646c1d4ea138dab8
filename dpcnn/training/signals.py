"""Stop requests: signals set flags, which reach all ranks in the step's reduction."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from dpcnn.system.supervisor import Supervisor

# Schedulers announce the end with the one or the other (SIGXCPU: of the CPU time); a terminal that
# is closed sends SIGHUP.
STOPS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
)
NAMES = tuple(stop.name for stop in STOPS)


class StopRequests:
    """Catches the signals of STOPS while it is entered; a second SIGINT ends at once.

    SIGHUP stays ignored where it was: under nohup a run outlives its terminal.
    `first` is called at the first signal, in its handler. `last` and then `at_once`, with the exit
    code, are called at a second SIGINT; without the latter the process ends. Python lets only the
    main thread catch signals: in another one this catches none.
    """

    def __init__(self, at_once: Callable[[int], object] | None = None) -> None:
        self.first: Callable[[], object] = lambda: None
        self.last: Callable[[], object] = lambda: None
        self.at_once = at_once or os._exit
        self._caught: set[str] = set()
        self._before: dict[signal.Signals, Any] = {}
        self._supervisor = Supervisor()

    def listen(self) -> None:
        """Begin to catch signals, as entering does."""
        if not self._before and threading.current_thread() is threading.main_thread():
            ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else {}
            caught = (stop for stop in STOPS if stop not in ignored)
            self._before = {stop: signal.signal(stop, self._catch) for stop in caught}

    def __enter__(self) -> StopRequests:
        self.listen()
        return self

    def __exit__(self, *exception: object) -> None:
        for stop, handler in self._before.items():
            signal.signal(stop, handler)
        self._before = {}

    def _catch(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and name in self._caught:
            self.last()
            self.at_once(128 + number)
        if not self._caught:
            self.first()
        self._caught.add(name)

    def flags(self) -> dict[str, float]:
        """Return 1 for each signal that was caught, by name, and 0 for the others.

        A supervisor that is gone counts as SIGTERM: nobody could stop the run through it any more.
        """
        if self._supervisor.is_gone():
            self._caught.add(signal.SIGTERM.name)
        return {name: float(name in self._caught) for name in NAMES}


def requested(sums: dict[str, float]) -> signal.Signals | None:
    """Return the signal that some rank has caught, from the reduced flags, None for none."""
    return next((stop for stop in STOPS if sums[stop.name] > 0), None)
