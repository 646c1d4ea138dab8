"""The ranks and what they say to each other: one interface, for one process and for MPI.

Methods carry MPI's own names; as in mpi4py, capital letters are for buffers and small ones for
objects. The one-process communicator is the whole reference: it needs no MPI, and every other one
behaves like it does with rank 0 of 1.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.errors import DpcnnError
from dpcnn.parallel.shared_memory import aligned_zeros

T = TypeVar("T")
Array = NDArray[Any]


class RankLostError(Exception):
    """A rank died, as this or another rank has noticed; this collective was not finished."""


class SpawnError(Exception):
    """Replacement ranks could not be started, or did not become ready.

    silent: whether that took as long as it may, so that another try would cost as much.
    """

    def __init__(self, reason: str, silent: bool = False) -> None:
        super().__init__(reason, silent)
        self.reason, self.silent = reason, silent

    def __str__(self) -> str:
        return self.reason


class OverdueError(DpcnnError):
    """Some ranks did not come to a collective within the timeout."""

    final = False


class StartError(DpcnnError):
    """A rank died before all had met."""

    final = False


class BugError(Exception):
    """An exception that nobody expects, which some ranks have met in the same place.

    Raised on all ranks. error: what this rank has met, None if nothing. note: on the lowest of
    those that have met one, which speaks for all, what there is to say of the others; None on
    every other rank.
    """

    def __init__(self, error: Exception | None, note: str | None) -> None:
        super().__init__(error, note)
        self.error, self.note = error, note


# What is no bug of all ranks: memory and disks are one machine's, and others may have more.
OF_ONE_RANK = (DpcnnError, RankLostError, BugError, MemoryError, OSError)


@dataclass(frozen=True)
class Member:
    """A rank: the number it was started with, which names it for good, its host and process."""

    rank: int
    host: str
    process: int

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"


class Communicator:
    """A world of one process, and the interface of all worlds.

    `members` has one Member a rank and `library` names the MPI library. An `elastic` world outlives
    the death of ranks: its collectives raise RankLostError then. `waited` counts the seconds that
    Allreduce has spent until the last rank had come; `timeout` is how many seconds a rank may take
    to come, and `last_step` the newest step that all have made, for the message when one does not.
    `started` is the number of ranks that the world had at first; a `replacement` rank has yet to
    `join` it.
    """

    rank = 0
    size = 1
    library = "none (one process)"
    elastic = False
    waited = 0.0
    timeout = math.inf
    last_step = 0
    started = 1
    replacement = False

    def __init__(self) -> None:
        self.members = [Member(0, socket.gethostname(), os.getpid())]

    @property
    def hosts(self) -> list[str]:
        """The host name of every rank."""
        return [member.host for member in self.members]

    def split_by_node(self) -> Communicator:
        """Return the communicator of the ranks on this node, which share its memory; collective."""
        return self

    def vector(self, length: int, dtype: DTypeLike, out_dtype: DTypeLike) -> Array:
        """Return zeros (length,), from which Allreduce into a vector of out_dtype is fastest.

        Collective. A communicator has one such vector at a time.
        """
        return aligned_zeros(length, dtype)

    def Allreduce(self, values: Array, scalars: Array, out: Array) -> None:
        """Write the sum of values over all ranks into out; replace scalars by their sum.

        values (P,) and out (P,), of a type that may be shorter: sums are rounded to it once.
        """
        np.copyto(out, values, casting="same_kind")

    def bcast(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        return value

    def allgather(self, value: T) -> list[T]:
        """Return every rank's value, in rank order."""
        return [value]

    def shrink(self) -> None:
        """Become the communicator of the ranks that live."""

    def spawn(
        self,
        command: Sequence[str],
        ranks: Sequence[int],
        variables: Mapping[str, str],
        limit: float,
    ) -> Communicator:
        """Start replacements of these ranks; return the communicator of this rank and them.

        `variables` are added to their environment. Raises SpawnError if they do not come within
        `limit` seconds, which is also the timeout of what is returned.
        """
        raise SpawnError("not in a world of one process")

    def grow(self, bridge: Communicator | None, replacements: Sequence[Member]) -> None:
        """Become the communicator of these ranks and the replacements.

        `bridge` is what `spawn` has returned on rank 0, None on the others.
        """

    def join(self) -> None:
        """Become the communicator of all ranks, on a replacement rank."""

    def abort(self, code: int) -> None:
        """End all ranks at once with this exit code; does not return if there are others."""

    def end_with_exceptions(self, before: Callable[[], None]) -> None:
        """Make an uncaught exception of one rank end all ranks; that calls `before` when printed.

        One that all ranks raise (DpcnnError.collective) is printed by rank 0 alone.
        """

    def finish(self, code: int) -> None:
        """Exit with this code where Python's own way out could hang; else return."""

    def overdue(self, missing: list[int]) -> None:
        """Deal with ranks that did not come in time: kill them if elastic, else raise OverdueError.

        A rank is killed by the ranks of its host. If none of them has come, nobody can kill it, and
        OverdueError is raised too.
        """
        hosts = {member.host for rank, member in enumerate(self.members) if rank not in missing}
        if not self.elastic or any(self.members[rank].host not in hosts for rank in missing):
            names = ", ".join(str(self.members[rank]) for rank in missing)
            raise OverdueError(
                f"waited {self.timeout:g} s (--timeout) for {names}:"
                f" nothing heard after step {self.last_step:,}"
            )
        for rank in missing:
            if self.members[rank].host == self.members[self.rank].host:
                kill(self.members[rank])

    def on_all(self, action: Callable[[], T]) -> T:
        """Run `action` on every rank and return its result; an error of one rank is raised by all.

        Collective. A DpcnnError of the lowest failing rank is raised on every rank, marked as
        collective, and with its host's name if another host has none. Exceptions that nobody
        expects become a BugError; of one process they stay what they are, and so do those that
        concern one rank alone: they end the job.
        """
        result, error, bug = None, None, None
        try:
            result = action()
        except DpcnnError as caught:
            error = caught
        except Exception as caught:
            bug = self._of_all(caught)
        outcomes = self.allgather((error, None if bug is None else _in_words(bug)))
        bugs = {rank: text for rank, (_, text) in enumerate(outcomes) if text is not None}
        if bugs:
            self._raise_bug(bug, bugs)
        errors = {rank: e for rank, (e, _) in enumerate(outcomes) if e is not None}
        if errors:
            rank, first = next(iter(errors.items()))
            if {self.hosts[rank] for rank in errors} != set(self.hosts):
                first = type(first)(f"{self.hosts[rank]}: {first}")
            raise first.on_all_ranks() from first.__cause__
        return cast(T, result)

    def attempt(self, action: Callable[[], object]) -> Exception | None:
        """Run what needs no other rank; return the exception that nobody expects, for `fail`.

        In one process it is raised, and so are those that concern one rank alone.
        """
        try:
            action()
        except Exception as error:
            return self._of_all(error)
        return None

    def _of_all(self, error: Exception) -> Exception:
        """Return an exception that all ranks are to hear of; raise any other."""
        if self.size == 1 or isinstance(error, OF_ONE_RANK):
            raise error
        return error

    def fail(self, bug: Exception | None) -> NoReturn:
        """Raise BugError on all ranks, of which some have a bug; collective."""
        told = enumerate(self.allgather(None if bug is None else _in_words(bug)))
        self._raise_bug(bug, {rank: text for rank, text in told if text is not None})

    def _raise_bug(self, bug: Exception | None, bugs: Mapping[int, str]) -> NoReturn:
        """Raise BugError for what these ranks have met, in words."""
        lowest, *others = bugs
        alike = sum(bugs[rank] == bugs[lowest] for rank in others)
        lines = [f"and on {alike} more rank{'s' * (alike != 1)}"] if alike else []
        lines += [
            f"and {self.members[rank]}: {bugs[rank]}"
            for rank in others
            if bugs[rank] != bugs[lowest]
        ]
        raise BugError(bug, "\n".join(lines) if self.rank == lowest else None) from bug

    def on_root(self, action: Callable[[], T]) -> T:
        """Run `action` on rank 0 alone and return its result on every rank; errors as in on_all."""
        result = self.on_all(lambda: action() if self.rank == 0 else None)
        return self.bcast(cast(T, result))


def _in_words(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def kill(member: Member) -> None:
    """End a process of this host for good, if it is still there."""
    try:
        os.kill(member.process, signal.SIGKILL)
    except ProcessLookupError:
        return
