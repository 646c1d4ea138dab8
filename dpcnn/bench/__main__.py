"""Measure this machine:

    python -m dpcnn.bench                      1 to n ranks, exact and fast reduction
    python -m dpcnn.bench --model resnet20     another network than the tutorial's, or your own
    python -m dpcnn.bench --against torch      and PyTorch on the same cores, at its best
    python -m dpcnn.bench --standard           four networks against PyTorch: the README's table
    python -m dpcnn.bench --layers             the time of each layer, forward and backward
    python -m dpcnn.bench --predict 1024       predictions for more ranks than there are cores

Every round measures each configuration once, in turn and in a new process, so that a machine whose
speed changes affects all of them alike. Figures are medians over the rounds; ratios are medians of
the ratios within each round. It starts mpirun itself.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Sequence
from typing import Any

from dpcnn.bench import comparison, layers, prediction, standard
from dpcnn.bench.rounds import measure, write_json
from dpcnn.bench.variants import AVX2, held_to
from dpcnn.cli.arguments import CommandLine, file_path
from dpcnn.errors import DpcnnError, OptionError
from dpcnn.models.zoo import TUTORIAL
from dpcnn.parallel.launcher import find_mpirun


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        options = _parse(arguments)
        mode = _mode(options)
        configurations = mode.configurations(options, find_mpirun())
        measurements = measure(configurations, options.rounds, held_to(options.isa))
    except DpcnnError as error:
        print(f"dpcnn: error: {error}", file=sys.stderr)
        return error.exit_code
    for line in mode.table(measurements, options):
        print(line)
    if options.json:
        write_json(options.json, measurements)
    return 0


def _mode(options: argparse.Namespace) -> Any:
    """Return the module that says what to measure, and makes the table."""
    if options.predict is not None:
        return prediction
    return layers if options.layers else standard if options.standard else comparison


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
        "--steps",
        type=int,
        metavar="N",
        help="steps per measurement (default: as many as take 0.6 seconds, at least 2)",
    )
    parser.add_argument(
        "--model",
        default=TUTORIAL,
        metavar="NAME|MODULE:FUNCTION",
        help="a known network (python -m dpcnn.models lists them) or your own, as for training"
        f" (default: {TUTORIAL})",
    )
    parser.add_argument(
        "--dataroot",
        default="digits",
        help="an HDF5 file, digits (the default), or CxHxW such as 3x32x32: random images of that"
        " shape, which take as long",
    )
    parser.add_argument(
        "--isa",
        choices=[AVX2],
        help="hold NumPy, OpenBLAS and PyTorch to this instruction set, by variables of the"
        " environment",
    )
    parser.add_argument(
        "--json", type=file_path, metavar="FILE", help="write all measurements to this file"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--against",
        choices=["torch"],
        help="measure the same network in PyTorch too: one thread, threads and"
        " DistributedDataParallel, each in both layouts of images and with glibc's allocator as it"
        " is and tuned; the best counts",
    )
    mode.add_argument(
        "--standard",
        action="store_true",
        help="measure four networks against PyTorch: the README's table, in about 7 minutes",
    )
    mode.add_argument(
        "--layers", action="store_true", help="measure each layer, forward and backward"
    )
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
    for name in ("model", "dataroot", "minibatch") if options.standard else ():
        if getattr(options, name) != parser.get_default(name):
            raise OptionError(f"found --{name} beside --standard, which measures its own networks")
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
    if options.predict is not None and options.model != TUTORIAL:
        raise OptionError(f"--predict is for the tutorial's network, found --model {options.model}")
    if (options.against or options.standard) and importlib.util.find_spec("torch") is None:
        option = "--standard" if options.standard else "--against torch"
        raise OptionError(f"{option} needs the package torch: pip install 'dpcnn[torch]'")


if __name__ == "__main__":
    sys.exit(main())
