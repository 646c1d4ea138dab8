"""The validation set: images of the training set that are not trained on, alike on every rank."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.dataset import Dataset
from dpcnn.data.sampler import Indices
from dpcnn.errors import OptionError

# Sets the choice apart from the generators of the orders, whose keys are shorter.
SPAWN_KEY = (0x5A11D,)


def with_validation(dataset: Dataset, size: float | None, seed: int, world_size: int) -> Dataset:
    """Return the dataset with part of its training set set apart to validate on.

    size: a share of the training set below 1, or a number of images; None for no validation set.
    What is left to train on is at least an image for each rank. Raises OptionError.
    """
    if size is None:
        return dataset
    images = len(dataset.train)
    count = validation_count(size, images)
    if not 1 <= count <= images - world_size:
        raise OptionError(
            f"--validation is {size:g}, {count:,} of {images:,} training images, expected at least"
            f" 1 and at most {max(images - world_size, 0):,}, which leaves an image for each rank"
        )
    chosen = stratified(dataset.train.labels, count, seed)
    return dataset.validated(chosen)


def validation_count(size: float, images: int) -> int:
    """Return how many of the training images a share below 1, or a number of images, comes to.

    Raises OptionError for a number from 1 that is not whole.
    """
    if size < 1:
        return round(size * images)
    if size != int(size):
        raise OptionError(
            f"--validation is {size:g}, expected a share of the training images below 1 or a whole"
            " number of images"
        )
    return int(size)


def stratified(labels: NDArray[np.integer[Any]], count: int, seed: int) -> Indices:
    """Return `count` of the images with these labels (N,), in their order: a balanced choice.

    Each class gets its share of the count, rounded up or down, so that the classes are as frequent
    as among all images. A pure function of the labels, the count and the seed.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=SPAWN_KEY)
    drawn = np.random.Generator(np.random.PCG64(sequence)).permutation(labels.size)
    by_class = drawn[np.argsort(labels[drawn], kind="stable")]
    images = np.bincount(labels)
    place = np.arange(labels.size) - np.repeat(np.cumsum(images) - images, images)
    return np.sort(by_class[place < np.repeat(shares(images, count), images)])


def shares(images: Indices, count: int) -> Indices:
    """Return how many of `count` each class gets, in proportion to its images (K,).

    By largest remainders: rounded down, and what is missing goes to the classes that lost most, the
    first of equals. None gets more than it has.
    """
    total = int(images.sum())
    rounded_down, remainders = np.divmod(images.astype(np.int64) * count, total)
    missing = count - int(rounded_down.sum())
    rounded_down[np.argsort(-remainders, kind="stable")[:missing]] += 1
    result: Indices = rounded_down
    return result
