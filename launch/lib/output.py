"""Hands on what mpirun and the ranks print: nothing of it is lost, and no rank waits for a reader.

Ranks on this host write into two named pipes of the supervisor (dpcnn/system/streams.py), not to
mpirun: Open MPI's (5.0.11) may hang after the death of a rank, with what the others print. A log
that cannot be written does not end the run: MPICH's mpirun ends with its ranks when it cannot
write, Open MPI's when a pipe is closed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from noise import Sieve

NAMES = {1: "standard output", 2: "standard error"}
PIPES = {1: "stdout", 2: "stderr"}  # their names, which dpcnn/system/streams.py knows too
CHUNK = 1 << 16
HELD = 1 << 20  # chunks that are kept for a reader who pauses: those of a day, from a progress bar
PERIOD = 0.1  # seconds between two looks whether the wait for a reader is over
LEFT = 10.0  # seconds for the reader of a run that was asked to stop
ENDED = b"."  # tells that nothing is being written any more
ERASE = b"\x1b[J"
STARTS_OF_LINES = (b"\n", ERASE)
BAR = b"\r"  # what a bar ends with: the cursor rests at its beginning (dpcnn/system/terminal.py)


def say(line: str, number: int = 2) -> None:
    """Print a line, if that can be done."""
    with contextlib.suppress(OSError):
        os.write(number, f"{line}\n".encode())


class Output:
    """Two pipes for mpirun and two named ones for ranks, in a folder, and who reads them.

    The reader is a process of its own: the ranks can still save if the supervisor is killed. It
    ends when it has read all that was written before `finish`, or without a supervisor when nobody
    has the pipes open any more.
    """

    def __init__(self, folder: Path) -> None:
        pipes = [os.pipe(), os.pipe(), *(_named_pipe(folder / name) for name in PIPES.values())]
        control, self._control = os.pipe()
        read = [control, *(read for read, _ in pipes)]
        self.stdout, self.stderr, *self._kept = (write for _, write in pipes)
        command = [sys.executable, "-S", "-E", __file__, *map(str, read)]
        self.reader = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=read, process_group=0
        )
        for each in read:
            os.close(each)

    def close(self) -> None:
        """Leave mpirun's pipes to mpirun, which has been started."""
        os.close(self.stdout)
        os.close(self.stderr)

    def finish(self, asked: Callable[[], object]) -> None:
        """Wait until all is written of processes that have ended.

        As long as the reader of this output takes; once `asked` to stop for LEFT seconds.
        """
        with contextlib.suppress(OSError):  # the reader was killed
            os.write(self._control, ENDED)
        patience = LEFT
        while self.reader.poll() is None and patience > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.reader.wait(PERIOD)
            patience -= PERIOD if asked() else 0
        self.reader.kill()
        self.reader.wait()
        for each in (self._control, *self._kept):
            os.close(each)


def _named_pipe(path: Path) -> tuple[int, int]:
    """Make it; return its two ends. The one for writing keeps it from ending between two ranks."""
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK), os.open(path, os.O_WRONLY)


class Target:
    """Standard output or error: written in a thread, so that whoever reads slowly holds up none."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._lost = False
        self._last: int | None = None  # the source of a line that has begun
        self._bar = False  # whether that line is a bar
        self._held: queue.Queue[bytes] = queue.Queue(HELD)
        self._writer = threading.Thread(target=self._write)
        self._writer.start()

    def put(self, data: bytes, source: int) -> None:
        """Write data of a source after what came before, in a line of its own."""
        if data:
            other = self._last not in (None, source)
            between = (ERASE if self._bar else b"\n") if other else b""
            self._last = None if data.endswith(STARTS_OF_LINES) else source
            self._bar = data.endswith(BAR)
            self._held.put(between + data)

    def finish(self) -> None:
        """Wait until all is written."""
        self._held.put(b"")
        self._writer.join()

    def _write(self) -> None:
        while data := self._held.get():
            try:
                while data and not self._lost:
                    data = data[os.write(self._number, data) :]
            except OSError as error:
                self._lost = True
                reason = f"{NAMES[self._number]} cannot be written any more ({error.strerror})"
                say(f"warning: {reason}: training goes on", 3 - self._number)


def main(control: int, *sources: int) -> None:
    """Hand on what comes from the sources, to standard output and error in turn, to their end."""
    for number in (signal.SIGHUP, signal.SIGTTOU):  # a terminal may go, and be another's
        signal.signal(number, signal.SIG_IGN)
    targets = Target(1), Target(2)
    left = {source: (Sieve(), targets[place % 2]) for place, source in enumerate(sources)}
    told, ended = [control], False
    while left:
        ready, _, _ = select.select([*told, *left], [], [], 0 if ended else None)
        if ended and not ready:
            break
        for source in ready:
            data = os.read(source, CHUNK)
            if source == control:
                told, ended = [], data == ENDED
            elif data:
                sieve, target = left[source]
                target.put(sieve.sift(data), source)
            else:
                _end(source, *left.pop(source))
    for source, (sieve, target) in left.items():
        _end(source, sieve, target)
    for target in targets:
        target.finish()


def _end(source: int, sieve: Sieve, target: Target) -> None:
    target.put(sieve.rest(), source)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
