"""Confusion matrix, scores per class and mistakes, from labels and predictions.

labels and predicted are (N,) integers in 0..classes-1, one per image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class PerClass(NamedTuple):
    """Scores per class, (classes,) each; NaN where the score would be 0/0."""

    support: Array  # images of the class
    precision: Array  # share of the images predicted as this class that are of it
    recall: Array  # share of the class's images that are predicted as it
    f1: Array  # harmonic mean of precision and recall


class Mistake(NamedTuple):
    """How many images of one class were mistaken for another."""

    label: int
    predicted: int
    images: int


def confusion(labels: Array, predicted: Array, classes: int) -> Array:
    """Return how many images of each class (row) were predicted as each class (column).

    The result is int64 (classes, classes); with thousands of classes, `mistakes` needs far less
    memory.
    """
    pairs = labels.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(labels: Array, predicted: Array, classes: int) -> PerClass:
    """Return support, precision, recall and F1 of each class."""
    support = np.bincount(labels, minlength=classes)
    predictions = np.bincount(predicted, minlength=classes)
    correct = np.bincount(labels[labels == predicted], minlength=classes)
    with np.errstate(invalid="ignore"):
        return PerClass(
            support,
            precision=correct / predictions,
            recall=correct / support,
            f1=2 * correct / (support + predictions),
        )


def mistakes(labels: Array, predicted: Array) -> list[Mistake]:
    """Return every confused pair of classes that occurs, the most frequent first."""
    wrong = labels != predicted
    pairs = np.stack([labels[wrong], predicted[wrong]], axis=1).astype(np.int64)
    distinct, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [Mistake(int(distinct[i, 0]), int(distinct[i, 1]), int(counts[i])) for i in order]
