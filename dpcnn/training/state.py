"""Where a run stands: what a checkpoint keeps beside weights, and whether a run can be there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dpcnn.errors import CheckpointError


@dataclass
class Position:
    """Where the run stands, with the sums of the epoch in progress; what a checkpoint keeps.

    step counts from the start of the run, epoch from 1, epoch_step within the epoch. deaths has
    the rank, host, process and step of each rank that was lost in the epoch.
    """

    step: int = 0
    epoch: int = 1
    epoch_step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    images: float = 0.0
    compute_seconds: float = 0.0
    communication_seconds: float = 0.0
    waiting_seconds: float = 0.0
    seconds: float = 0.0
    deaths: list[dict[str, Any]] = field(default_factory=list)

    def next_epoch(self) -> Position:
        """Return the position before the first step of the next epoch."""
        return Position(step=self.step, epoch=self.epoch + 1)


def restored(values: dict[str, Any], steps: int, images: int, minibatch_size: int) -> Position:
    """Return the progress that a checkpoint has recorded.

    Raises CheckpointError if no run can be there whose epochs have so many steps and images.
    """
    if values.keys() == asdict(Position()).keys():
        found = Position(**values)
        step = (found.epoch - 1) * steps + found.epoch_step
        visited = min(found.epoch_step * minibatch_size, images)
        timed = found.seconds > 0 or visited == 0
        inside = found.epoch >= 1 and found.epoch_step <= steps
        if inside and timed and (found.step, found.images) == (step, visited):
            return found
    raise CheckpointError(
        f"the checkpoint's progress is {values}, impossible with {steps} steps an epoch and"
        f" {images} images"
    )
