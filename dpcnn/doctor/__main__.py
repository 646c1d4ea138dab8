"""Look for what is wrong before training finds it:

    python -m dpcnn.doctor                                 this machine
    mpirun -n 4 python -m dpcnn.doctor                     these ranks, however they are started
    mpirun -n 4 python -m dpcnn.doctor --run_dir runs/x    and where a run is to be kept

A line for each thing it has looked at: ok, warning, or failure, with the cure. Exit code 1 if
there is a failure. A warning is what trains well, but slower than it could, or without a promise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpcnn.cli.arguments import CommandLine
from dpcnn.cli.job import Job, run
from dpcnn.doctor import checks, directory, launch, speed
from dpcnn.doctor.facts import facts
from dpcnn.doctor.finding import FAILURE, WARNING, Finding
from dpcnn.errors import LaunchError, OptionError

Section = tuple[str, list[Finding]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    return run(lambda: _parse(arguments), _examine, _threads, _alone)


def _threads(options: argparse.Namespace) -> tuple[int | None, bool]:
    return options.threads, True


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.doctor",
        description="Look for what is wrong with the ranks, their hosts and what lies between"
        " them. Exit code 1 if something has to be mended.",
    )
    parser.add_argument(
        "--run_dir", type=Path, default=Path("runs"), help="where runs are kept (default: runs)"
    )
    parser.add_argument("--threads", type=int, help="BLAS threads of a rank (default: 1)")
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="seconds to wait for a rank (default: 60)"
    )
    options = parser.parse_args(arguments)
    if options.threads is not None and options.threads < 1:
        raise OptionError(f"--threads is {options.threads}, expected an integer from 1")
    if not options.timeout > 0:
        raise OptionError(f"--timeout is {options.timeout:g}, expected a number of seconds above 0")
    return options


def _examine(job: Job, options: argparse.Namespace) -> int:
    """Examine the ranks that have met."""
    job.comm.timeout = options.timeout
    return _tell(_sections(job, options, launch.met(job.comm)), job.comm.rank)


def _alone(job: Job, options: argparse.Namespace, error: LaunchError) -> int:
    """Examine rank 0 alone, because the ranks have not met."""
    return _tell(_sections(job, options, launch.unmet(error)), 0)


def _sections(job: Job, options: argparse.Namespace, met: list[Finding]) -> Iterator[Section]:
    """Yield the name of each thing and what was found; collective, in the order of trust."""
    comm = job.comm
    yield "MPI", met
    everyone = comm.allgather(facts(comm, job.threads))
    yield "ranks", checks.ranks(everyone)
    yield "packages", checks.packages(everyone)
    yield "CPU", checks.cpus(everyone)
    yield "cores", checks.cores(everyone)
    yield "BLAS", checks.blas(everyone)
    yield "shared memory", checks.shared_memory(everyone)
    yield "run directory", directory.directory(options.run_dir, comm)
    yield "allreduce", speed.allreduce(comm)
    yield "message", speed.message(comm)
    yield "step", speed.step(comm)


def _tell(sections: Iterator[Section], rank: int) -> int:
    """Print the findings on rank 0 as they come; return the exit code."""
    states = []
    for name, findings in sections:
        for finding in findings:
            states.append(finding.state)
            if rank == 0:
                print("\n".join(finding.lines(name)), flush=True)
    counts = [f"{states.count(state)} {state}s" for state in (FAILURE, WARNING)]
    if rank == 0:
        print(", ".join(counts), flush=True)
    return 1 if FAILURE in states else 0


if __name__ == "__main__":
    sys.exit(main())
