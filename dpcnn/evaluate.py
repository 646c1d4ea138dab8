"""Evaluate a trained network:

    python -m dpcnn.evaluate runs/first                     on the test images it was trained with
    python -m dpcnn.evaluate CHECKPOINT PICTURES            a certain checkpoint, other images
    mpirun -n 4 python -m dpcnn.evaluate runs/first         on all ranks, to the same numbers

Prints loss, accuracy, the precision and recall of every class, and which classes are confused.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from dpcnn.api.evaluation import LIMITS, OF_EVALUATION, Wish, evaluate_run
from dpcnn.cli.arguments import CommandLine, add_best, add_model, file_path
from dpcnn.cli.job import Job, run
from dpcnn.errors import OptionError
from dpcnn.metrics.classification import confusion, mistakes, per_class
from dpcnn.metrics.tables import class_table, confusion_table, mistake_table
from dpcnn.models.user import import_network
from dpcnn.options import OPTIONS
from dpcnn.system.text import one_line, say
from dpcnn.training.console import bar_or_nothing

Array = NDArray[Any]
Facts = dict[str, Any]

MATRIX = 1000  # classes whose confusion matrix is written as JSON


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    return run(lambda: _parse(arguments), _evaluate)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.evaluate",
        description="Print the loss, the accuracy, the precision and recall of every class, and"
        " which classes are confused.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "path", type=file_path, metavar="RUN|CHECKPOINT", help="a run's directory, or a checkpoint"
    )
    parser.add_argument(
        "data",
        nargs="?",
        type=os.path.expanduser,
        metavar="DATA",
        help="other images: what training takes, such as a folder with a folder of pictures a class"
        " (default: the training's)",
    )
    parser.add_argument("--dataroot", type=os.path.expanduser, help="the same as DATA")
    parser.add_argument(
        "--keys",
        metavar="LIST",
        type=OPTIONS["keys"].parse,
        help="as for training, for the arrays or columns of --dataroot",
    )
    parser.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help="the set to evaluate on: test, or what the run has validated or trained on"
        " (default: test)",
    )
    for name in LIMITS:
        parser.add_argument(
            f"--{name}",
            metavar="N",
            type=OPTIONS[name].parse,
            help="use only the first N images of the set, or all (default: the training's)",
        )
    parser.add_argument(
        "--json",
        action="store_true",
        default=False,
        help="print one JSON object instead, with `mistakes` as [label, predicted, images];"
        f" `confusion` is null if there are more than {MATRIX:,} classes",
    )
    add_best(parser)
    add_model(parser)
    parsed = parser.parse_args(arguments)
    if "data" in parsed:
        if "dataroot" in parsed:
            raise OptionError(f"found {parsed.data} beside --dataroot, expected one or the other")
        parsed.dataroot = parsed.data
    return parsed


def _evaluate(job: Job, arguments: argparse.Namespace) -> int:
    """Load the checkpoint and the images, evaluate on all ranks, print on rank 0."""
    named = vars(arguments)
    chosen = {name: named[name] for name in (*OF_EVALUATION, "keys") if name in named}
    network = job.comm.on_all(lambda: import_network(arguments.model) if arguments.model else None)
    wish = Wish(
        *(arguments.path, arguments.best, arguments.split, network, chosen),
        progress=bar_or_nothing(),
    )
    evaluation = evaluate_run(job.comm, wish)
    if job.comm.rank == 0:
        print_out = _print_json if arguments.json else _print_tables
        names = tuple(map(one_line, evaluation.class_names))
        print_out(evaluation.facts, evaluation.labels, evaluation.predicted, names)
    return 0


def _print_json(facts: Facts, labels: Array, predicted: Array, names: Sequence[str]) -> None:
    """Print the facts and tables as one JSON object; what is undefined is null there."""
    classes = len(names)
    columns = [
        [None if math.isnan(each) else each for each in column.tolist()]
        for column in per_class(labels, predicted, classes)
    ]
    matrix = confusion(labels, predicted, classes).tolist() if classes <= MATRIX else None
    tables = {
        "classes": [
            dict(zip(("class", "name", "images", "precision", "recall", "f1"), row, strict=True))
            for row in zip(range(classes), names, *columns, strict=True)
        ],
        "confusion": matrix,
        "mistakes": mistakes(labels, predicted),
    }
    say(json.dumps(facts | tables))


def _print_tables(facts: Facts, labels: Array, predicted: Array, names: Sequence[str]) -> None:
    """Print the facts and tables for people."""
    named = () if [*names] == [*map(str, range(len(names)))] else names
    trained_on = facts["trained_on"]
    averaged = ", averaged weights" if facts["averaged"] else ""
    say(f"network   {one_line(facts['path'])}, step {facts['step']:,}{averaged}")
    if facts["tta"] != "none":
        say(f"copies    {facts['tta']}, as trained with --tta")
    say(f"dataset   {one_line(facts['dataset'])}, {facts['images']:,} {facts['split']} images")
    if facts["fingerprint"] != trained_on["fingerprint"]:
        say(f"          fingerprint {facts['fingerprint'][:16]}, trained on other data:")
        where, fingerprint = one_line(trained_on["source"]), one_line(trained_on["fingerprint"])
        say(f"          {where}, fingerprint {fingerprint[:16]}")
    right = round(facts["accuracy"] * facts["images"])
    say(f"loss      {facts['loss']:.4f}")
    say(f"accuracy  {facts['accuracy']:.4f} ({right:,} right)")
    matrix = confusion_table(labels, predicted, len(names))
    matrix = matrix or mistake_table(mistakes(labels, predicted), named)
    for line in ("", *class_table(per_class(labels, predicted, len(names)), named), "", *matrix):
        say(line)


if __name__ == "__main__":
    sys.exit(main())
