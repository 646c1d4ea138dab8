"""Look at a dataset before training on it:

    python -m dpcnn.look PICTURES/                     what was found and decided, a few images
    python -m dpcnn.look data.npz --sheet sheet.png    and a sheet of images of each class

Prints the images of each class, the mean and the deviation of each channel, and how many images of
the test set are in the training set too.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.cli.arguments import CommandLine, add_options, chosen, file_path
from dpcnn.cli.job import Job, run
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.drawing import drawing
from dpcnn.data.formats import picture
from dpcnn.data.normalize import standard
from dpcnn.options import ABOUT_DATA
from dpcnn.system.text import one_line, say
from dpcnn.training.console import console
from dpcnn.training.datasets import open_dataset

Array = NDArray[Any]

ROWS = 40  # classes that are listed
COLUMNS = 10  # images of a class on the sheet
DRAWN = 3  # images that are drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda: _parse(arguments), _look)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.look",
        description="Say what a dataset holds and how it is read, and show some of its images.",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="DATAROOT", help="what --dataroot of training takes")
    parser.add_argument(
        "--sheet",
        type=file_path,
        metavar="FILE.png",
        help=f"also write the first {COLUMNS} images of each class there",
    )
    add_options(parser, ABOUT_DATA)
    return parser.parse_args(arguments)


def _look(job: Job, arguments: argparse.Namespace) -> int:
    job.check_alone()
    options = chosen(arguments, ABOUT_DATA, dataroot=arguments.source)
    dataset = open_dataset(options, job.comm, job.comm, console("none", 0))
    train, test = dataset.train, dataset.test
    say(f"dataset     {one_line(dataset.source)}")
    for note in dataset.notes:
        say(f"read as     {one_line(note)}")
    shape = " x ".join(map(str, train.shape))
    say(f"images      {len(train):,} to train on, {len(test):,} to test on, {shape}")
    say(f"kept as     {train.images.dtype}")
    statistics = standard(train.blocks())
    for number, (mean, std) in enumerate(zip(statistics.mean, statistics.std, strict=True)):
        say(f"channel {number}   mean {mean:.4f}, deviation {std:.4f}")
    say(f"duplicates  {duplicates(train, test):,} images to test on are to train on too")
    for line in ("", *_classes(dataset), ""):
        say(line)
    shown = np.arange(min(DRAWN, len(train)))
    for image, label in zip(train.rows(shown), train.labels[shown], strict=True):
        say(f"class {_name(dataset, int(label))}:")
        say("\n".join((*drawing(image), "")))
    if arguments.sheet is not None:
        picture.save(sheet(dataset), arguments.sheet)
        say(f"{one_line(arguments.sheet)}: a row of images of each class")
    return 0


def duplicates(train: Images, test: Images) -> int:
    """Return how many of the images to test on are to train on too, to the byte."""
    seen = set(_digests(train))
    return sum(digest in seen for digest in _digests(test))


def _digests(images: Images) -> Iterator[bytes]:
    for block in images.blocks():
        for image in block:
            yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _name(dataset: Dataset, label: int) -> str:
    return one_line(dataset.class_names[label]) if dataset.class_names else str(label)


def _classes(dataset: Dataset) -> Iterator[str]:
    """Yield a line a class: its images in both sets."""
    yield f"{'class':<24}  {'to train on':>11}  {'to test on':>10}"
    counts = [
        np.bincount(part.labels, minlength=dataset.classes)
        for part in (dataset.train, dataset.test)
    ]
    for label in range(min(ROWS, dataset.classes)):
        train, test = (int(count[label]) for count in counts)
        yield f"{_name(dataset, label):<24.24}  {train:>11,}  {test:>10,}"
    if dataset.classes > ROWS:
        yield f"and {dataset.classes - ROWS} more classes"


def sheet(dataset: Dataset) -> Array:
    """Return a picture (C, H, W) uint8 with the first images of each class in a row."""
    channels, height, width = dataset.train.shape
    kept = channels if channels == 3 else 1
    rows = min(ROWS, dataset.classes)
    picture_of_all = np.zeros((kept, rows * (height + 1), COLUMNS * (width + 1)), np.uint8)
    for label in range(rows):
        chosen_images = np.flatnonzero(dataset.train.labels == label)[:COLUMNS]
        for column, image in enumerate(dataset.train.rows(chosen_images)):
            pixels = image if image.dtype == np.uint8 else np.rint(image * 255)
            top, left = label * (height + 1), column * (width + 1)
            picture_of_all[:, top : top + height, left : left + width] = pixels[:kept]
    return picture_of_all


if __name__ == "__main__":
    sys.exit(main())
