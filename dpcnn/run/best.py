"""Which epoch of a run was the best, and how long ago: pure functions of its metrics."""

from __future__ import annotations

from collections.abc import Sequence

from dpcnn.run.loggers.logger import Metrics


def measured(line: Metrics) -> str:
    """Return the metric that an epoch is judged by: the validation accuracy where there is one.

    The accuracy rather than the loss: that is what a network is chosen for, and a network that is
    surer and surer of its few mistakes has a growing loss while its accuracy improves.
    """
    return "validation_accuracy" if "validation_accuracy" in line else "test_accuracy"


def best_epoch(metrics: Sequence[Metrics]) -> Metrics | None:
    """Return the line of the best epoch, the earliest of equals; None if no epoch has ended."""
    return max(metrics, key=lambda line: line[measured(line)], default=None)


def epochs_since_best(metrics: Sequence[Metrics]) -> int:
    """Return how many epochs have ended since the best one."""
    best = best_epoch(metrics)
    return 0 if best is None else metrics[-1]["epoch"] - best["epoch"]


def exhausted(metrics: Sequence[Metrics], patience: int | None) -> bool:
    """Tell whether no epoch of the last `patience` was better than the best before them."""
    return patience is not None and epochs_since_best(metrics) >= patience
