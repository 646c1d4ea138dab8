"""The communicator over MPI; the only file that imports mpi4py.

MPI libraries wait in a busy loop, which takes the core from the rank that is waited for: four
ranks on two cores took 1.4 s for one blocking allreduce under MPICH 5.0, and two ranks beside
other programs 25 ms. So every wait here polls non-blocking messages and yields in between. They
are messages from every rank to every other, which also tells who has not come.

The allreduce is a direct reduce-scatter and allgather (Thakur, Rabenseifner and Gropp,
"Optimization of Collective Communication Operations in MPICH", 2005, describe both): each rank
adds up one part of the vector and hands it out. Being our own it polls, adds in rank order
whatever the library, and hands out float32 where the sums are float64, which saves a quarter of
the traffic. Where all ranks are on one node they read each other's vectors in shared memory, and
only the scalars are sent (tests/benchmarks/bench_allreduce.py compares both with the library's).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import math
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Self, TypeVar

import mpi4py
import numpy as np
from numpy.typing import DTypeLike, NDArray

# MPI starts in world(), after a look at which library it is: MPICH ends the process when it is
# started by another MPI's mpirun.
mpi4py.rc.initialize = False
mpi4py.rc.finalize = False

with warnings.catch_warnings():
    # On every rank it warns of an mpirun of another MPI, which connect.py says in one line.
    warnings.simplefilter("ignore", RuntimeWarning)
    from mpi4py import MPI as MPI

from dpcnn.errors import DpcnnError  # noqa: E402
from dpcnn.parallel.alarm import deadline  # noqa: E402
from dpcnn.parallel.communicator import Communicator, Member  # noqa: E402
from dpcnn.parallel.shared_memory import SharedVectors, add_up  # noqa: E402

T = TypeVar("T")
Array = NDArray[Any]

# A wait of up to a few milliseconds ends by polling, at once; a longer one sleeps in between.
POLLS = 4000
PAUSE = 100e-6  # seconds
GRACE = 5.0  # seconds that ranks overdue are waited for further
# Seconds between two looks after which this process was stopped (Ctrl-Z), and the others with it.
STOPPED = 1.0
ENDING = 60.0  # seconds at most from the first rank's end to the last one's
# Tags of messages: who has come, a part of a vector, its sum, a pickled object.
COME, PART, SUM, OBJECT = 1, 2, 3, 4


def library_name() -> str:
    """Return the MPI library mpi4py uses, with its version, as the library names itself."""
    line: str = MPI.Get_library_version().strip("\0").splitlines()[0]
    return " ".join(line.replace("Version:", "").split(",")[0].split())


def start_mpi(threads: int, finalize: bool) -> None:
    """Start MPI, unless it is started, for so many threads; `finalize` it when Python ends.

    Other threads, such as an alarm, run while this waits for the other ranks, and while that does:
    mpi4py's own calls would keep them from it.
    """
    if MPI.Is_initialized():
        return
    library = ctypes.CDLL(MPI.__file__)
    library.MPI_Init_thread(None, None, threads, ctypes.byref(ctypes.c_int()))
    for comm in (MPI.COMM_WORLD, MPI.COMM_SELF):
        comm.Set_errhandler(MPI.ERRORS_RETURN)  # as mpi4py's own call does: it raises them
    if finalize:
        atexit.register(_finalize, library)


def _finalize(library: ctypes.CDLL) -> None:
    if not MPI.Is_finalized():
        with deadline(ENDING, f"waited {ENDING:g} s for the other ranks to end"):
            library.MPI_Finalize()


class _EndsAll:
    """What Python does with an uncaught exception: MPI_Finalize would wait for the other ranks."""

    def __init__(self, rank: int, show: Callable[..., object], before: Callable[[], None]) -> None:
        self.rank, self.show, self.before = rank, show, before

    def __call__(self, kind: type[BaseException], error: BaseException, *trace: Any) -> None:
        collective = isinstance(error, DpcnnError) and error.collective
        if not collective or self.rank == 0:
            self.show(kind, error, *trace)
        if not collective:
            self.before()
            MPI.COMM_WORLD.Abort(1)


class MPICommunicator(Communicator):
    """The ranks of an MPI communicator."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self.library = library_name()
        self._use(comm)

    @classmethod
    def world(cls) -> Self:
        """Return the communicator of all ranks that were started; collective, starts MPI."""
        # One thread makes all MPI calls, so that the library may leave its locks out.
        start_mpi(MPI.THREAD_FUNNELED, finalize=True)
        return cls.of(MPI.COMM_WORLD)

    @classmethod
    def of(cls, comm: MPI.Intracomm, number: int | None = None, timeout: float = math.inf) -> Self:
        """Return the communicator of these ranks, which introduce themselves; collective.

        `number` is the one this rank goes by if that is not its place here.
        """
        made = cls(comm)
        made.timeout = timeout
        number = made.rank if number is None else number
        made.members = made.allgather(Member(number, MPI.Get_processor_name(), os.getpid()))
        return made

    def _use(self, comm: MPI.Intracomm) -> None:
        """Become the communicator of these ranks."""
        comm.Set_errhandler(MPI.ERRORS_RETURN)  # mpi4py raises them
        self._comm = comm
        self.rank = comm.Get_rank()
        self.size = comm.Get_size()
        self._shared: SharedVectors | None = None
        self._rooms: dict[tuple[int, tuple[int, ...], np.dtype[Any]], Array] = {}

    def split_by_node(self) -> Communicator:
        """Return the communicator of the ranks that share this node's memory; collective."""
        with deadline(self.timeout + GRACE, f"waited {self.timeout:g} s for all ranks"):
            node = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        return self.of(MPI.Intracomm(node), timeout=self.timeout)

    def vector(self, length: int, dtype: DTypeLike, out_dtype: DTypeLike) -> Array:
        """Return zeros (length,) to pass to Allreduce as values; collective."""
        dtypes = np.dtype(dtype), np.dtype(out_dtype)
        if len(set(self.hosts)) == 1:
            place = self.rank, self.size, length
            self._shared = SharedVectors.allocate(*place, dtypes, self.allgather)
        if self._shared is None:
            return super().vector(length, dtype, out_dtype)
        return self._shared.values[self.rank]

    def Allreduce(self, values: Array, scalars: Array, out: Array) -> None:
        """Write the sum of values over all ranks into out; replace scalars by their sum."""
        with self._errors():
            started = time.perf_counter()
            all_ranks = self._gather(scalars)
            self.waited += time.perf_counter() - started
            cuts = [values.size * rank // self.size for rank in range(self.size + 1)]
            parts = [slice(*pair) for pair in pairwise(cuts)]
            if self._shared is not None and values is self._shared.values[self.rank]:
                self._add_shared(self._shared, parts, out)
            else:
                self._add_sent(values, parts, out)
            all_ranks.sum(axis=0, out=scalars)

    def _add_shared(self, shared: SharedVectors, parts: list[slice], out: Array) -> None:
        """Add up this rank's part of the vectors, which all have written; copy the other parts."""
        own_part = parts[self.rank]
        shared.add(own_part)
        np.copyto(out[own_part], shared.total[own_part])
        self._meet()
        for part in parts[: self.rank] + parts[self.rank + 1 :]:
            np.copyto(out[part], shared.total[part])

    def _add_sent(self, values: Array, parts: list[slice], out: Array) -> None:
        """Send every rank its part of the vector, add up this rank's, and send the sum to all."""
        own_part, others = parts[self.rank], self._others()
        received = self._room(PART, (self.size, own_part.stop - own_part.start), values.dtype)
        received[self.rank] = values[own_part]
        total = self._room(SUM, out.shape, out.dtype)
        receiving_parts = [self._receive(received[rank], rank, PART) for rank in others]
        sending_parts = [self._send(values[parts[rank]], rank, PART) for rank in others]
        receiving_sums = [self._receive(total[parts[rank]], rank, SUM) for rank in others]
        self._wait(receiving_parts)
        np.copyto(total[own_part], add_up(list(received)), casting="same_kind")
        sending_sum = [self._send(total[own_part], rank, SUM) for rank in others]
        self._wait(receiving_sums)
        self._wait([*sending_parts, *sending_sum])
        np.copyto(out, total)

    def _send(self, buffer: Array, rank: int, tag: int) -> MPI.Request:
        """Begin to send this to a rank."""
        return self._comm.Isend(buffer, rank, tag)

    def _receive(self, buffer: Array, rank: int, tag: int) -> MPI.Request:
        """Begin to receive this from a rank."""
        return self._comm.Irecv(buffer, rank, tag)

    def _room(self, tag: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return the buffer for messages of this kind: the same one until a rank is lost."""
        key = tag, shape, dtype
        if key not in self._rooms:
            self._rooms[key] = np.empty(shape, dtype)
        return self._rooms[key]

    def _gather(self, mine: Array) -> Array:
        """Return every rank's vector (size, n), once all ranks have come."""
        all_ranks = self._room(COME, (self.size, mine.size), mine.dtype)
        all_ranks[self.rank] = mine
        self._swap(all_ranks, COME)
        return all_ranks

    def _meet(self) -> None:
        """Return once all ranks have come."""
        self._gather(np.empty(0))

    def _others(self) -> list[int]:
        """Return the other ranks, beginning with the next: so no rank is the first of all."""
        return [(self.rank + step) % self.size for step in range(1, self.size)]

    def _wait(self, requests: list[MPI.Request]) -> None:
        """Wait for requests, one for each other rank, leaving the core to those that have work."""
        polls = 0
        started = looked = time.monotonic()
        patience = self.timeout
        while not MPI.Request.Testall(requests):
            polls += 1
            if polls < POLLS:
                os.sched_yield()
                continue
            time.sleep(PAUSE)
            self._check_ranks()
            before, looked = looked, time.monotonic()
            if looked - before > STOPPED:
                patience += looked - before
            if looked - started > patience:
                waited_for = zip(self._others(), requests, strict=False)
                missing = [rank for rank, request in waited_for if not request.Test()]
                # One speaks for all: the lowest rank that waits, unless it has died meanwhile.
                if (
                    min(set(range(self.size)) - set(missing)) == self.rank
                    or patience > self.timeout
                ):
                    self.overdue(missing)
                patience += GRACE

    def _check_ranks(self) -> None:
        """Raise MPI's error if a rank is known to be lost, even if no request says so."""

    def bcast(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        mine = pickle.dumps(value) if self.rank == 0 else b""
        with self._errors():
            all_ranks = self._exchange(mine)
        return value if self.rank == 0 else pickle.loads(all_ranks[0].tobytes())

    def allgather(self, value: T) -> list[T]:
        """Return every rank's value, in rank order."""
        with self._errors():
            all_ranks = self._exchange(pickle.dumps(value))
        return [
            value if rank == self.rank else pickle.loads(pickled.tobytes())
            for rank, pickled in enumerate(all_ranks)
        ]

    def _exchange(self, mine: bytes) -> list[Array]:
        """Return every rank's bytes.

        Sent as messages of our own, since Open MPI's collectives have returned garbage as a success
        after a death.
        """
        lengths = self._gather(np.array([len(mine)]))[:, 0]
        all_ranks = [np.empty(length, np.uint8) for length in lengths]
        all_ranks[self.rank][...] = np.frombuffer(mine, np.uint8)
        self._swap(all_ranks, OBJECT)
        return all_ranks

    def _swap(self, buffers: Sequence[Array] | Array, tag: int) -> None:
        """Send every other rank this rank's buffer, and receive theirs into the other buffers."""
        others = self._others()
        receiving = [self._receive(buffers[rank], rank, tag) for rank in others]
        sending = [self._send(buffers[self.rank], rank, tag) for rank in others]
        self._wait(receiving)
        self._wait(sending)

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        """Return the context to exchange messages in, where a subclass translates MPI's errors."""
        return contextlib.nullcontext()

    def abort(self, code: int) -> None:
        """End all ranks at once with this exit code."""
        self._comm.Abort(code)

    def end_with_exceptions(self, before: Callable[[], None]) -> None:
        """Let an exception that nobody catches on this rank end all ranks, when it is printed."""
        if not isinstance(sys.excepthook, _EndsAll):
            sys.excepthook = _EndsAll(self.rank, sys.excepthook, before)
