"""A command as all ranks of a job: who speaks, how errors end it, which code it exits with."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from dpcnn.errors import DpcnnError, LaunchError, OptionError
from dpcnn.parallel.communicator import BugError, Communicator, OverdueError, RankLostError
from dpcnn.parallel.connect import MEETING, connect
from dpcnn.parallel.launcher import OPEN_MPI, Launch, detect
from dpcnn.parallel.membership import EndedError, leave
from dpcnn.run import outcome
from dpcnn.system import blas, streams
from dpcnn.system.text import say

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Job:
    """The ranks, the BLAS threads of each, and where errors and the end are kept.

    keep_error(rank, text) keeps a rank's traceback, record(code) the exit code of the whole job.
    raises: whether an error is raised with its traceback, for a debugger, instead of printed.
    """

    comm: Communicator
    threads: int
    raises: bool = False
    keep_error: Callable[[int, str], None] = field(default=lambda rank, text: None)
    record: Callable[[int], None] = field(default=lambda code: outcome.tell(exit_code=code))

    def check_alone(self, what: str = "") -> None:
        """Raise LaunchError, on all ranks, if there are several: the work is for one process.

        what: asks for that, such as an option.
        """
        if self.comm.size > 1:
            found = f"{what}: found" if what else "found"
            raise LaunchError(
                f"{found} {self.comm.size} ranks, expected one process: start it without mpirun"
            ).on_all_ranks()


class End(NamedTuple):
    """How the work of a rank has ended.

    alone: only this rank has ended, and has to end the others. final: the same command would end
    like this again; what is not final may go well at the next try, and is not recorded.
    """

    code: int
    alone: bool = False
    final: bool = True


def run(
    parse: Callable[[], T],
    work: Callable[[Job, T], int],
    threads: Callable[[T], tuple[int | None, bool]] = lambda options: (None, True),
    unmet: Callable[[Job, T, LaunchError], int] | None = None,
    timeout: Callable[[T], float] = lambda options: MEETING,
) -> int:
    """Parse the options, connect the ranks and work; return the exit code of this rank.

    `threads` says of the options how many BLAS threads were asked for, if any, and whether the
    exact reduction needs one. `unmet` is what rank 0 does by itself if the ranks were started in a
    way that keeps them from meeting; without it that is an error. `timeout` says for how many
    seconds a rank is waited for, from the first moment on.

    A DpcnnError of all ranks is one line of rank 0. One that a rank has alone, or any other
    exception, ends the other ranks too. If the job `raises`, both are raised.
    """
    streams.secure()
    launch = detect()
    try:
        with _silence(launch.rank != 0):
            options = parse()
            _check_directory()
        count = blas.threads(*threads(options), launch.local_size)
        try:
            job = Job(connect(launch, timeout(options)), count)
        except LaunchError as error:
            if unmet is None:
                raise
            return unmet(Job(Communicator(), count), options, error) if launch.rank == 0 else 0
    except DpcnnError as error:
        return _refuse(error, launch)
    except SystemExit:  # --help
        outcome.tell(exit_code=0)
        raise
    with blas.limited(count):
        try:
            end = End(work(job, options))
        except BaseException as error:
            if job.raises:
                _keep(job, error)
                raise
            end = _tell(job, error)
        return _leave(job, end)


def _check_directory() -> None:
    """Raise OptionError where the current directory has been deleted: no path leads from there."""
    try:
        os.getcwd()
    except OSError as error:
        raise OptionError("the current directory is gone: change to one that exists") from error


def call(
    parse: Callable[[], T],
    work: Callable[[Job, T], R],
    threads: Callable[[T], tuple[int | None, bool]],
    timeout: Callable[[T], float],
) -> R:
    """Parse and work as a part of a program that goes on; return what the work returns.

    The arguments are as for `run`; what rank 0 has parsed holds for all ranks. Afterwards BLAS has
    the threads that it had before. An error is raised, unless a rank is alone with it: then it is
    printed and ends the other ranks too.
    """
    launch = detect()
    comm = connect(launch)
    comm.end_with_exceptions(streams.wait_until_read)
    options = comm.bcast(comm.on_all(parse))
    comm.timeout = timeout(options)
    job = Job(comm, blas.threads(*threads(options), launch.local_size))
    with blas.limited(job.threads):
        try:
            return work(job, options)
        except BaseException as error:
            if comm.size > 1 and not getattr(error, "collective", False):
                os._exit(_leave(job, _tell(job, error)))
            _keep(job, error)
            raise


def _keep(job: Job, error: BaseException) -> None:
    """Keep and record an error that is being raised to the caller."""
    if isinstance(error, Exception) and not isinstance(error, DpcnnError):
        job.keep_error(job.comm.rank, traceback.format_exc())
    if job.comm.rank == 0 and getattr(error, "final", True):
        job.record(getattr(error, "exit_code", 1))


def together(work: Callable[[Communicator], R]) -> R:
    """Work as `call` does where there are no options to parse, with one BLAS thread a rank."""
    return call(
        lambda: None, lambda job, _: work(job.comm), lambda _: (None, True), lambda _: MEETING
    )


def _refuse(error: DpcnnError, launch: Launch) -> int:
    """Tell why the ranks do not even begin to work; return the exit code of this one."""
    code = _print_error(error, launch.rank)
    if launch.rank == 0 and error.final:
        outcome.tell(exit_code=code)
    # Open MPI kills a job when a rank exits with an error, and loses what others print: only rank
    # 0, which has printed the error, exits with its code.
    if launch.rank and launch.launcher == OPEN_MPI:
        code = 0
    if not error.final:
        os._exit(code)  # a rank has died in MPI, whose own way out may hang then
    return code


def _tell(job: Job, error: BaseException) -> End:
    """Print what has ended this rank's work, on standard error; return how it ends."""
    comm = job.comm
    match error:
        case EndedError():
            return End(error.code)
        case BugError():
            return _tell_bug(job, error)
        case DpcnnError():
            alone = comm.size > 1 and not error.collective
            return End(_print_error(error, 0 if alone else comm.rank), alone, error.final)
        case RankLostError():
            _print_error(DpcnnError("lost a rank outside of training"), comm.rank)
            return End(1, final=False)
        case KeyboardInterrupt():
            if comm.rank == 0:
                say("dpcnn: stopped by Ctrl-C", sys.stderr)
            return End(128 + signal.SIGINT, alone=True)
    text = _with_traceback(job, error)
    say(text, sys.stderr)
    # Memory and disks are this machine's matter; other ranks, or the next start, may have more.
    return End(1, alone=True, final=not isinstance(error, MemoryError | OSError))


