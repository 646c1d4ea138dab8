"""Which classes a network takes for which: counts from labels and predictions, NumPy only.

labels and predicted are (N,) integers in 0..classes-1, one of each an image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class PerClass(NamedTuple):
    """One value a class, (classes,) each; NaN where nothing is divided by nothing."""

    support: Array  # how many images are of the class
    precision: Array  # the share of those predicted to be of the class that are
    recall: Array  # the share of those of the class that are predicted to be
    f1: Array  # the harmonic mean of precision and recall


class Mistake(NamedTuple):
    """How many images of a class were taken for another."""

    label: int
    predicted: int
    images: int


def confusion(labels: Array, predicted: Array, classes: int) -> Array:
    """Return how many images of each class (row) were taken for each (column), int64.

    It is (classes, classes): for thousands of classes `mistakes` says the same in less memory.
    """
    pairs = labels.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(labels: Array, predicted: Array, classes: int) -> PerClass:
    """Return support, precision, recall and F1 of each class."""
    support = np.bincount(labels, minlength=classes)
    chosen = np.bincount(predicted, minlength=classes)
    right = np.bincount(labels[labels == predicted], minlength=classes)
    with np.errstate(invalid="ignore"):
        return PerClass(support, right / chosen, right / support, 2 * right / (support + chosen))


def mistakes(labels: Array, predicted: Array) -> list[Mistake]:
    """Return every wrong pair of classes that occurs, the most frequent first."""
    wrong = labels != predicted
    pairs = np.stack([labels[wrong], predicted[wrong]], axis=1).astype(np.int64)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [Mistake(int(found[i, 0]), int(found[i, 1]), int(counts[i])) for i in order]
