"""How a process meets the other ranks: chooses the communicator for the way it was started."""

from __future__ import annotations

import contextlib

from dpcnn.errors import LaunchError
from dpcnn.parallel.alarm import deadline
from dpcnn.parallel.communicator import Communicator, RankLostError, StartError
from dpcnn.parallel.launcher import SLURM, Launch

MEETING = 300.0  # seconds for all ranks to start Python and MPI, from a slow disk too
# Seconds between two ranks' words on that: the first one's end is mostly that of all.
APART = 1.0


def connect(launch: Launch, limit: float = MEETING) -> Communicator:
    """Return the world: one process without MPI unless a launcher started several; collective.

    limit: how many seconds the ranks may take to meet; this process ends if they do not. It is the
    world's timeout too. Raises LaunchError if mpi4py is missing or sees another number of ranks
    than were started, and StartError if a rank dies before all have met.
    """
    if launch.size == 1 and launch.replaces is None:
        return Communicator()
    library = _library(launch)
    cure = "start with the mpirun of that MPI, or install mpi4py for the MPI of this mpirun"
    if launch.launcher == SLURM:
        cure = "start with srun --mpi=pmix or --mpi=pmi2, or with the mpirun of that MPI"
    if launch.is_foreign_to(library):
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but mpi4py uses {library}, for which"
            f" each of them is a world of one: {cure}"
        )
    with _alarm(launch, limit):
        world = _world(launch)
    world.timeout = limit
    if launch.replaces is None and world.size != launch.size:
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but mpi4py uses {library} and sees a"
            f" world of {world.size}: {cure}"
        )
    return world


def _library(launch: Launch) -> str:
    """Return the name of mpi4py's MPI library; raises LaunchError where mpi4py cannot be used.

    mpi4py is imported here and nowhere earlier: a single process needs no MPI at all.
    """
    try:
        from dpcnn.parallel.mpi import library_name
    except ImportError as error:
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but mpi4py cannot be used"
            f" ({error}): install it in this environment (pip install mpi4py)"
        ) from error
    return library_name()


def _alarm(launch: Launch, limit: float) -> contextlib.AbstractContextManager[None]:
    """End this process if the ranks do not meet: MPI waits for ever for one that died before.

    The lowest rank speaks for all: mpirun ends the others then, unless they are to outlive it.
    """
    if launch.replaces is not None:
        return contextlib.nullcontext()  # it has an alarm of its own
    message = (
        f"waited {limit:g} s for all {launch.size} ranks to start: one of them has died, or hangs"
    )
    silent = launch.elastic and launch.rank > 0
    return deadline(limit + APART * min(launch.rank, 3), "" if silent else message)


def _world(launch: Launch) -> Communicator:
    """Start MPI and return the communicator of all ranks, or of a replacement and its starter."""
    from dpcnn.parallel.mpi import MPICommunicator

    if not launch.elastic:
        return MPICommunicator.world()
    from dpcnn.parallel.elastic import ElasticCommunicator

    try:
        if launch.replaces is not None:
            return ElasticCommunicator.replacing(launch.replaces)
        return ElasticCommunicator.world()
    except RankLostError:
        raise StartError("lost a rank before all ranks had met") from None
