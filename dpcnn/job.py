"""A command as all ranks of a job: who speaks, how errors end it, which code it leaves with.

Imports no NumPy: the command line decides the BLAS threads, which must be set before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from dpcnn import blas
from dpcnn.errors import DpcnnError
from dpcnn.parallel.launcher import detect

if TYPE_CHECKING:
    from dpcnn.parallel.communicator import Communicator

T = TypeVar("T")


@dataclass
class Job:
    """The ranks, the BLAS threads of each, and who keeps the text of an error (rank, text)."""

    comm: Communicator
    threads: int
    keep_error: Callable[[int, str], None] = field(default=lambda rank, text: None)


def run(
    parse: Callable[[], T],
    work: Callable[[Job, T], int],
    threads: Callable[[T], tuple[int | None, bool]] = lambda options: (None, True),
) -> int:
    """Parse, connect the ranks and work; return the exit code, the same on every rank.

    `threads` says of the parsed options how many BLAS threads were asked for, if any, and whether
    the exact reduction needs one. A DpcnnError of all ranks is one line of rank 0; one that a
    rank has alone, or any other exception, ends the other ranks too.
    """
    launch = detect()
    try:
        with _silence(launch.rank != 0):
            options = parse()
        count = blas.threads(*threads(options), launch.local_size)
        blas.set_threads(count)
        from dpcnn.parallel.communicator import connect

        job = Job(connect(launch), count)
    except DpcnnError as error:
        return _report(error, launch.rank)
    try:
        return work(job, options)
    except DpcnnError as error:
        if error.collective or job.comm.size == 1:
            return _report(error, job.comm.rank)
        code = _report(error, rank=0)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:
        text = f"rank {job.comm.rank} on {job.comm.hosts[job.comm.rank]}: "
        text += traceback.format_exc()
        print(text, file=sys.stderr, flush=True)
        job.keep_error(job.comm.rank, text)
        code = 1
    job.comm.abort(code)
    return code


def _report(error: DpcnnError, rank: int) -> int:
    """Print the error's line on rank 0; return its exit code."""
    if rank == 0:
        line = " ".join(str(error).split())
        print(f"dpcnn: error: {line}", file=sys.stderr, flush=True)
    return error.exit_code


@contextlib.contextmanager
def _silence(silent: bool) -> Iterator[None]:
    """Keep --help from being printed by every rank."""
    with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
        if silent:
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield
