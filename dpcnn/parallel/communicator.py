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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.errors import DpcnnError, LaunchError
from dpcnn.parallel.launcher import SLURM, Launch

T = TypeVar("T")
Array = NDArray[Any]


class RankLostError(Exception):
    """A rank died, or another rank has noticed that one did: this collective was not finished."""


class SpawnError(Exception):
    """New ranks could not be started, or did not come."""


class OverdueError(DpcnnError):
    """Some ranks did not come to a collective within the timeout."""

    final = False


class StartError(DpcnnError):
    """A rank died before all had met."""

    final = False


@dataclass(frozen=True)
class Member:
    """A rank as it was started: its first rank, which names it for good, its host and process."""

    rank: int
    host: str
    process: int

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"


class Communicator:
    """A world of one process, and the interface of all worlds.

    `node` is the communicator of the ranks on this node, `members` has one Member a rank and
    `library` is the MPI library in words. `elastic` tells that the world outlives the death of
    ranks: collectives raise RankLostError then. `waited` counts the seconds that Allreduce has
    spent until the last rank had come to it; `timeout` is how many a rank may take to come,
    `last_step` the newest step that all have made, for the message when one does not. `started` is
    how many ranks the world has had at most; a `newcomer` has to `join` it yet.
    """

    rank = 0
    size = 1
    library = "none (one process)"
    elastic = False
    waited = 0.0
    timeout = math.inf
    last_step = 0
    started = 1
    newcomer = False

    def __init__(self) -> None:
        self.members = [Member(0, socket.gethostname(), os.getpid())]

    @property
    def hosts(self) -> list[str]:
        """The host name of every rank."""
        return [member.host for member in self.members]

    @property
    def node(self) -> Communicator:
        """The ranks of this node."""
        return self

    def vector(self, length: int, dtype: DTypeLike, out_dtype: DTypeLike) -> Array:
        """Return zeros (length,), from which Allreduce into a vector of out_dtype is fastest.

        Collective. A communicator has one such vector at a time.
        """
        return np.zeros(length, dtype)

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
        """Start newcomers in the place of these ranks; return this rank and them.

        `variables` are added to their environment. Raises SpawnError if they do not come within
        `limit` seconds, which is also the timeout of what is returned.
        """
        raise SpawnError("not in a world of one process")

    def grow(self, bridge: Communicator | None, newcomers: Sequence[Member]) -> None:
        """Become the communicator of the ranks and newcomers; `bridge` is rank 0's of spawning."""

    def join(self) -> None:
        """Become the communicator of all ranks, for a newcomer."""

    def abort(self, code: int) -> None:
        """End all ranks at once with this exit code; does not return where there are others."""

    def end_with_exceptions(self) -> None:
        """Let an exception that nobody catches, on one rank, end all ranks and not this one alone.

        Unless all ranks have it (DpcnnError.collective): then rank 0 prints it for all.
        """

    def finish(self, code: int) -> None:
        """Leave with this exit code where Python's own way out could hang; else return."""

    def overdue(self, missing: list[int]) -> None:
        """Deal with ranks that did not come in time: raises OverdueError, or kills them if elastic.

        A rank is killed by those of its host; where none of them has come, nobody could.
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

    def together(self, action: Callable[[], T], only: bool = True) -> T | None:
        """Run `action` where `only` is true and raise on all ranks if it fails on any.

        Collective. An error of the lowest failing rank that is the user's to know (DpcnnError) is
        raised on every rank, marked as collective, and with its host's name where another host has
        none; any other exception is left to its own rank, which ends the job. Returns the action's
        result, None where it did not run.
        """
        result, error = None, None
        if only:
            try:
                result = action()
            except DpcnnError as caught:
                error = caught
        errors = {rank: each for rank, each in enumerate(self.allgather(error)) if each is not None}
        if errors:
            rank, first = next(iter(errors.items()))
            if {self.hosts[rank] for rank in errors} != set(self.hosts):
                first = type(first)(f"{self.hosts[rank]}: {first}")
            raise first.on_all_ranks() from None
        return result


def kill(member: Member) -> None:
    """End a process of this host for good, if it is still there."""
    try:
        os.kill(member.process, signal.SIGKILL)
    except ProcessLookupError:
        return


def connect(launch: Launch) -> Communicator:
    """Return the world: one process without MPI unless a launcher started several.

    Raises LaunchError if mpi4py is missing, or sees another number of ranks than were started.
    """
    if launch.replaces is not None:
        return _newcomer(launch.replaces)
    if launch.size == 1:
        return Communicator()
    try:
        from dpcnn.parallel.mpi import library_name
    except ImportError as error:
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but mpi4py cannot be used"
            f" ({error}): install it in this environment (pip install mpi4py)"
        ) from error
    library = library_name()
    cure = "start with the mpirun of that MPI, or install mpi4py for the MPI of this mpirun"
    if launch.launcher == SLURM:
        cure = "start with srun --mpi=pmix or --mpi=pmi2, or with the mpirun of that MPI"
    if launch.is_foreign_to(library):
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but mpi4py uses {library}, for which"
            f" each of them is a world of one: {cure}"
        )
    try:
        world = _world(launch.elastic)
    except RankLostError:
        raise StartError("lost a rank before all ranks had met") from None
    if world.size != launch.size:
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but mpi4py uses {library} and sees a"
            f" world of {world.size}: {cure}"
        )
    return world


def _world(elastic: bool) -> Communicator:
    """Return the communicator of all ranks that were started; one that outlives them if elastic."""
    if elastic:
        from dpcnn.parallel.elastic import ElasticCommunicator

        return ElasticCommunicator.world()
    from dpcnn.parallel.mpi import MPICommunicator

    return MPICommunicator.world()


def _newcomer(replaces: int) -> Communicator:
    """Return the communicator of a rank that was started in the place of another one."""
    from dpcnn.parallel.elastic import ElasticCommunicator

    try:
        return ElasticCommunicator.replacement(replaces)
    except RankLostError:
        raise StartError("lost the rank that has started this one") from None
