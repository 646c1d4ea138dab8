"""A run of training as a job of ranks: the command, and what a call from Python shares with it."""

from __future__ import annotations

from collections.abc import Sequence

from dpcnn.cli.arguments import Parsed, parse_arguments
from dpcnn.cli.job import Job, run
from dpcnn.system import streams
from dpcnn.training.dry_run import dry_run
from dpcnn.training.replay import replacement
from dpcnn.training.setup import NOTHING, Passed, Session, set_up

SETTING_UP = 60.0  # seconds that ranks may be apart at the start, however soon one hangs later


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    streams.secure("training goes on")
    return run(lambda: parse_arguments(arguments), _train, threads, timeout=timeout)


def threads(parsed: Parsed) -> tuple[int | None, bool]:
    """Return the BLAS threads that are asked for, and whether the reduction needs one."""
    return parsed.options.threads, parsed.options.reduce == "exact"


def timeout(parsed: Parsed) -> float:
    """Return how long to wait for a rank until training begins, when --timeout itself holds."""
    return max(parsed.options.timeout, SETTING_UP)


def begin(job: Job, parsed: Parsed, passed: Passed = NOTHING) -> Session:
    """Return the session; from now on the run directory keeps errors and the end."""
    debug(job, parsed)
    if job.comm.replacement:
        session = replacement(job.comm)
    else:
        session = set_up(parsed.options, parsed.named, job.comm, job.threads, passed)
    job.keep_error = session.directory.write_error
    job.record = session.end
    return session


def debug(job: Job, parsed: Parsed) -> None:
    """Let errors be raised if --debug asks for it, which is for one process.

    Raises LaunchError, on all ranks, if there are several.
    """
    if parsed.options.debug:
        job.check_alone("--debug")
        job.raises = True


def _train(job: Job, parsed: Parsed) -> int:
    if parsed.options.dry_run:
        debug(job, parsed)
        return dry_run(job, parsed).exit_code
    return begin(job, parsed).trainer.run()
