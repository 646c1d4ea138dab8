"""What messages between the ranks take: measured, and as latency and bandwidth."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from dpcnn.parallel.communicator import Communicator

WARM_UP = 3  # allreduces that are not counted
UP, DOWN = 8, 4  # bytes of a parameter's gradient: float64 to its sum, float32 back
MEETINGS = 3  # of all ranks in an allreduce by messages: who has come, parts, sums


@dataclass(frozen=True)
class Link:
    """What messages go over: seconds until one has come, bytes a second."""

    latency: float
    bandwidth: float


def allreduce_seconds(comm: Communicator, length: int, shared: bool, repeats: int) -> float:
    """Return the median seconds in which float64 (length,) are added, on the slowest rank.

    Collective. shared: of a vector that ranks of one node read in place, as training does; else
    it is sent. Every vector has just been written, as gradients have.
    """
    dtypes = np.float64, np.float32
    values = comm.vector(length, *dtypes) if shared else np.zeros(length, dtypes[0])
    out, scalars = np.empty(length, dtypes[1]), np.zeros(1)
    seconds = []
    for _ in range(WARM_UP + repeats):
        values.fill(1)
        comm.allgather(None)  # all begin together
        started = time.perf_counter()
        comm.Allreduce(values, scalars, out)
        seconds.append(time.perf_counter() - started)
    return max(comm.allgather(statistics.median(seconds[WARM_UP:])))


def measured_link(
    lengths: tuple[int, int], seconds: tuple[float, float], ranks: int, gamma: float
) -> Link:
    """Return the link over which allreduces by messages, of vectors of two lengths, took so long.

    The inverse of the cost that dpcnn.bench predicts, for ranks that are one another's equals.
    gamma: seconds to add a byte.
    """
    part = (ranks - 1) / ranks
    slope = (seconds[1] - seconds[0]) / (lengths[1] - lengths[0]) - part * UP * gamma
    return Link(
        latency=seconds[0] / (MEETINGS * (ranks - 1)),
        bandwidth=part * (UP + DOWN) / max(slope, 1e-12),
    )
