"""The communicator over MPI; the only file that imports mpi4py.

MPI libraries wait in a busy loop, which takes the core from a rank that still computes. So every
wait for other ranks here is a non-blocking operation that is polled and yields; the blocking call
behind it then has all ranks present and is over in microseconds. With more ranks than cores not
even that holds, and the allreduce itself is polled: four ranks on two cores took 1.4 s for one
under MPICH 5.0 with the blocking call, and 2 ms so. Where every rank has a core the blocking call
is a fifth faster (tests/benchmarks/bench_allreduce.py).
"""

from __future__ import annotations

import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import mpi4py
from numpy.typing import NDArray

# One thread makes all MPI calls: the library may then leave its locks out.
mpi4py.rc.thread_level = "funneled"

from mpi4py import MPI  # noqa: E402  (reads the line above when it is imported)

from dpcnn.parallel.communicator import Communicator  # noqa: E402

T = TypeVar("T")

# A wait of up to a few milliseconds ends by polling, at once; a longer one sleeps in between.
POLLS = 4000
PAUSE = 100e-6  # seconds


def library_name() -> str:
    """Return the MPI library mpi4py uses, with its version, as the library names itself."""
    line: str = MPI.Get_library_version().strip("\0").splitlines()[0]
    return " ".join(line.replace("Version:", "").split(",")[0].split())


def _wait(request: MPI.Request) -> None:
    """Wait for a request, leaving the core to any process that has work."""
    polls = 0
    while not request.Test():
        polls += 1
        if polls < POLLS:
            os.sched_yield()
        else:
            time.sleep(PAUSE)


class MPICommunicator(Communicator):
    """The ranks of an MPI communicator, each with a core of its own."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self.rank = comm.Get_rank()
        self.size = comm.Get_size()
        self.library = library_name()
        self.hosts = self.allgather(MPI.Get_processor_name())

    @classmethod
    def world(cls) -> MPICommunicator:
        """Return the communicator of all ranks that were started."""
        world = MPICommunicator(MPI.COMM_WORLD)
        node = world.node
        cores = set[int]().union(*node.allgather(os.sched_getaffinity(0)))
        crowded = node.size > min(len(cores), _core_quota())
        return CrowdedMPICommunicator(MPI.COMM_WORLD) if any(world.allgather(crowded)) else world

    @cached_property
    def node(self) -> Communicator:
        """The ranks that share this node's memory."""
        return MPICommunicator(MPI.Intracomm(self._comm.Split_type(MPI.COMM_TYPE_SHARED)))

    def Allreduce(self, buffer: NDArray[Any]) -> None:
        """Replace buffer by its sum over all ranks, in place."""
        _wait(self._comm.Ibarrier())
        self._comm.Allreduce(MPI.IN_PLACE, buffer, MPI.SUM)

    def bcast(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        _wait(self._comm.Ibarrier())
        return self._comm.bcast(value)  # type: ignore[no-any-return]

    def allgather(self, value: T) -> list[T]:
        """Return every rank's value, in rank order."""
        _wait(self._comm.Ibarrier())
        return self._comm.allgather(value)

    def abort(self, code: int) -> None:
        """End all ranks at once with this exit code."""
        self._comm.Abort(code)


class CrowdedMPICommunicator(MPICommunicator):
    """The ranks of an MPI communicator where some node has fewer cores than ranks."""

    def Allreduce(self, buffer: NDArray[Any]) -> None:
        """Replace buffer by its sum over all ranks, in place."""
        _wait(self._comm.Iallreduce(MPI.IN_PLACE, buffer, MPI.SUM))


def _core_quota() -> float:
    """Return how many cores' time this process's container may use (Linux, cgroup v2)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return float("inf")
