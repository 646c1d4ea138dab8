"""The dataset that a Python call passes: arrays, or an object that a reader has made."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from dpcnn.cli.arguments import parse_keywords
from dpcnn.data.dataset import Dataset, check
from dpcnn.data.formats import arrays
from dpcnn.data.formats.assemble import assemble
from dpcnn.data.formats.raw import Wanted
from dpcnn.data.sources import find
from dpcnn.errors import OptionError
from dpcnn.system.text import warn
from dpcnn.training.datasets import Read, wanted

# Options that say how files are read, and those that say how any dataset is.
OF_FILES = ("dataroot", "mirror", "keys", "size", "grey")
OF_READING = ("layout", "test_fraction", "num_class", "num_channel", "img_height", "img_width")


class Source(NamedTuple):
    """What reads the dataset, and the --dataroot that a run records."""

    read: Read
    dataroot: str


class Arrays(NamedTuple):
    """What a call passes: images, labels, those to test on, or a dataset in their place."""

    x: ArrayLike | None = None
    y: ArrayLike | None = None
    x_test: ArrayLike | None = None
    y_test: ArrayLike | None = None
    dataset: Dataset | None = None

    def source(self, named: Collection[str]) -> Source | None:
        """Return what reads them, None where the call passes none.

        named: the options of the call. Raises DataError, and OptionError for an option that does
        not go with arrays, or a dataset beside them.
        """
        *pairs, dataset = self
        if all(each is None for each in pairs):
            return None if dataset is None else _of_dataset(dataset, named)
        if dataset is not None:
            raise OptionError("found dataset= beside arrays, expected one or the other")
        _check_options("arrays", named, OF_FILES)
        return Source(partial(assemble, arrays.raw(*pairs)), find.ARRAYS)  # type: ignore[arg-type]


def _of_dataset(dataset: Dataset, named: Collection[str]) -> Source:
    if not isinstance(dataset, Dataset):
        raise OptionError(f"dataset= is {dataset!r:.200}, expected what dpcnn.read() returns")
    _check_options("dataset=", named, (*OF_FILES, *OF_READING))
    places = {find.DRAWN: find.DIGITS} | {
        path: path for path in [dataset.source] if os.path.exists(path)
    }

    def read(choice: Wanted, folder: Path | None) -> Dataset:
        return dataset

    return Source(read, places.get(dataset.source, find.ARRAYS))


def _check_options(what: str, named: Collection[str], others: tuple[str, ...]) -> None:
    refused = ", ".join(f"{name}=" for name in others if name in named)
    if refused:
        raise OptionError(f"found {refused} beside {what}, expected one or the other")


def read(dataroot: str | Path = "auto", **options: Any) -> Dataset:
    """Return a dataset as training reads it: for train(dataset=...), or to look at its arrays.

    dataroot: what `--dataroot` takes; options: those of training about the data, such as keys,
    size, test_fraction or train_limit. Its `train` and `test` have `images` (N, C, H, W), uint8 or
    float32 in [0, 1], and `labels` (N,). Raises DataError or OptionError.

    >>> import dpcnn
    >>> digits = dpcnn.read("digits", train_limit=1000)
    >>> digits.train.images.shape, digits.train.labels.shape
    ((1000, 1, 28, 28), (1000,))
    """
    parsed = parse_keywords({"dataroot": dataroot} | options).options
    root = find.resolve(parsed.dataroot, parsed.mirror, False, warn, fall_back=False)
    choice = wanted(parsed)
    dataset = find.load(root, choice).limited(parsed.train_limit, parsed.test_limit)
    check(dataset, choice.shape, world_size=1)
    return dataset
