"""Check your own layers: what they promise, and their gradients against central differences:

    python -m dpcnn.check my_module:build          for images of 1x28x28
    python -m dpcnn.check my_module:build --num_channel 3 --img_height 32 --img_width 32

The network is named as by --model of dpcnn.train. A line for each parameter and each layer's input
shows the derivative along a random direction, as backward gives it (analytic), and as a difference
of forward (numeric). First a micro-batch goes through the layers in float32: shapes other than
build has promised, gradients that are not written into the network's arrays, changed inputs and the
like are named. Exit code 0: all is right; 1: a layer is wrong, and the last line says which.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import dpcnn
from dpcnn.cli.arguments import CommandLine
from dpcnn.cli.job import Job, run
from dpcnn.models.user import import_network, users_code
from dpcnn.nn.gradient_check import Comparison, GradientError, compare_gradients
from dpcnn.options import OPTIONS, Options
from dpcnn.system.text import say

SIZES = {  # option: its default here, and its help
    "num_channel": (1, "channels per image"),
    "img_height": (28, "image height in pixels"),
    "img_width": (28, "image width in pixels"),
    "num_class": (10, "number of classes"),
    "microbatch_size": (3, "images that go through the network together"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda: _parse(arguments), _check)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.check",
        description="Compare the gradients of a network's layers with central differences.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        metavar="MODULE:FUNCTION",
        help="the function that returns the network's layers, or a network of the zoo",
    )
    for name, (default, text) in SIZES.items():
        parser.add_argument(
            f"--{name}",
            type=OPTIONS[name].parse,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    return parser.parse_args(arguments)


def _check(job: Job, arguments: argparse.Namespace) -> int:
    """Print a line for each gradient; raise GradientError that names the first wrong one."""
    job.check_alone()
    sizes: dict[str, Any] = {
        name: getattr(arguments, name) or default for name, (default, _) in SIZES.items()
    }
    options = Options(**sizes)
    layers = import_network(arguments.model)(options)
    with users_code("the network"):
        comparisons = compare_gradients(layers, options.image_shape, sizes["microbatch_size"])
    for line in _table(comparisons):
        say(line)
    wrong = [comparison for comparison in comparisons if not comparison.agrees]
    if wrong:
        raise GradientError(
            f"{len(wrong)} of {len(comparisons)} gradients differ from central differences;"
            f" the first is that of {wrong[0]}"
        )
    say(f"\n{len(comparisons)} gradients agree with central differences")
    return 0


def _table(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the lines of the table, with a heading."""
    width = max(len(comparison.name) for comparison in comparisons)
    lines = [f"{'gradient of':{width}}  {'analytic':>14}  {'numeric':>14}  difference"]
    for name, analytic, numeric, error in comparisons:
        lines.append(f"{name:{width}}  {analytic:14.7g}  {numeric:14.7g}  {error:10.1e}")
    return [
        line if comparison is None or comparison.agrees else f"{line}  WRONG"
        for line, comparison in zip(lines, [None, *comparisons], strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())

# As for dpcnn.train: dpcnn.check is a function.
sys.modules[__name__] = dpcnn.check  # type: ignore[assignment]
