"""Hands on what mpirun prints, so that a log that cannot be written does not end the run.

MPICH's mpirun ends with its ranks when it cannot write, Open MPI's when a pipe is closed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

from noise import Sieve

NAMES = {1: "standard output", 2: "standard error"}
CHUNK = 1 << 16
LEFT = 2.0  # seconds for a process that mpirun has left behind to close its output


def say(line: str, number: int = 2) -> None:
    """Print a line, if that can be done."""
    with contextlib.suppress(OSError):
        os.write(number, f"{line}\n".encode())


class Output:
    """Reads the standard output and error of a process, to its end, and writes what can be.

    In a process of its own: the ranks can still save if the supervisor is killed.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        sources = process.stdout.fileno(), process.stderr.fileno()
        command = [sys.executable, "-S", "-E", __file__, *map(str, sources)]
        self.reader = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=sources, process_group=0
        )
        process.stdout.close()
        process.stderr.close()

    def finish(self) -> None:
        """Wait until all is written of a process that has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.reader.wait(LEFT)
        self.reader.kill()
        self.reader.wait()


def main(sources: list[int]) -> None:
    """Hand on what comes from these, to standard output and error, until both have ended."""
    for number in (signal.SIGHUP, signal.SIGTTOU):  # a terminal may go, and be another's
        signal.signal(number, signal.SIG_IGN)
    threads = [
        threading.Thread(target=_hand_on, args=(source, target))
        for target, source in enumerate(sources, 1)
    ]
    for thread in threads:
        thread.start()


def _hand_on(source: int, target: int) -> None:
    lost, sieve, more = False, Sieve(), True
    while more:
        read = os.read(source, CHUNK)
        more = bool(read)
        data = sieve.sift(read) if read else sieve.rest()
        try:
            while data and not lost:
                data = data[os.write(target, data) :]
        except OSError as error:
            lost = True
            reason = f"{NAMES[target]} cannot be written any more ({error.strerror})"
            say(f"warning: {reason}: training goes on", 3 - target)


if __name__ == "__main__":
    main([int(source) for source in sys.argv[1:]])
