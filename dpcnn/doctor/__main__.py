"""Look for what is wrong before training finds it:

    python -m dpcnn.doctor                                 this machine
    mpirun -n 4 python -m dpcnn.doctor                     these ranks, however they are started
    mpirun -n 4 python -m dpcnn.doctor --run_dir runs/x    and where a run is to be kept

Prints a line for each check: ok, warning, or failure, with the cure. A warning is what trains,
but slower than it could, or without one of the promises. Exits with 1 if there is a failure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpcnn.cli.arguments import CommandLine, file_path
from dpcnn.cli.job import Job, run
from dpcnn.doctor import checks, mpi, speed
from dpcnn.doctor.directory import run_directory
from dpcnn.doctor.finding import FAILURE, WARNING, Finding
from dpcnn.doctor.inventory import inventory
from dpcnn.errors import LaunchError, OptionError
from dpcnn.system.text import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    return run(lambda: _parse(arguments), _examine, _threads, _examine_alone)


def _threads(options: argparse.Namespace) -> tuple[int | None, bool]:
    return options.threads, True


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.doctor",
        description="Look for what is wrong with the ranks, their hosts and the network between"
        " them. Exits with 1 if something must be fixed.",
    )
    parser.add_argument(
        "--run_dir",
        type=file_path,
        default=Path("runs"),
        help="where runs are kept (default: runs)",
    )
    parser.add_argument("--threads", type=int, help="BLAS threads per rank (default: 1)")
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
    """Examine the ranks, which have connected."""
    job.comm.timeout = options.timeout
    return _print(_sections(job, options, mpi.connected(job.comm)), job.comm.rank)


def _examine_alone(job: Job, options: argparse.Namespace, error: LaunchError) -> int:
    """Examine rank 0 alone, because the ranks could not connect."""
    return _print(_sections(job, options, mpi.unconnected(error)), 0)


def _sections(
    job: Job, options: argparse.Namespace, launch: list[Finding]
) -> Iterator[tuple[str, list[Finding]]]:
    """Yield the name and the findings of each check; collective.

    What a check relies on was checked before it.
    """
    comm = job.comm
    yield "MPI", launch
    ranks = comm.allgather(inventory(comm, job.threads))
    yield "ranks", checks.placement(ranks)
    yield "packages", checks.packages(ranks)
    yield "CPU", checks.cpus(ranks)
    yield "cores", checks.cores(ranks)
    yield "BLAS", checks.blas(ranks)
    yield "shared memory", checks.shared_memory(ranks)
    yield "run directory", run_directory(options.run_dir, comm)
    yield "allreduce", speed.allreduce(comm)
    yield "message", speed.message(comm)
    yield "step", speed.step(comm)


def _print(sections: Iterator[tuple[str, list[Finding]]], rank: int) -> int:
    """Print the findings on rank 0 as they come; return the exit code."""
    states = []
    for name, findings in sections:
        for finding in findings:
            states.append(finding.state)
            if rank == 0:
                say("\n".join(finding.lines(name)))
    counts = (f"{states.count(state)} {state}s" for state in (FAILURE, WARNING))
    if rank == 0:
        say(", ".join(counts))
    return 1 if FAILURE in states else 0


if __name__ == "__main__":
    sys.exit(main())
