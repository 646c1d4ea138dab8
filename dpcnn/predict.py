"""Predict the classes of images with a trained network:

    python -m dpcnn.predict runs/first digit.png                  name, class, probability
    python -m dpcnn.predict runs/first --show digit.jpg           and what the network sees
    python -m dpcnn.predict runs/first --json FOLDER images.npy   a JSON object an image

A photo or scan of a digit is brought to the form of MNIST's images first. A file that cannot be
read is named, the others go on, and the exit code is 1 at the end.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dpcnn.api.prediction import Answer, answers, preparation
from dpcnn.cli.arguments import CommandLine, add_best, add_model, file_path
from dpcnn.cli.job import Job, run
from dpcnn.data.drawing import drawing
from dpcnn.data.formats.image_files import LeftOut, walk
from dpcnn.errors import DataError
from dpcnn.inference.model import Model, load
from dpcnn.models.user import import_network
from dpcnn.system.text import in_one_line, say

BEST = 3  # classes that --show tells
PREPARED = {
    "digit": "the digit is found, made light on dark, scaled and centred",
    "resize": "scaled, and cropped to the middle",
    "none": "taken as they are",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda: _parse(arguments), _predict)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.predict",
        description="Print the class of each image and its probability.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "path", type=file_path, metavar="RUN|CHECKPOINT", help="the trained network"
    )
    parser.add_argument(
        "files",
        type=file_path,
        nargs="+",
        metavar="FILE",
        help="a picture (pip install dpcnn[images]), .npy, .npz, HDF5, IDX, CSV, or a folder of"
        " these",
    )
    parser.add_argument(
        "--prepare",
        choices=("auto", "digit", "resize", "none"),
        default="auto",
        help="digit: find the digit in a picture and make it light on dark, scaled and centred like"
        " MNIST's; resize: only scale the picture; none: it has the size; auto: digit for a network"
        " trained on MNIST or the built-in digits, otherwise resize",
    )
    parser.add_argument(
        "--array",
        metavar="NAME",
        help="the array of an HDF5 file, such as group/images, or of .npz (default: x_test, or the"
        " only one that fits)",
    )
    parser.add_argument(
        "--keys",
        metavar="LIST",
        help="y=NAME, y=first or y=last: the column of a CSV file that holds labels",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--show", action="store_true", help="draw each image and list the most probable classes"
    )
    form.add_argument("--json", action="store_true", help="print a JSON object per image")
    add_best(parser)
    add_model(parser)
    return parser.parse_args(arguments)


def _predict(job: Job, arguments: argparse.Namespace) -> int:
    """Answer for each image of each file in turn; return 1 if one could not be read."""
    job.check_alone()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may stop, as head does
    network = import_network(arguments.model) if arguments.model else None
    model = load(arguments.path, network, arguments.best)
    print_out = _print_json if arguments.json else _print_drawing if arguments.show else _print_line
    prepare = preparation(model, arguments.prepare)
    say(f"pictures are prepared by {prepare}: {PREPARED[prepare]}", sys.stderr)
    code = 0
    for file in arguments.files:
        left_out = LeftOut()
        try:
            for path in walk(file, left_out):
                code |= _answer(model, path, arguments, print_out)
            if left_out.counts:
                say(in_one_line(f"{file}: left out {left_out}"), sys.stderr)
        except DataError as error:
            code |= _complain(error)
    return code


def _answer(
    model: Model, path: Path, arguments: argparse.Namespace, print_out: Callable[[Answer], None]
) -> int:
    """Print the answer for each image of a file; return 1, told in a line, if that cannot be."""
    try:
        for answer in answers(model, path, arguments.array, arguments.prepare, arguments.keys):
            print_out(answer)
    except DataError as error:
        return _complain(error)
    return 0


def _complain(error: DataError) -> int:
    line = " ".join(str(error).split())
    say(f"dpcnn: error: {line}", sys.stderr)
    return 1


def _print_line(answer: Answer) -> None:
    say(f"{_name(answer)}\t{answer.name}\t{answer.probability:.4f}", flush=False)


def _print_json(answer: Answer) -> None:
    index = {} if answer.index is None else {"index": answer.index}
    found = {
        "file": str(answer.file),
        **index,
        "class": answer.label,
        "name": answer.name,
        "probability": answer.probability,
        "probabilities": answer.probabilities.tolist(),
    }
    say(json.dumps(found), flush=False)


def _print_drawing(answer: Answer) -> None:
    best = (-answer.probabilities).argsort(kind="stable")[:BEST]
    words = ", ".join(f"{answer.names[n]} ({answer.probabilities[n]:.4f})" for n in best)
    say("\n".join((f"{_name(answer)}: {words}", *drawing(answer.image), "")), flush=False)


def _name(answer: Answer) -> str:
    """Return the name of an image, in one line."""
    text = str(answer.file) + ("" if answer.index is None else f"[{answer.index}]")
    return in_one_line(text)


if __name__ == "__main__":
    sys.exit(main())
