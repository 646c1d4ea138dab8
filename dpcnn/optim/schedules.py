"""Learning-rate schedules: functions from the step, counted from 0, to the learning rate."""

from __future__ import annotations

from collections.abc import Callable


def constant(lr: float) -> Callable[[int], float]:
    """Return the schedule that has this learning rate at every step."""
    return lambda step: lr
