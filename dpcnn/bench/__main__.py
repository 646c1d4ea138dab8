"""Measure this machine:

    python -m dpcnn.bench                    1 to n ranks, exact and fast reduction
    python -m dpcnn.bench --against torch    and PyTorch on the same cores
    python -m dpcnn.bench --predict 1024     predictions for more ranks than this machine has cores

Every round measures each configuration once, in turn and in a new process, so that a machine whose
speed changes affects all of them alike. Figures are medians over the rounds; ratios are medians of
the ratios within each round. It starts mpirun itself.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from dpcnn.bench import comparison, prediction
from dpcnn.bench.rounds import measure, write_json
from dpcnn.cli.arguments import CommandLine
from dpcnn.errors import DpcnnError, OptionError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        options = _parse(arguments)
        plan = comparison if options.predict is None else prediction
        configurations = plan.configurations(options, _mpirun())
        rounds = measure(configurations, options.rounds)
    except DpcnnError as error:
        print(f"dpcnn: error: {error}", file=sys.stderr)
        return error.exit_code
    for line in plan.table(configurations, rounds, options):
        print(line)
    if options.json:
        write_json(options.json, configurations, rounds)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.bench", description="Measure how fast dpcnn trains on this machine."
    )
    cores = prediction.cores_here()
    parser.add_argument(
        "--ranks",
        type=int,
        default=cores,
        help=f"measure 1 to N ranks (default: {cores})",
        metavar="N",
    )
    parser.add_argument(
        "--minibatch", type=int, nargs="+", default=[64, 256], metavar="N",
        help="images per step (default: 64 256)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds",
        type=int,
        default=7,
        metavar="N",
        help="measurements per configuration (default: 7)",
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="steps per measurement (default: about a second)"
    )
    parser.add_argument(
        "--dataroot", default="digits", help="an HDF5 file, or digits (the default)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all measurements to this file"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--against", choices=["torch"], help="measure PyTorch too")
    mode.add_argument(
        "--predict", type=int, metavar="N",
        help="predict the time of a step with minibatch N on 1 to --ranks ranks here, compare it"
        " with measurements, and find the best number of ranks on several such machines",
    )  # fmt: skip
    parser.add_argument(
        "--latency", type=float, metavar="US",
        help="latency of a message between those machines in microseconds; `mpirun -n 2 python"
        " -m dpcnn.doctor` measures it between two hosts (default: as between ranks here)",
    )  # fmt: skip
    parser.add_argument(
        "--bandwidth",
        type=float,
        metavar="GB/S",
        help="bandwidth between those machines, measured the same way",
    )
    parser.add_argument(
        "--cores",
        type=int,
        default=cores,
        metavar="N",
        help=f"cores per machine (default: {cores})",
    )
    options = parser.parse_args(arguments)
    _check(options)
    return options


def _check(options: argparse.Namespace) -> None:
    """Raise OptionError if an option is out of range or PyTorch is missing."""
    for name in ("ranks", "rounds", "steps", "cores"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise OptionError(f"--{name} is {value}, expected an integer from 1")
    for name in ("latency", "bandwidth"):
        if (value := getattr(options, name)) is not None and not 0 < value < math.inf:
            raise OptionError(f"--{name} is {value:g}, expected a number above 0")
    least = max(prediction.MICROBATCH, options.ranks)
    if options.predict is not None and options.predict < least:
        raise OptionError(
            f"--predict is {options.predict}, expected {least} images or more: at least one"
            " micro-batch, and one image per rank"
        )
    if options.predict is None and min(options.minibatch) < options.ranks:
        raise OptionError(
            f"--minibatch is {min(options.minibatch)}, expected {options.ranks} or more: one image"
            " per rank"
        )
    if options.against and importlib.util.find_spec("torch") is None:
        raise OptionError("--against torch needs the package torch: pip install 'dpcnn[torch]'")


def _mpirun() -> str | None:
    """Return the mpirun of this environment, else the one on the PATH."""
    beside = Path(sys.executable).with_name("mpirun")
    return str(beside) if beside.exists() else shutil.which("mpirun")


if __name__ == "__main__":
    sys.exit(main())
