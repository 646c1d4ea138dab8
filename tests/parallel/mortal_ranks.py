"""Ranks as threads that can die: an elastic world without MPI, for the recovery from deaths.

As under ULFM, a death is noticed in a collective: ranks that wait in it, or come to the next one,
get RankLostError; a rank that has all values already may still finish it. `shrink` returns when
all ranks that live have come to it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dpcnn.parallel.communicator import Communicator, Member, RankLostError
from tests.parallel.ranks import ThreadRank

T = TypeVar("T")

NO_PROCESS = 1 << 30  # of rank 0, and the following of the others: a number that no process has


class DeathError(Exception):
    """This rank is dead."""


class World:
    """Where the living ranks exchange values and agree on who lives."""

    def __init__(self, size: int) -> None:
        self.living = set(range(size))
        self._changed = threading.Condition()
        self._values: dict[int, Any] = {}
        self._lost = False
        self._shrinking: set[int] = set()
        self._generation = 0

    def exchange(self, number: int, value: Any) -> list[Any]:
        """Return the values of all ranks, by their first numbers; raises RankLostError."""
        with self._changed:
            if self._lost:
                raise RankLostError
            values = self._values
            values[number] = value
            if len(values) == len(self.living):
                self._values = {}
                self._changed.notify_all()
            while len(values) < len(self.living) or self._values is values:
                if self._lost:
                    raise RankLostError
                self._changed.wait()
            return [values[each] for each in sorted(values)]

    def die(self, number: int) -> None:
        """Let this rank be dead; the others notice."""
        with self._changed:
            self.living.discard(number)
            self._lost = True
            self._changed.notify_all()

    def shrink(self, number: int) -> list[int]:
        """Return the numbers of the ranks that live, once all of them have come here."""
        with self._changed:
            generation = self._generation
            self._shrinking.add(number)
            self._changed.notify_all()
            while self._generation == generation:
                if self._shrinking >= self.living:
                    self._generation += 1
                    self._shrinking = set()
                    self._values = {}
                    self._lost = False
                    self._left = sorted(self.living)
                    self._changed.notify_all()
                else:
                    self._changed.wait()
            return self._left


class MortalRank(ThreadRank):
    """One rank, which dies when it comes to a certain collective, counted from 1."""

    elastic = True

    def __init__(self, number: int, size: int, world: World, dies_at: int | None) -> None:
        self.rank, self.size, self.started = number, size, size
        self.members = [Member(each, "here", NO_PROCESS + each) for each in range(size)]
        self._number, self._world, self._dies_at = number, world, dies_at
        self._random = random.Random(number)
        self.collectives = 0

    def allgather(self, value: T) -> list[T]:
        self.collectives += 1
        if self.collectives == self._dies_at:
            self._world.die(self._number)
            raise DeathError
        return self._world.exchange(self._number, value)

    def shrink(self) -> None:
        left = self._world.shrink(self._number)
        self.members = [member for member in self.members if member.rank in left]
        self.rank, self.size = left.index(self._number), len(left)


def on_mortal_ranks(
    size: int, work: Callable[[Communicator], T], deaths: dict[int, int]
) -> list[T | Exception]:
    """Return what `work` returned or raised on each rank; deaths: rank -> its fatal collective."""
    world = World(size)

    def one(number: int) -> T | Exception:
        try:
            return work(MortalRank(number, size, world, deaths.get(number)))
        except Exception as error:
            world.die(number)
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))
