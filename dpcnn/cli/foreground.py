"""Runs a command in the place of this process, so that Ctrl-Z stops all that it has started.

mpirun alone does not: MPICH's stops without its ranks, Open MPI's stops the ranks and not itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PASSED_ON = {
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
}
WATCHED = {*PASSED_ON, signal.SIGTSTP, signal.SIGCHLD}


def run(command: Sequence[str]) -> int:
    """Run a command; return its exit code, 128 + the signal that has killed it."""
    process = subprocess.Popen(command)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    while process.poll() is None:
        received = signal.sigwaitinfo(WATCHED)
        if received.si_signo == signal.SIGTSTP:
            _suspend()
        elif received.si_signo in PASSED_ON and received.si_pid:  # else the terminal has told all
            process.send_signal(received.si_signo)
    code = process.returncode
    return code if code >= 0 else 128 - code


def _suspend() -> None:
    """Stop this process and all that it has started, until somebody continues it."""
    started = list(_descendants(os.getpid()))
    for number, also in ((signal.SIGSTOP, [os.getpid()]), (signal.SIGCONT, [])):
        for process in (*started, *also):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)


def _descendants(ancestor: int) -> Iterator[int]:
    """Yield the processes that a process and its descendants have started."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):  # it has ended
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                parents[int(entry)] = int(fields[1])
    left = [ancestor]
    while left:
        parent = left.pop()
        children = [child for child, its in parents.items() if its == parent]
        yield from children
        left += children
