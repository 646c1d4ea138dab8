"""Ranks as threads of one process: a communicator without MPI, which adds in any order asked for.

Each rank runs the same function. One that is alone with its error breaks the meeting, as an abort
would, and the others end with BrokenBarrierError.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dpcnn.parallel.communicator import BugError, Communicator, Member

T = TypeVar("T")
Array = NDArray[Any]


class Meeting:
    """Where all ranks lay down a value and take everyone's."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size)
        self._values: list[Any] = [None] * size

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self._values[rank] = value
        self.barrier.wait()
        everyones = list(self._values)
        self.barrier.wait()
        return everyones


class ThreadRank(Communicator):
    """One rank; sums are taken in an order that depends on `seed`."""

    def __init__(self, rank: int, meeting: Meeting, seed: int, hosts: Sequence[str]) -> None:
        self.rank, self.size = rank, meeting.size
        self.members = [Member(*place, os.getpid()) for place in enumerate(hosts)]
        self._meeting, self._random = meeting, random.Random(seed)

    def Allreduce(self, values: Array, scalars: Array, out: Array) -> None:
        everyones = self.allgather((values.copy(), scalars.copy()))
        np.copyto(out, self._sum([each for each, _ in everyones]), casting="same_kind")
        scalars[...] = self._sum([each for _, each in everyones])

    def _sum(self, arrays: list[Array]) -> Array:
        """Add any two, and the sum to the rest, until one is left."""
        while len(arrays) > 1:
            self._random.shuffle(arrays)
            arrays.append(arrays.pop() + arrays.pop())
        return arrays[0]

    def bcast(self, value: T) -> T:
        return self.allgather(value)[0]

    def allgather(self, value: T) -> list[T]:
        return self._meeting.exchange(self.rank, value)


def on_ranks(
    size: int, work: Callable[[Communicator], T], seed: int = 0, hosts: Sequence[str] = ()
) -> list[T | Exception]:
    """Return what `work` returned or raised on each rank; all are on one host unless said."""
    meeting = Meeting(size)
    hosts = hosts or ["here"] * size

    def one(rank: int) -> T | Exception:
        try:
            return work(ThreadRank(rank, meeting, seed, hosts))
        except Exception as error:
            if not getattr(error, "collective", isinstance(error, BugError)):
                meeting.barrier.abort()
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))
