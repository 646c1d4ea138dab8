"""What an allreduce takes between the ranks of a communicator, by the length of its vector."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpcnn.parallel.communicator import Communicator

WARM_UP = 3  # that are not counted


def allreduce_seconds(comm: Communicator, length: int, shared: bool, repeats: int) -> float:
    """Return the median seconds in which float64 (length,) are added, on the slowest rank.

    Collective. shared: of a vector that ranks of one node read in place, as training does; else
    it is sent. Every vector has just been written, as gradients have.
    """
    import numpy as np

    dtypes = np.float64, np.float32
    values = comm.vector(length, *dtypes) if shared else np.zeros(length, dtypes[0])
    out, scalars, seconds = np.empty(length, dtypes[1]), np.zeros(1), []
    for _ in range(WARM_UP + repeats):
        values.fill(1)
        comm.allgather(None)  # all begin together
        started = time.perf_counter()
        comm.Allreduce(values, scalars, out)
        seconds.append(time.perf_counter() - started)
    return max(comm.allgather(statistics.median(seconds[WARM_UP:])))
