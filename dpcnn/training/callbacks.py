"""Callbacks: what a program of Python does between the steps and epochs of a run, on rank 0.

They are told facts that they cannot change, and may ask the run to stop: the bits of its steps are
the same with and without them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from dpcnn.errors import OptionError
from dpcnn.parallel.reduction import Sums
from dpcnn.run.loggers.logger import Metrics
from dpcnn.training.state import Progress


class Step(NamedTuple):
    """A step that was made.

    step: counted from the start of the run, from 1. epoch: from 1; epoch_step: within it, of so
    many steps. loss, accuracy: means over the step's minibatch, before its update. images: how many
    it had.
    """

    step: int
    epoch: int
    epoch_step: int
    steps: int
    loss: float
    accuracy: float
    images: int
    learning_rate: float


class Callback:
    """What happens in a run, for a subclass to act on: override what you need.

    Called on rank 0 alone, and in one order for several callbacks. An exception ends the run as one
    in a layer would.
    """

    def on_step(self, step: Step) -> bool | None:
        """Act on a step; return True to ask the run to stop, which it does after the next one."""

    def on_epoch(self, metrics: Mapping[str, Any]) -> bool | None:
        """Act on the end of an epoch; return True to ask the run to stop there.

        metrics: the epoch's, read-only, with the keys of metrics.jsonl.
        """

    def on_end(self, run: Any) -> None:
        """Act on the end of the run, unless that is an error; run: what train() returns."""


class Callbacks:
    """The callbacks of a run, and whether one of them has asked it to stop."""

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise OptionError(f"callbacks has {callback!r:.200}, expected dpcnn.Callback()")
        self.callbacks = callbacks
        self.asked = False

    def step(self, progress: Progress, steps: int, sums: Sums, lr: float) -> None:
        """Tell of a step, of an epoch of so many: its sums over the minibatch."""
        if not self.callbacks:
            return
        loss, accuracy = sums["loss"] / sums["images"], sums["correct"] / sums["images"]
        place = progress.step, progress.epoch, progress.epoch_step, steps
        fact = Step(*place, loss, accuracy, int(sums["images"]), lr)
        self._note([callback.on_step(fact) for callback in self.callbacks])

    def epoch(self, metrics: Metrics) -> None:
        """Tell of an epoch that has ended."""
        told = MappingProxyType(copy.deepcopy(dict(metrics)) if self.callbacks else {})
        self._note([callback.on_epoch(told) for callback in self.callbacks])

    def end(self, run: Any) -> None:
        """Tell of the end of the run: what train() returns."""
        for callback in self.callbacks:
            callback.on_end(run)

    def _note(self, answers: Sequence[object]) -> None:
        self.asked = self.asked or any(answer is True for answer in answers)
