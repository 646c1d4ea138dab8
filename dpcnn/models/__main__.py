"""The known networks, and what each comes to on images of some shape:

    python -m dpcnn.models                                        3x32x32 images of 10 classes
    python -m dpcnn.models --image_shape 1x28x28 --num_class 47   other ones

Prints for each network its parameters, the multiply-adds of a forward on one image, and about how
much memory a rank takes to train it. Nothing of that is allocated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from dpcnn.cli.arguments import CommandLine, image_sizes
from dpcnn.cli.job import Job, run
from dpcnn.errors import OptionError
from dpcnn.models.build import plan_network
from dpcnn.models.zoo import ZOO, zoo_layers
from dpcnn.options import OPTIONS, Options

SIZES = ("num_channel", "img_height", "img_width")
HEADINGS = ("network", "parameters", "multiply-adds", "memory")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda: _parse(arguments), _list)


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = CommandLine(
        prog="python -m dpcnn.models",
        description="List the known networks, for --model NAME: their parameters, the multiply-adds"
        " of a forward on one image, the memory of a rank that trains them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--image_shape",
        metavar="CxHxW",
        default="3x32x32",
        help="channels, height and width of the images (default: 3x32x32)",
    )
    parser.add_argument(
        "--num_class", metavar="N", default="10", help="number of classes (default: 10)"
    )
    parser.add_argument(
        "--microbatch_size", metavar="N", default="16", help="images at a time (default: 16)"
    )
    return _options(parser.parse_args(arguments))


def _options(arguments: argparse.Namespace) -> Options:
    """Return the options of training that the arguments stand for; raises OptionError."""
    texts = vars(arguments)
    shape = texts.pop("image_shape")
    if image_sizes(shape) is None:
        raise OptionError(f"--image_shape is {shape!r}, expected CxHxW such as 3x32x32")
    texts |= zip(SIZES, shape.split("x"), strict=True)
    values: dict[str, Any] = {name: OPTIONS[name].parse(text) for name, text in texts.items()}
    for name, value in values.items():
        if value is None:
            raise OptionError(f"--{name} is auto, expected a number")
    return Options(**values)


def _list(job: Job, options: Options) -> int:
    """Print the table."""
    job.check_alone()
    rows = [HEADINGS, *(_row(name, options) for name in ZOO)]
    for name, *columns in rows:
        if len(columns) == 1:
            print(f"{name:<15} {columns[0]}")
        else:
            parameters, products, memory = columns
            print(f"{name:<15} {parameters:>13} {products:>15} {memory:>11}")
    return 0


def _row(name: str, options: Options) -> tuple[str, ...]:
    """Return the columns of a network, or its name and why the images are not for it."""
    try:
        plan = plan_network(options, own=lambda options: zoo_layers(name, options))
    except OptionError as error:
        return name, str(error).rpartition(": ")[2]
    memory = plan.bytes_needed(options.microbatch_size or 1) / 2**20
    products = plan.root.multiply_adds()
    return name, f"{plan.parameter_count:,}", f"{products:,}", f"{memory:,.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())
