"""The tables of an evaluation for a terminal, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.metrics.classification import Mistake, PerClass, confusion

Array = NDArray[Any]

COLUMNS = 80  # width of a terminal in characters
NAME = 24  # characters of the name of a class
ROWS = 25  # limit for the tables of classes and of mistakes


def class_table(scores: PerClass, names: Sequence[str] = ()) -> list[str]:
    """Return the scores per class; of more than ROWS classes, those with the lowest F1.

    names: of the classes, otherwise they are numbered.
    """
    classes: Sequence[int] = range(len(scores.support))
    lines: list[str] = []
    if len(classes) > ROWS:
        lines.append(f"the {ROWS} of {len(classes)} classes with the lowest F1:")
        classes = np.sort(np.argsort(scores.f1, kind="stable")[:ROWS]).tolist()
    rates = list(zip(*scores[1:], strict=True))
    rows = [
        (_named(label, names), f"{scores.support[label]:,}", *map(_rate, rates[label]))
        for label in classes
    ]
    # The mean over classes, all with the same weight; undefined scores do not count.
    defined = [rate[np.isfinite(rate)] for rate in scores[1:]]
    means = [_rate(rate.mean() if rate.size else np.nan) for rate in defined]
    rows.append(("mean", f"{scores.support.mean():,.0f}", *means))
    return lines + _aligned(("class", "images", "precision", "recall", "F1"), rows)


def confusion_table(labels: Array, predicted: Array, classes: int) -> list[str] | None:
    """Return the confusion matrix with a dot for each 0, None if it is wider than a terminal."""
    if classes > COLUMNS:
        return None
    counts = confusion(labels, predicted, classes).tolist()
    rows = [(str(label), *(str(n or ".") for n in row)) for label, row in enumerate(counts)]
    head = ("", *map(str, range(classes)))
    lines = _aligned(head, rows, least=max(map(len, sum(rows, head))))
    if len(lines[0]) > COLUMNS:
        return None
    return ["rows: true class, columns: predicted class", *lines]


def mistake_table(mistakes: Sequence[Mistake], names: Sequence[str] = ()) -> list[str]:
    """Return the table of the most frequent mistakes; they come sorted, the most frequent first."""
    if not mistakes:
        return ["no mistakes"]
    rows = [
        (_named(m.label, names), _named(m.predicted, names), f"{m.images:,}")
        for m in mistakes[:ROWS]
    ]
    return [
        "the most frequent mistakes:",
        *_aligned(("true class", "predicted class", "images"), rows),
    ]


def _named(label: int, names: Sequence[str]) -> str:
    """Return the number of a class, and its name if there are names."""
    return f"{label} {names[label]}"[:NAME] if names else str(label)


def _rate(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"


def _aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], least: int = 0) -> list[str]:
    """Return the lines of a table: columns right-aligned, at least `least` characters wide."""
    table = [head, *rows]
    widths = [max(least, *map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in table
    ]
