"""What a process spends the time of an epoch on."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from dpcnn.parallel.communicator import Member


@dataclass
class Spending:
    """The seconds of one process since the epoch before was finished, or since it started.

    They are never in a checkpoint: each process counts its own, and `steps` the steps they are
    of, which are not all of the epoch's where the run was resumed within it. Waiting is for the
    last rank to come to a step, and for rank 0 while it evaluates alone. Saving is what training
    waits for, as the rest goes on beside it; the state after an epoch is saved in the next one.
    """

    steps: int = 0
    compute_seconds: float = 0.0
    communication_seconds: float = 0.0
    waiting_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    saving_seconds: float = 0.0
    begun: float = field(default_factory=time.perf_counter)

    def of(self, member: Member) -> dict[str, Any]:
        """Return it as a line of metrics has it; `seconds` are all that have passed.

        What they have beyond the others went into drawing the order of the images, printing, and
        recovering from deaths.
        """
        passed = time.perf_counter() - self.begun
        spent = {name: value for name, value in asdict(self).items() if name != "begun"}
        return asdict(member) | spent | {"seconds": passed}
