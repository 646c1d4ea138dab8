"""What an evaluation looks like on a terminal: tables of classes, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.metrics.classification import Mistake, PerClass, confusion

Array = NDArray[Any]

COLUMNS = 80
ROWS = 25  # of a table that would have one for each of many classes


def class_table(scores: PerClass) -> list[str]:
    """Return support, precision, recall and F1 of each class; of many, those of the lowest F1."""
    shown, lines = range(len(scores.support)), list[str]()
    if len(shown) > ROWS:
        lines.append(f"the {ROWS} of {len(shown)} classes with the lowest F1:")
        shown = np.sort(np.argsort(scores.f1, kind="stable")[:ROWS]).tolist()
    rates = list(zip(*scores[1:], strict=True))
    rows = [(str(each), f"{scores.support[each]:,}", *map(_rate, rates[each])) for each in shown]
    # The mean over classes, each of the same weight; of no class at all it would be undefined.
    known = [rate[np.isfinite(rate)] for rate in scores[1:]]
    means = [_rate(rate.mean() if rate.size else np.nan) for rate in known]
    rows.append(("mean", f"{scores.support.mean():,.0f}", *means))
    return lines + _aligned(("class", "images", "precision", "recall", "F1"), rows)


def confusion_table(labels: Array, predicted: Array, classes: int) -> list[str] | None:
    """Return the confusion matrix with a dot for each 0, None where it would be too wide."""
    if classes > COLUMNS:
        return None
    counts = confusion(labels, predicted, classes).tolist()
    rows = [(str(label), *(str(n or ".") for n in row)) for label, row in enumerate(counts)]
    head = ("", *map(str, range(classes)))
    lines = _aligned(head, rows, least=max(map(len, sum(rows, head))))
    if len(lines[0]) > COLUMNS:
        return None
    return ["rows: the label, columns: what it was taken for", *lines]


def mistake_table(found: Sequence[Mistake]) -> list[str]:
    """Return the most frequent mistakes."""
    if not found:
        return ["no mistakes"]
    rows = [(str(each.label), str(each.predicted), f"{each.images:,}") for each in found[:ROWS]]
    return ["the most frequent mistakes:", *_aligned(("label", "taken for", "images"), rows)]


def _rate(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"


def _aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], least: int = 0) -> list[str]:
    """Return the lines of a table, its columns right-aligned and as narrow as `least` allows."""
    table = [head, *rows]
    widths = [max(least, *map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in table
    ]
