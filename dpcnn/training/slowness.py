"""Whether steps are slow because of the ranks, as each rank's seconds of an epoch tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Timings = Mapping[str, Any]

SECONDS, STEPS = 15.0, 100  # of an epoch, from which on it is worth a word
EPOCHS = 2  # slow ones running: one may have been paused, or disturbed
LITTLE = 0.5  # of a step, if no rank computes for longer
SLOWER = 2.0  # times as long as a rank that has as much to compute,
AS_MUCH = 0.9  # or nearly: the last minibatch of an epoch may not be the same for all
PHASES = ("compute_seconds", "communication_seconds", "waiting_seconds")


class Slowness:
    """Tells once in a run what makes its steps slow."""

    def __init__(self) -> None:
        self.epochs = 0

    def after(self, ranks: Sequence[Timings]) -> str:
        """Return what to tell after an epoch with these timings, "" for nothing."""
        if self.epochs == EPOCHS:
            return ""
        reason = cause(ranks)
        self.epochs = self.epochs + 1 if reason else 0
        return reason if self.epochs == EPOCHS else ""


def cause(ranks: Sequence[Timings]) -> str:
    """Return what makes the steps of an epoch slow, "" if nothing does, or nobody would mind.

    ranks: rank, host, steps, images and seconds by phase of each, as Clock.timings has them. A rank
    that has fewer micro-batches than another waits for it; that alone is not slow.
    """
    seconds = sum(ranks[0][phase] for phase in PHASES)  # rank 0 waits in steps alone
    steps = {rank["steps"] for rank in ranks}
    if len(ranks) == 1 or seconds < SECONDS or min(steps) < STEPS or len(steps) > 1:
        return ""
    fastest: dict[int, Timings] = {}
    for rank in sorted(ranks, key=lambda rank: -float(rank["compute_seconds"])):
        fastest[rank["images"]] = rank
    for rank in ranks:
        least = AS_MUCH * rank["images"]
        equals = [other for images, other in fastest.items() if images >= least]
        other = min(equals, key=lambda rank: float(rank["compute_seconds"]))
        times = rank["compute_seconds"] / max(other["compute_seconds"], 1e-9)
        if times > SLOWER:
            return f"{_name(rank)} computes {times:.1f} times as long as {_name(other)}"
    busiest = max(rank["compute_seconds"] for rank in ranks) / seconds
    if busiest < LITTLE:
        return f"no rank computes for more than {busiest:.0%} of a step: the rest is messages"
    return ""


def _name(rank: Timings) -> str:
    return f"rank {rank['rank']} on {rank['host']}"
