"""What a process spends its time on: a lap clock, marked between the phases of a run."""

from __future__ import annotations

import time
from collections import defaultdict


class Clock:
    """Seconds by phase: each mark charges all time since the mark before to one phase.

    Each process has its own, and no checkpoint keeps it. `seconds` are those since the epoch
    before was finished or the process started, and `steps` the steps that they cover, which are not
    all of an epoch's if the run was resumed within it; `images` are those that the process has
    computed in them. `lap` are the seconds since `start_lap`.
    """

    def __init__(self) -> None:
        self._marked = time.perf_counter()
        self._waited = 0.0
        self.lap: dict[str, float] = defaultdict(float)
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps = self.images = 0

    def mark(self, phase: str, waited: float | None = None) -> None:
        """Charge the time since the last mark to a phase.

        waited: the seconds that the communicator has waited for other ranks in all. What has come
        to them since the last time is charged to the phase "waiting" instead.
        """
        now = time.perf_counter()
        seconds, self._marked = now - self._marked, now
        if waited is not None and waited != self._waited:
            waiting, self._waited = waited - self._waited, waited
            self._charge("waiting", waiting)
            seconds -= waiting
        self._charge(phase, seconds)

    def _charge(self, phase: str, seconds: float) -> None:
        self.seconds[phase] += seconds
        self.lap[phase] += seconds

    def start_lap(self) -> None:
        """Charge the time since the last mark to the phase "other", and start a lap."""
        self.mark("other")
        self.lap = defaultdict(float)

    def timings(self) -> dict[str, float]:
        """Return the seconds as the metrics of an epoch have them, of each rank.

        Saving is what training waits for; the rest goes on beside it. The state after an epoch is
        saved in the next one. `seconds` are all that have passed: those in no other entry went
        into drawing the order of the images, printing, and recovering from deaths.
        """
        phases = ("compute", "communication", "waiting", "evaluation", "saving")
        seconds = {f"{phase}_seconds": self.seconds[phase] for phase in phases}
        counts = {"steps": self.steps, "images": self.images}
        return {**counts, **seconds, "seconds": sum(self.seconds.values())}
