"""Which epoch was the best, and when patience is exhausted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpcnn.run.best import best_epoch, exhausted
from dpcnn.run.loggers.logger import Metrics


def lines(accuracies: list[float], name: str = "test_accuracy") -> list[Metrics]:
    return [
        {"epoch": epoch, "step": 10 * epoch, "test_accuracy": 0.0, name: accuracy}
        for epoch, accuracy in enumerate(accuracies, 1)
    ]


@pytest.mark.parametrize("name", ["test_accuracy", "validation_accuracy"])
@pytest.mark.parametrize(
    ("accuracies", "best"),
    [([], None), ([0.5], 10), ([0.5, 0.9, 0.8], 20), ([0.9, 0.9], 10), ([0, 0], 10)],
)
def test_the_best_is_the_earliest_of_equals(
    accuracies: list[float], best: int | None, name: str
) -> None:
    line = best_epoch(lines(accuracies, name))
    assert (line and line["step"]) == best


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1), st.integers(1, 5))
def test_patience_counts_the_epochs_that_were_no_better(
    accuracies: list[float], patience: int
) -> None:
    expected, best, waited = False, -1.0, 0
    for accuracy in accuracies:  # as a loop that trains would count
        best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
        expected = waited >= patience
    assert exhausted(lines(accuracies), patience) == expected


def test_without_patience_or_an_epoch_nothing_is_exhausted() -> None:
    assert not exhausted(lines([0.9, 0.1, 0.1]), None)
    assert not exhausted([], 1)
