"""Export a trained network for other programs:

    python -m dpcnn.export runs/first digits.onnx    a graph that ONNX runtimes run
    python -m dpcnn.export runs/first digits.npz     its parameters as plain arrays

The ONNX graph takes `images` (N, C, H, W), float32 from 0 to 1, any N, and gives `logits` and
`probabilities`. The .npz file holds an array for each parameter, such as `dense1/W`. Both carry
the network's description, the dataset, the names of the classes, the accuracy and the SHA-256 of
the weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dpcnn.api.exporting import check_name, write
from dpcnn.cli.arguments import CommandLine, add_best, add_model, file_path
from dpcnn.cli.job import Job, run
from dpcnn.inference.model import load
from dpcnn.models.user import import_network
from dpcnn.system.text import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda: _parse(arguments), _export)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.export",
        description="Write a trained network as ONNX (pip install dpcnn[onnx]) or .npz.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "path", type=file_path, metavar="RUN|CHECKPOINT", help="the trained network"
    )
    parser.add_argument(
        "out", type=file_path, metavar="OUT", help="the file: NAME.onnx or NAME.npz"
    )
    add_best(parser)
    add_model(parser)
    options = parser.parse_args(arguments)
    check_name(options.out)
    return options


def _export(job: Job, arguments: argparse.Namespace) -> int:
    """Write the file whole, or leave what is there."""
    job.check_alone()
    out = arguments.out
    network = import_network(arguments.model) if arguments.model else None
    size = write(load(arguments.path, network, arguments.best), out)
    say(f"{out}: {size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
