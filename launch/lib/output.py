"""Hands on what mpirun prints, so that a log that cannot be written does not end the run.

MPICH's mpirun ends with its ranks when it cannot write, Open MPI's when a pipe is closed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading

NAMES = {1: "standard output", 2: "standard error"}
CHUNK = 1 << 16
LEFT = 2.0  # seconds for a process that mpirun has left behind to close its output


def say(line: str, number: int = 2) -> None:
    """Print a line, if that can be done."""
    with contextlib.suppress(OSError):
        os.write(number, f"{line}\n".encode())


class Output:
    """Reads the standard output and error of a process, to its end, and writes what can be."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        streams = ((process.stdout.fileno(), 1), (process.stderr.fileno(), 2))
        self.threads = [
            threading.Thread(target=_hand_on, args=stream, daemon=True) for stream in streams
        ]
        for thread in self.threads:
            thread.start()

    def finish(self) -> None:
        """Wait until all is written of a process that has ended."""
        for thread in self.threads:
            thread.join(LEFT)


def _hand_on(source: int, target: int) -> None:
    lost = False
    while data := os.read(source, CHUNK):
        try:
            while data and not lost:
                data = data[os.write(target, data) :]
        except OSError as error:
            lost = True
            reason = f"{NAMES[target]} cannot be written any more ({error.strerror})"
            say(f"warning: {reason}: training goes on", 3 - target)
