"""The ranks and what they say to each other: one interface, for one process and for MPI.

Methods carry MPI's own names; as in mpi4py, capital letters are for buffers and small ones for
objects. The one-process communicator is the whole reference: it needs no MPI, and every other one
behaves like it does with rank 0 of 1.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.errors import DpcnnError, LaunchError
from dpcnn.parallel.launcher import Launch

T = TypeVar("T")
Array = NDArray[Any]


class Communicator:
    """A world of one process, and the interface of all worlds.

    `node` is the communicator of the ranks on this node, `hosts` the host name of every rank and
    `library` the MPI library in words. `waited` counts the seconds that Allreduce has spent until
    the last rank had come to it.
    """

    rank = 0
    size = 1
    waited = 0.0
    library = "none (one process)"

    def __init__(self) -> None:
        self.hosts = [socket.gethostname()]

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

    def abort(self, code: int) -> None:
        """End all ranks at once with this exit code; does not return where there are others."""

    def together(self, action: Callable[[], T], only: bool = True) -> T | None:
        """Run `action` where `only` is true and raise on all ranks if it fails on any.

        Collective. An error of the lowest failing rank that is the user's to know (DpcnnError) is
        raised on every rank, marked as collective; any other exception is left to its own rank,
        which ends the job. Returns the action's result, None where it did not run.
        """
        result, error = None, None
        if only:
            try:
                result = action()
            except DpcnnError as caught:
                error = caught
        errors = [error for error in self.allgather(error) if error is not None]
        if errors:
            raise errors[0].on_all_ranks() from None
        return result


def connect(launch: Launch) -> Communicator:
    """Return the world: one process without MPI unless a launcher started several.

    Raises LaunchError if mpi4py is missing, or sees another number of ranks than were started.
    """
    if launch.size == 1:
        return Communicator()
    try:
        from dpcnn.parallel.mpi import MPICommunicator, library_name
    except ImportError as error:
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but mpi4py cannot be used"
            f" ({error}): install it in this environment (pip install mpi4py)"
        ) from error
    library = library_name()
    cure = "start with the mpirun of that MPI, or install mpi4py for the MPI of this mpirun"
    if launch.is_foreign_to(library):
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but mpi4py uses {library}, for which"
            f" each of them is a world of one: {cure}"
        )
    world = MPICommunicator.world()
    if world.size != launch.size:
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but mpi4py uses {library} and sees a"
            f" world of {world.size}: {cure}"
        )
    return world
