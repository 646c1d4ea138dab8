"""Verify a run: compute an epoch again and compare the weights with the recorded ones.

    python -m dpcnn.verify RUN                  the newest epoch
    python -m dpcnn.verify RUN --epoch K        epoch K
    python -m dpcnn.verify RUN --all            every epoch, from the initial weights on
    mpirun -n 4 python -m dpcnn.verify RUN      on any number of ranks

A run is a function of its options, its data and its seed. Agreement proves that the result is what
the options say; a difference points to a changed file, faulty memory, another library or another
kind of CPU. Exit code 0: the same bits; 1: not the same; 2: nothing here can be verified.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from dpcnn.api.verification import verify_run
from dpcnn.cli.arguments import CommandLine, add_model, file_path
from dpcnn.cli.job import Job, run
from dpcnn.training.console import console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    return run(lambda: _parse(arguments), _verify)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.verify",
        description="Recompute epochs of a run and compare the weights bit by bit.",
    )
    parser.add_argument(
        "run", type=file_path, metavar="RUN", help="run directory, such as runs/NAME"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--epoch", type=int, metavar="K", help="epoch K (default: the newest)")
    which.add_argument("--all", action="store_true", help="every epoch, from the initial weights")
    parser.add_argument(
        "--dataroot",
        type=os.path.expanduser,
        help="where the dataset is now (default: where it was)",
    )
    add_model(parser)
    return parser.parse_args(arguments)


def _verify(job: Job, options: argparse.Namespace) -> int:
    """Replay from the newest checkpoint before the first epoch in question; compare, tell."""
    out = console("none", job.comm.rank)
    first_epoch = 1 if options.all else options.epoch
    network = options.model
    count = verify_run(
        job.comm, options.run, first_epoch, options.epoch, options.dataroot, network, out.line
    )
    out.line(f"{count:,} step{'s' * (count != 1)} verified")
    return 0


if __name__ == "__main__":
    sys.exit(main())
