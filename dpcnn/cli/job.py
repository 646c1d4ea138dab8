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
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

from dpcnn.errors import DpcnnError, LaunchError
from dpcnn.parallel.launcher import OPEN_MPI, detect
from dpcnn.run import outcome
from dpcnn.system import blas

if TYPE_CHECKING:
    from dpcnn.parallel.communicator import Communicator

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Job:
    """The ranks, the BLAS threads of each, and where errors and the end are kept.

    keep_error(rank, text) keeps a rank's traceback, record(code) the exit code of the whole job.
    """

    comm: Communicator
    threads: int
    keep_error: Callable[[int, str], None] = field(default=lambda rank, text: None)
    record: Callable[[int], None] = field(default=lambda code: outcome.tell(exit_code=code))

    def alone(self) -> None:
        """Raise LaunchError, on all ranks, where there are several and the work is for one."""
        if self.comm.size > 1:
            raise LaunchError(
                f"found {self.comm.size} ranks, expected one process: start it without mpirun"
            ).on_all_ranks()


@dataclass(frozen=True)
class End:
    """How this rank's work ended: the exit code; whether all ranks know; whether it is final.

    What is not final may go well when it is tried again, and is not recorded.
    """

    code: int
    known: bool = True
    final: bool = True


def run(
    parse: Callable[[], T],
    work: Callable[[Job, T], int],
    threads: Callable[[T], tuple[int | None, bool]] = lambda options: (None, True),
    unmet: Callable[[Job, T, LaunchError], int] | None = None,
) -> int:
    """Parse, connect the ranks and work; return the exit code, the same on every rank.

    `threads` says of the parsed options how many BLAS threads were asked for, if any, and whether
    the exact reduction needs one. `unmet` is what rank 0 does by itself where the ranks were
    started in a way that keeps them from meeting; without it that is an error.

    A DpcnnError of all ranks is one line of rank 0; one that a rank has alone, or any other
    exception, ends the other ranks too.
    """
    launch = detect()
    try:
        with _silence(launch.rank != 0):
            options = parse()
        count = blas.threads(*threads(options), launch.local_size)
        blas.set_threads(count)
        from dpcnn.parallel.communicator import Communicator, connect

        try:
            job = Job(connect(launch), count)
        except LaunchError as error:
            if unmet is None:
                raise
            return unmet(Job(Communicator(), count), options, error) if launch.rank == 0 else 0
    except DpcnnError as error:
        code = _report(error, launch.rank)
        if launch.rank == 0 and error.final:
            outcome.tell(exit_code=code)
        # Open MPI kills a job when a rank leaves with an error, and loses what others print: the
        # one that speaks leaves with it.
        code = 0 if launch.rank and launch.launcher == OPEN_MPI else code
        if not error.final:
            os._exit(code)  # a rank has died in MPI, whose own way out may hang then
        return code
    except SystemExit:  # --help
        outcome.tell(exit_code=0)
        raise
    return _leave(job, _work(job, lambda: work(job, options)))


def call(
    parse: Callable[[], T],
    work: Callable[[Job, T], R],
    threads: Callable[[T], tuple[int | None, bool]],
) -> R:
    """Parse and work as a part of a program that goes on; return what the work has come to.

    The arguments are as for `run`; what rank 0 has parsed holds for all ranks. BLAS gets the
    threads back that it had before. What goes wrong is raised, unless a rank is alone with it:
    then it is printed and ends the other ranks too.
    """
    from dpcnn.parallel.communicator import connect

    launch = detect()
    comm = connect(launch)
    comm.end_with_exceptions()
    options = comm.bcast(comm.together(parse))
    assert options is not None, "together has raised where it could not be parsed"
    count = blas.threads(*threads(options), launch.local_size)
    job = Job(comm, count)
    try:
        with blas.limited(count):
            return work(job, options)
    except BaseException as error:
        if comm.size > 1 and not getattr(error, "collective", False):
            os._exit(_leave(job, _work(job, partial(_raise, error))))
        if isinstance(error, Exception) and not isinstance(error, DpcnnError):
            job.keep_error(comm.rank, traceback.format_exc())
        if comm.rank == 0 and getattr(error, "final", True):
            job.record(getattr(error, "exit_code", 1))
        raise


def _raise(error: BaseException) -> NoReturn:
    raise error


def _work(job: Job, work: Callable[[], int]) -> End:
    """Do the work; turn whatever ends it into an End, told on standard error."""
    from dpcnn.parallel.communicator import RankLostError
    from dpcnn.parallel.membership import EndedError

    try:
        return End(work())
    except EndedError as ended:
        return End(ended.code)
    except DpcnnError as error:
        known = error.collective or job.comm.size == 1
        return End(_report(error, job.comm.rank if known else 0), known, error.final)
    except RankLostError:
        _report(DpcnnError("lost a rank outside of training"), job.comm.rank)
        return End(1, final=False)
    except KeyboardInterrupt:
        if job.comm.rank == 0:
            print("dpcnn: stopped by Ctrl-C; nothing was begun that is lost", file=sys.stderr)
        return End(128 + signal.SIGINT, known=False)
    except BaseException as error:
        text = f"{job.comm.members[job.comm.rank]}: {traceback.format_exc()}"
        print(text, file=sys.stderr, flush=True)
        job.keep_error(job.comm.members[job.comm.rank].rank, text)
        # Memory and disks are this machine's matter; others, or the next start, may have more.
        return End(1, known=False, final=not isinstance(error, MemoryError | OSError))


def _leave(job: Job, end: End) -> int:
    """Record the end and see that no rank is left behind; return the exit code."""
    comm = job.comm
    if end.final and (comm.rank == 0 or not end.known):
        job.record(end.code)
    if not end.known and comm.elastic:
        from dpcnn.parallel.membership import leave

        if not end.final:
            os.kill(os.getpid(), signal.SIGKILL)  # the others notice this, and go on
        leave(comm, end.code)
    elif not end.known:
        comm.abort(end.code)
    comm.finish(end.code)
    return end.code


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