def _tell_bug(job: Job, bug: BugError) -> End:
    """Print the traceback of the lowest rank that has one, once for all; collective."""
    text = "" if bug.error is None else _with_traceback(job, bug.error)
    if bug.note is not None:
        say(f"{text}\n{bug.note}".rstrip(), sys.stderr)
    with contextlib.suppress(RankLostError, OverdueError):
        job.comm.allgather(None)  # printed: mpirun may end all ranks when the first one exits
    return End(1)


def _with_traceback(job: Job, error: BaseException) -> str:
    """Return an error of this rank with its traceback, which is kept too."""
    this = job.comm.members[job.comm.rank]
    text = f"{this}: {''.join(traceback.format_exception(error))}".rstrip()
    job.keep_error(this.rank, f"{text}\n")
    return text


def _leave(job: Job, end: End) -> int:
    """Record the end and see that no rank is left behind; return the exit code."""
    comm = job.comm
    if end.final and (comm.rank == 0 or end.alone):
        job.record(end.code)
    if end.alone and comm.elastic:
        if not end.final:
            os.kill(os.getpid(), signal.SIGKILL)  # the others notice this, and go on
        leave(comm, end.code)
    elif end.alone:
        streams.wait_until_read()
        comm.abort(end.code)
    comm.finish(end.code)
    return end.code


def _print_error(error: DpcnnError, rank: int) -> int:
    """Print the error's line on rank 0; return its exit code."""
    if rank == 0:
        line = " ".join(str(error).split())
        say(f"dpcnn: error: {line}", sys.stderr)
    return error.exit_code


@contextlib.contextmanager
def _silence(silent: bool) -> Iterator[None]:
    """Keep --help from being printed by every rank."""
    with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
        if silent:
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield
