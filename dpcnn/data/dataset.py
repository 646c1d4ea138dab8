"""Labelled images: kept as uint8 or float32, loaded as batches (C, H, W, N) of float32.

Images are kept as (N, C, H, W), the layout of files. If every value is k/255 they are kept as the
uint8 k, which takes a quarter of the memory, and divided when they are loaded. Images know how they
are normalised, so that nothing can be trained or evaluated on others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.data.disk_array import StoredArray
from dpcnn.data.normalize import NONE, Normalization
from dpcnn.data.sampler import Indices
from dpcnn.data.shapes import NamedShape, agrees, image_forms, in_options
from dpcnn.errors import DataError

Array = NDArray[Any]

ROUNDING = 1e-6  # floats that are so far beyond [0, 1] are clipped
BLOCK = 1 << 24  # bytes of a stored array to have in memory at a time


@dataclass(frozen=True)
class Images:
    """A set of images (N, C, H, W), uint8 or float32 in [0, 1], and labels (N,), uint8 or wider.

    The labels are in memory. The images are too, or stay on a disk and are read when asked for.
    chosen: the rows of `images` that the labels are of; None for all, in their order.
    normalization: what is done to them when they are loaded.
    """

    images: Array | StoredArray
    labels: Array
    chosen: Indices | None = None
    normalization: Normalization = NONE

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def streamed(self) -> bool:
        """Whether the images stay on a disk."""
        return isinstance(self.images, StoredArray)

    def first(self, count: int | None) -> Images:
        """Return the first `count` images, or all of them for None."""
        if self.chosen is not None:
            return self.subset(np.arange(len(self))[:count])
        return replace(self, images=self.images[:count], labels=self.labels[:count])

    def subset(self, indices: Indices) -> Images:
        """Return some of the images; no pixel is copied."""
        chosen = indices if self.chosen is None else self.chosen[indices]
        return replace(self, labels=self.labels[indices], chosen=chosen)

    def rows(self, indices: Indices) -> Array:
        """Return the images of these numbers as they are kept, (n, C, H, W)."""
        rows: Array = self.images[indices if self.chosen is None else self.chosen[indices]]
        return rows

    def load(self, indices: Indices, dtype: DTypeLike = np.float32) -> Array:
        """Return the chosen images as a batch (C, H, W, N), normalised."""
        return as_batch(self.rows(indices), dtype, self.normalization)

    def blocks(self) -> Iterator[Array]:
        """Yield all images as they are kept, in blocks (n, C, H, W), for a pass over them."""
        row = prod(self.shape) * self.images.dtype.itemsize
        count = max(1, BLOCK // row)
        for first in range(0, len(self), count):
            yield self.rows(np.arange(first, min(first + count, len(self))))


def as_batch(images: Array, dtype: DTypeLike, normalization: Normalization = NONE) -> Array:
    """Return images (N, C, H, W), uint8 or float, as a batch (C, H, W, N), normalised.

    Without a normalisation it is in [0, 1]. The batch becomes innermost, contiguous.
    """
    count, channels, height, width = images.shape
    x = np.empty((channels, height, width, count), dtype)
    pixels = images.transpose(1, 2, 3, 0)
    if images.dtype != np.uint8:
        np.copyto(x, pixels)
        normalization.apply(x)
    elif normalization.kind == "standard":  # one multiplication and addition from uint8
        scale, offset = normalization.constants(x.dtype, largest=255)
        np.multiply(pixels, scale, out=x)
        x += offset
    else:
        np.divide(pixels, x.dtype.type(255), out=x)
        normalization.apply(x)
    return x


@dataclass(frozen=True)
class Dataset:
    """A training and a test set, and a line for people about where they came from.

    classes: how many there are, as named, or the largest label of the whole training set + 1; a
    few images of it may have fewer.
    validation: what is set apart of the training set (split.py), if anything. class_names: those of
    classes 0, 1, ..., empty if they have none. notes: what reading the dataset has decided;
    warnings: what of it may well be wrong.
    """

    train: Images
    test: Images
    source: str
    classes: int
    validation: Images | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def limited(self, train: int | None, test: int | None) -> Dataset:
        """Return a dataset of the first images of each set only; None: all of them."""
        return replace(self, train=self.train.first(train), test=self.test.first(test))

    def validated(self, chosen: Indices) -> Dataset:
        """Return a dataset whose chosen training images are its validation set."""
        trained = np.delete(np.arange(len(self.train)), chosen)
        return replace(self, train=self.train.subset(trained), validation=self.train.subset(chosen))

    def evaluated(self) -> dict[str, Images]:
        """Return the sets that are not trained on by their names: test, and validation if any."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"test": self.test, **validation}

    def normalized(self, normalization: Normalization) -> Dataset:
        """Return a dataset whose images are loaded with this normalisation."""
        train = replace(self.train, normalization=normalization)
        test = replace(self.test, normalization=normalization)
        validation = self.validation
        if validation is not None:
            validation = replace(validation, normalization=normalization)
        return replace(self, train=train, test=test, validation=validation)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the types, shapes and contents of all four arrays."""
        digest = hashlib.sha256()
        for array in self.arrays():
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            rows = max(1, BLOCK * len(array) // max(1, array.nbytes))
            for first in range(0, len(array), rows):
                digest.update(np.ascontiguousarray(array[first : first + rows]).data)
        return digest.hexdigest()

    def arrays(self) -> tuple[Array | StoredArray, Array, Array | StoredArray, Array]:
        """Return training images and labels, then test images and labels."""
        assert self.validation is None, "the arrays are those of the whole training set"
        return self.train.images, self.train.labels, self.test.images, self.test.labels


@dataclass(frozen=True)
class Mapped:
    """The arrays of a dataset in one file, which the processes of a node map read-only."""

    path: str
    arrays: tuple[tuple[int, tuple[int, ...], str], ...]  # offset, shape, dtype of each
    source: str
    classes: int
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    def open(self) -> Dataset:
        """Return the dataset, its arrays mapped: processes that do share the same pages."""
        x_train, y_train, x_test, y_test = (
            np.memmap(self.path, np.dtype(dtype), "r", offset, shape)
            for offset, shape, dtype in self.arrays
        )
        train, test = Images(x_train, y_train), Images(x_test, y_test)
        return Dataset(
            train, test, self.source, self.classes, class_names=self.class_names, notes=self.notes
        )


def write_mapped(dataset: Dataset, path: Path) -> Mapped:
    """Write the arrays one after another into the file `path`, for other ranks to open.

    A file rather than an MPI window: it outlives the death of a rank, needs nothing from the MPI
    library and does not count against a container's small /dev/shm. Once every rank has it open
    it may be unlinked; the pages are freed when the last process ends.
    """
    arrays = []
    with path.open("wb") as file:
        for array in dataset.arrays():
            file.seek(-file.tell() % array.dtype.itemsize, 1)
            arrays.append((file.tell(), array.shape, array.dtype.str))
            np.ascontiguousarray(array).tofile(file)
    facts = dataset.source, dataset.classes, dataset.class_names, dataset.notes
    return Mapped(str(path), tuple(arrays), *facts)


def as_images(array: Array, shape: tuple[int, int, int]) -> Array:
    """Return an array of images in any of the forms as (N, C, H, W), uint8 or float32.

    shape: (C, H, W). Images (N, H, W, C) are recognised unless they may be (N, C, H, W) as well,
    and bools are black and white. Raises DataError for other shapes and types, and for floats
    outside [0, 1], but for rounding.
    """
    forms = image_forms(shape)
    if array.ndim == 4 and array.shape[1:] == (*shape[1:], shape[0]) != shape:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim == 0 or array.shape[1:] not in forms:
        expected = " or ".join(str(("N", *form)).replace("'", "") for form in forms)
        raise DataError(f"images have shape {array.shape}, expected {expected}")
    if array.dtype != np.uint8 and array.dtype.kind not in "fb":
        raise DataError(f"images hold {array.dtype}, expected uint8 or floats in [0, 1]")
    if array.dtype != np.uint8:
        array = array.astype(np.float32, copy=False)
        low, high = array.min(initial=0), array.max(initial=0)
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            raise DataError(
                f"images hold values from {array.min():.7g} to {array.max():.7g}, expected uint8 or"
                " floats in [0, 1]"
            )
        if low < 0 or high > 1:
            array = array.clip(0, 1)
    return array.reshape(-1, *shape)


def check(dataset: Dataset, named: NamedShape, world_size: int) -> None:
    """Raise DataError unless the dataset is of one piece, as named, and enough for the ranks."""
    for name, part in (("train", dataset.train), ("test", dataset.test)):
        if len(part) == 0:
            raise DataError(f"{dataset.source}: x_{name} is empty, expected at least one image")
        if not agrees(part.shape, named):
            raise DataError(
                f"{dataset.source}: images are {by(part.shape)} (channels x height x width),"
                f" expected {in_options(named)}"
            )
        if part.shape != dataset.train.shape:
            raise DataError(
                f"{dataset.source}: images of x_{name} are {by(part.shape)}, expected"
                f" {by(dataset.train.shape)} as in x_train"
            )
        largest = int(part.labels.max())
        if largest >= dataset.classes:
            raise DataError(
                f"{dataset.source}: y_{name} holds label {largest}, expected"
                f" 0..{dataset.classes - 1} (--num_class {dataset.classes})"
            )
    if len(dataset.train) < world_size:
        raise DataError(
            f"{dataset.source}: {len(dataset.train)} training images for {world_size} ranks,"
            " expected at least one for each rank: start fewer ranks"
        )


def check_classes(dataset: Dataset) -> None:
    """Raise DataError if all images to train on are of one class: there is nothing to learn."""
    labels = dataset.train.labels
    if len(labels) and labels.min() == labels.max():
        raise DataError(
            f"{dataset.source}: all images to train on are of class {labels[0]}, expected those of"
            " at least 2 classes"
        )


def by(shape: tuple[int, ...]) -> str:
    """Return a shape in words: 1x28x28."""
    return "x".join(map(str, shape))
