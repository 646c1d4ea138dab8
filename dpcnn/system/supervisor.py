"""The process that has started this job with a launch script and looks after it."""

from __future__ import annotations

import os
import socket
import time
from functools import cached_property
from pathlib import Path

SUPERVISOR = "DPCNN_SUPERVISOR"  # set by launch/lib/supervise.py: its own name


class Supervisor:
    """The supervisor of this job, if it has one on this host.

    name: what it calls itself, `HOST PID-NAMESPACE PROCESS STARTED` (launch/lib/traces.py): a
    number alone could be another process's, elsewhere or later.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = (os.environ.get(SUPERVISOR, "") if name is None else name).split()
        here = [socket.gethostname(), _namespace()]
        self._known = len(self._name) == 4 and self._name[:2] == here
        self._next = 0.0  # look

    def is_gone(self) -> bool:
        """Tell whether it has ended; looks once a second."""
        now = time.monotonic()
        if not self._known or now < self._next:
            return False
        self._next = now + 1
        _, _, process, started = self._name
        try:
            fields = Path("/proc", process, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return True
        return fields[0] == "Z" or fields[19] != started

    @cached_property
    def terminal(self) -> int | None:
        """A file descriptor of the terminal of its standard error, None if it is not found."""
        if not self._known:
            return None
        flags = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK
        try:
            found = os.open(Path("/proc", self._name[2], "fd/2"), flags)
        except OSError:
            return None
        if os.isatty(found):
            return found
        os.close(found)
        return None


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
