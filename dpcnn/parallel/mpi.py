"""The communicator over MPI; the only file that imports mpi4py.

MPI libraries wait in a busy loop, which takes the core from the rank that is waited for: four
ranks on two cores took 1.4 s for one blocking allreduce under MPICH 5.0, and two ranks beside
other programs 25 ms. So every wait here polls a non-blocking operation and yields in between.

The allreduce is a direct reduce-scatter and allgather (Thakur, Rabenseifner and Gropp,
"Optimization of Collective Communication Operations in MPICH", 2005, describe both): each rank
adds up one part of the vector and hands it out. Being our own it polls, adds in rank order
whatever the library, and hands out float32 where the sums are float64, which saves a quarter of
the traffic. Where all ranks are on one node they read each other's vectors in shared memory, and
only the scalars are sent (tests/benchmarks/bench_allreduce.py compares both with the library's).
"""

from __future__ import annotations

import os
import time
import warnings
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import mpi4py
import numpy as np
from numpy.typing import DTypeLike, NDArray

# MPI starts in world(), after a look at which library it is: MPICH ends the process when it is
# started by another MPI's mpirun.
mpi4py.rc.initialize = False
mpi4py.rc.finalize = True

with warnings.catch_warnings():
    # It warns, on every rank, of an mpirun of another MPI; connect() says so in one line.
    warnings.simplefilter("ignore", RuntimeWarning)
    from mpi4py import MPI

from dpcnn.parallel.communicator import Communicator  # noqa: E402
from dpcnn.parallel.shared import SharedVectors  # noqa: E402

T = TypeVar("T")
Array = NDArray[Any]

# A wait of up to a few milliseconds ends by polling, at once; a longer one sleeps in between.
POLLS = 4000
PAUSE = 100e-6  # seconds
# Tags of the two halves of an allreduce.
PART, SUM = 1, 2


def library_name() -> str:
    """Return the MPI library mpi4py uses, with its version, as the library names itself."""
    line: str = MPI.Get_library_version().strip("\0").splitlines()[0]
    return " ".join(line.replace("Version:", "").split(",")[0].split())


def _wait(*requests: MPI.Request) -> None:
    """Wait for requests, leaving the core to any process that has work."""
    polls = 0
    waited = list(requests)
    while not MPI.Request.Testall(waited):
        polls += 1
        if polls < POLLS:
            os.sched_yield()
        else:
            time.sleep(PAUSE)


def _add(vectors: list[Array]) -> Array:
    """Add all vectors to the first, in rank order; return it."""
    total = vectors[0]
    for vector in vectors[1:]:
        total += vector
    return total


class MPICommunicator(Communicator):
    """The ranks of an MPI communicator."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self.rank = comm.Get_rank()
        self.size = comm.Get_size()
        self.library = library_name()
        self._buffer: Array = np.empty(0)
        self._shared: SharedVectors | None = None
        self.hosts = self.allgather(MPI.Get_processor_name())

    @classmethod
    def world(cls) -> MPICommunicator:
        """Return the communicator of all ranks that were started; starts MPI."""
        if not MPI.Is_initialized():
            # One thread makes all MPI calls: the library may leave its locks out.
            MPI.Init_thread(MPI.THREAD_FUNNELED)
        return cls(MPI.COMM_WORLD)

    @cached_property
    def node(self) -> Communicator:
        """The ranks that share this node's memory."""
        return MPICommunicator(MPI.Intracomm(self._comm.Split_type(MPI.COMM_TYPE_SHARED)))

    def vector(self, length: int, dtype: DTypeLike, out_dtype: DTypeLike) -> Array:
        """Return zeros (length,) to pass to Allreduce as values; collective."""
        dtypes = np.dtype(dtype), np.dtype(out_dtype)
        if self.node.size == self.size:
            place = self.rank, self.size, length
            self._shared = SharedVectors.allocate(*place, dtypes, self.bcast)
        return super().vector(length, dtype, out_dtype) if self._shared is None else self._own()

    def _own(self) -> Array:
        assert self._shared is not None, "asked only where there is shared memory"
        return self._shared.values[self.rank]

    def Allreduce(self, values: Array, scalars: Array, out: Array) -> None:
        """Write the sum of values over all ranks into out; replace scalars by their sum."""
        started = time.perf_counter()
        everyones = np.empty((self.size, scalars.size), scalars.dtype)
        _wait(self._comm.Iallgather(scalars, everyones))
        self.waited += time.perf_counter() - started
        everyones.sum(axis=0, out=scalars)
        cuts = [values.size * rank // self.size for rank in range(self.size + 1)]
        parts = [slice(*pair) for pair in pairwise(cuts)]
        if self._shared is not None and values is self._own():
            self._add_shared(self._shared, parts, out)
        else:
            self._add_sent(values, parts, out)

    def _add_shared(self, shared: SharedVectors, parts: list[slice], out: Array) -> None:
        """Add up the own part of the shared vectors, which all have written; take the others."""
        own = parts[self.rank]
        total = _add([vector[own] for vector in shared.values])
        np.copyto(shared.total[own], total, casting="same_kind")
        np.copyto(out[own], shared.total[own])
        _wait(self._comm.Ibarrier())
        for part in parts[: self.rank] + parts[self.rank + 1 :]:
            np.copyto(out[part], shared.total[part])

    def _add_sent(self, values: Array, parts: list[slice], out: Array) -> None:
        """Send every rank its part of the vector, add up the own one, and hand the sum out."""
        own = parts[self.rank]
        others = [(self.rank + step) % self.size for step in range(1, self.size)]
        received = self._room((self.size, own.stop - own.start), values.dtype)
        received[self.rank] = values[own]
        come = [self._comm.Irecv(received[rank], rank, PART) for rank in others]
        go = [self._comm.Isend(values[parts[rank]], rank, PART) for rank in others]
        back = [self._comm.Irecv(out[parts[rank]], rank, SUM) for rank in others]
        _wait(*come)
        np.copyto(out[own], _add(list(received)), casting="same_kind")
        hand = [self._comm.Isend(out[own], rank, SUM) for rank in others]
        _wait(*go, *back, *hand)

    def _room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return a buffer of this shape, the same one every time."""
        if self._buffer.shape != shape or self._buffer.dtype != dtype:
            self._buffer = np.empty(shape, dtype)
        return self._buffer

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
