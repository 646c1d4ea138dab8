"""Runs a command in the place of this process: Ctrl-Z and Ctrl-C do to its ranks what they should.

mpirun alone does not: MPICH's stops without its ranks, Open MPI's stops the ranks and not itself.
And Open MPI's answers Ctrl-C by killing the ranks one second later, whether or not they have saved.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

PASSED_ON = {
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
}
WATCHED = {*PASSED_ON, signal.SIGTSTP, signal.SIGCHLD}


def run(command: Sequence[str], past: bool = False) -> int:
    """Run a command; return its exit code, 128 + the signal that has killed it.

    past: send signals past the command, to the processes that it has started, as soon as there are
    some. It is kept from the terminal, whose signals and input are for its foreground.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)  # first: a Ctrl-C must not be lost
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if past else None,
        process_group=0 if past else None,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
    )
    while process.poll() is None:
        received = signal.sigwaitinfo(WATCHED)
        if received.si_signo == signal.SIGTSTP:
            _suspend()
        elif received.si_signo in PASSED_ON and past:
            _send(received.si_signo, _children().get(process.pid) or [process.pid])
        elif received.si_signo in PASSED_ON and received.si_pid:  # else the terminal has told all
            process.send_signal(received.si_signo)
    code = process.returncode
    return code if code >= 0 else 128 - code


def _suspend() -> None:
    """Stop this process and all that it has started, until somebody continues it."""
    started = list(_descendants(os.getpid()))
    _send(signal.SIGSTOP, [*started, os.getpid()])
    _send(signal.SIGCONT, started)


def _send(number: int, processes: Iterable[int]) -> None:
    """Send a signal to processes, some of which may have ended."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _descendants(ancestor: int) -> Iterator[int]:
    """Yield the processes that a process and its descendants have started."""
    children, left = _children(), [ancestor]
    while left:
        started = children.get(left.pop(), [])
        yield from started
        left += started


def _children() -> dict[int, list[int]]:
    """Return the children of each process that has some."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):  # it has ended
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    return children
