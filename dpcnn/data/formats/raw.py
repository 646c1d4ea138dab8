"""What a reader finds in the files of a dataset: arrays not yet read, and what to say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.shapes import ANY, NamedShape

Array = NDArray[Any]


class Source(Protocol):
    """An array (N, ...) that may be read a few rows at a time."""

    @property
    def shape(self) -> Any:
        """Its shape, with N first; None if the file says that it is empty."""

    @property
    def dtype(self) -> Any:
        """The type of its values."""

    def __getitem__(self, rows: Any) -> Any:
        """Return rows of it as an array."""


class Part(NamedTuple):
    """The images and labels of a training or a test set, and what the file calls them.

    location: the file and the offset at which the images lie as they would lie in memory, if they
    do. chunk: the rows that are read together.
    """

    x: Source
    y: Source
    x_name: str
    y_name: str
    location: tuple[Path, int] | None = None
    chunk: int = 1


def parts(arrays: Mapping[str, Source], names: Mapping[str, str]) -> tuple[Part, Part | None]:
    """Return the training set, and the test set if there is one, of arrays by their roles.

    names: what the files call them, by role: x_train, y_train, x_test, y_test.
    """
    train = Part(arrays["x_train"], arrays["y_train"], names["x_train"], names["y_train"])
    if "x_test" not in arrays:
        return train, None
    return train, Part(arrays["x_test"], arrays["y_test"], names["x_test"], names["y_test"])


@dataclass(frozen=True)
class Raw:
    """A dataset as its files have it.

    test: None where there is no test set. class_names: those of labels 0, 1, ..., if the files name
    them. layout: `chw` or `hwc` where the format says it. notes: what the reader has decided;
    warnings: what it could not read.
    """

    where: str
    train: Part
    test: Part | None
    class_names: tuple[str, ...] = ()
    layout: str | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What a user says of a dataset; None and ANY for what its files tell.

    shape: (C, H, W). layout: `auto`, `chw` or `hwc`. keys: the names of arrays or columns. size:
    (H, W) that pictures are brought to; grey: whether they lose their colours. test_fraction: the
    share of the images that becomes the test set where there is none, chosen by the seed.
    class_names: those of a trained network, to which labels with names are mapped. test_alone:
    images without a test set are all to test on.
    """

    shape: NamedShape = ANY
    num_class: int | None = None
    layout: str = "auto"
    keys: str | None = None
    size: tuple[int, int] | None = None
    grey: bool = False
    test_fraction: float | None = None
    seed: int = 0
    class_names: tuple[str, ...] = ()
    test_alone: bool = False


NOTHING = Wanted()


def rows(array: Any, first: int, last: int) -> Array:
    """Return some rows of a source as a NumPy array."""
    return np.asarray(array[first:last])
