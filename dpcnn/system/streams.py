"""Standard streams that do not end a command: closed, full, or of an encoding lacking letters."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import stat
import sys
import termios
import time
from array import array
from typing import Any, TextIO

from dpcnn.errors import DpcnnError
from dpcnn.system.terminal import bottom_line

NAMES = {1: "standard output", 2: "standard error"}
# Set by launch/lib/supervise.py: the folder of its two named pipes.
OUTPUT = "DPCNN_OUTPUT"
PIPES = {1: "stdout", 2: "stderr"}
LONGEST = 5.0  # seconds that a reader may take before this process ends all ranks
PERIOD = 0.01  # seconds between two looks


class Stream(io.FileIO):
    """A standard stream, which leads nowhere once it cannot be written.

    A closed pipe (`| head`) is the reader's wish and not an error. Any other failure, such as a
    full disk, raises DpcnnError, unless `going_on` says what goes on without the stream.
    """

    def __init__(self, number: int, going_on: str) -> None:
        super().__init__(number, "w", closefd=False)
        self.number, self.going_on = number, going_on

    def write(self, data: Any) -> int:
        """Write bytes; return how many are done with."""
        bottom_line.clear()
        try:
            return super().write(data)
        except OSError as error:
            lead_nowhere(self.number)
            reason = f"{NAMES[self.number]} cannot be written any more ({error.strerror})"
            if self.going_on:
                with contextlib.suppress(OSError):
                    os.write(3 - self.number, f"warning: {reason}: {self.going_on}\n".encode())
            elif error.errno != errno.EPIPE:
                raise DpcnnError(reason) from error
            return len(data)


def lead_nowhere(number: int) -> None:
    """Let what is written to this file descriptor from now on, also by libraries, be lost."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


def write_to_supervisor() -> None:
    """Let standard output and error lead to the supervisor of this job, if it is on this host.

    Past mpirun: Open MPI's (5.0.11) may hang after the death of a rank, with what others print. The
    pipes are for this process alone: what it starts itself has the streams that it is given.
    """
    folder = os.environ.pop(OUTPUT, None)
    if folder is None:
        return
    # A launch script that has a terminal lets both share one, to keep lines in order.
    pipes = {1: PIPES[2], 2: PIPES[2]} if os.path.sameopenfile(1, 2) else PIPES
    for number, name in pipes.items():
        with contextlib.suppress(OSError):  # of another host, or nobody reads it
            pipe = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_NONBLOCK)
            os.set_blocking(pipe, True)
            os.dup2(pipe, number)
            os.close(pipe)


def wait_until_read() -> None:
    """Wait until what this process has printed to pipes is read, but not for long.

    MPICH's mpirun (5.0) loses what it has not yet read of a rank that calls MPI_Abort.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed
            stream.flush()
    end = time.monotonic() + LONGEST
    while any(map(_unread, NAMES)) and time.monotonic() < end:
        time.sleep(PERIOD)


def _unread(number: int) -> int:
    """Return how many bytes wait in a pipe for its reader; 0 for anything else."""
    count = array("i", [0])
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(number).st_mode):
            fcntl.ioctl(number, termios.FIONREAD, count)
    return count[0]


def secure(going_on: str = "") -> None:
    """Make Streams of this process's standard output and error. Only the first call does anything.

    going_on: for a command whose output is not its result, such as "training goes on". Letters
    that an encoding lacks are shown escaped. Streams that somebody has replaced are left alone.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: another file would get the number, and the output
            lead_nowhere(number)
    write_to_supervisor()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(1, going_on, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(2, going_on, sys.stderr)


def _text(number: int, going_on: str, before: TextIO | None) -> TextIO:
    """Return a stream in the place of `before`, None if that was closed."""
    encoding = before.encoding if before is not None else "utf-8"
    buffer = io.BufferedWriter(Stream(number, going_on))
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=True)
