"""Look for what is wrong before training finds it:

    python -m dpcnn.doctor                                 this machine
    mpirun -n 4 python -m dpcnn.doctor                     these ranks, however they are started
    mpirun -n 4 python -m dpcnn.doctor --run_dir runs/x    and where a run is to be kept
    mpirun -n 4 python -m dpcnn.doctor --json              for programs

Prints a line for each check: ok, warning, or failure, with the cure. A warning is what trains,
but slower than it could, or without one of the promises. Exits with 1 if there is a failure.
With --json it prints one object: the findings, the numbers of failures and warnings, and what each
rank has (see inventory.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpcnn.cli.arguments import CommandLine, file_path
from dpcnn.cli.job import Job, run
from dpcnn.doctor import checks, mpi, speed
from dpcnn.doctor.clocks import clocks
from dpcnn.doctor.directory import run_directory
from dpcnn.doctor.finding import FAILURE, WARNING, Finding
from dpcnn.doctor.inventory import Inventory, inventory
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
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of lines"
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
    return _report(job, options, mpi.connected(job.comm))


def _examine_alone(job: Job, options: argparse.Namespace, error: LaunchError) -> int:
    """Examine rank 0 alone, because the ranks could not connect."""
    return _report(job, options, mpi.unconnected(error))


def _report(job: Job, options: argparse.Namespace, launch: list[Finding]) -> int:
    """Make all checks, and print the findings on rank 0 as they come; return the exit code."""
    ranks: list[Inventory] = []
    found = []
    for name, findings in _sections(job, options, launch, ranks):
        for finding in findings:
            found.append({"check": name, **finding._asdict()})
            if job.comm.rank == 0 and not options.json:
                say("\n".join(finding.lines(name)))
    states = [each["state"] for each in found]
    counts = {f"{state}s": states.count(state) for state in (FAILURE, WARNING)}
    if job.comm.rank == 0 and options.json:
        say(json.dumps({**counts, "findings": found, "ranks": ranks}))
    elif job.comm.rank == 0:
        say(", ".join(f"{count} {name}" for name, count in counts.items()))
    return 1 if FAILURE in states else 0


def _sections(
    job: Job, options: argparse.Namespace, launch: list[Finding], ranks: list[Inventory]
) -> Iterator[tuple[str, list[Finding]]]:
    """Yield the name and the findings of each check, and fill in what each rank has; collective.

    What a check relies on was checked before it.
    """
    comm = job.comm
    yield "MPI", launch
    ranks += comm.allgather(inventory(comm, job.threads))
    yield "ranks", checks.placement(ranks)
    yield "packages", checks.packages(ranks)
    yield "CPU", checks.cpus(ranks)
    yield "cores", checks.cores(ranks)
    yield "NUMA", checks.numa(ranks)
    yield "BLAS", checks.blas(ranks)
    yield "shared memory", checks.shared_memory(ranks)
    yield "limits", checks.limits(ranks)
    yield "clocks", clocks(comm)
    yield "run directory", run_directory(options.run_dir, comm)
    yield "allreduce", speed.allreduce(comm)
    yield "message", speed.message(comm)
    yield "step", speed.step(comm)


if __name__ == "__main__":
    sys.exit(main())
