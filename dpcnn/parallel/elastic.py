"""The communicator that outlives its ranks and takes in replacements: MPI's part of recovery.

MPI errors become RankLostError and `shrink` goes on without the dead: User-Level Failure
Mitigation (Bland et al., "Post-failure recovery of MPI communication capability", 2013), which
Open MPI has under `mpirun --with-ft ulfm`. `spawn` and `grow` replace the dead. One rank spawns, in
a thread: the MPI library would wait ten minutes for a process that dies before it has started MPI,
and meanwhile the others have to notice further deaths. Open MPI's failure detector watches the
ranks that were started together: a replacement rank that is stopped, not killed, is noticed when it
is overdue.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Self, TypeVar

from dpcnn.parallel.communicator import Communicator, Member, RankLostError, SpawnError
from dpcnn.parallel.launcher import REPLACES
from dpcnn.parallel.mpi import MPI, Array, MPICommunicator, start_mpi

C = TypeVar("C", bound=MPI.Comm)

LAST_WORDS = 0.1  # seconds for mpirun to read what was printed
ORPHANED = 150  # seconds after which a replacement rank ends that has not joined the others
JOINING = 15  # the same once it is ready: the others take ten at most, or all end
ENV = "/usr/bin/env"
MARK = "DPCNN_SPAWNED"  # the variable by which the processes of one spawn are known
LOOK = 0.25  # seconds between two looks for them
APPEARING = 10.0  # seconds for mpirun to start a process
GROW = 5  # tag of the messages in which two groups of ranks meet


class ElasticCommunicator(MPICommunicator):
    """The ranks of an MPI communicator that live."""

    elastic = True

    def __init__(self, comm: MPI.Intracomm) -> None:
        # Messages of a failed collective may still arrive, if a host was cut off for a while: their
        # buffers are kept for them, and not used again.
        self._going: list[MPI.Request] = []
        self._abandoned: list[MPI.Request] = []
        super().__init__(comm)
        self.started = self.size

    @classmethod
    def world(cls) -> Self:
        """Return the communicator of all ranks that were started; collective, starts MPI."""
        _start()
        return cls.of(MPI.COMM_WORLD)

    @classmethod
    def replacing(cls, lost_rank: int) -> Self:
        """Return the communicator of the rank that has started this one, and of its replacements.

        Starts MPI. This rank goes by the number of the one that was lost.
        """
        signal.alarm(ORPHANED)
        _start()
        with _rank_lost():
            parent = MPI.Comm.Get_parent()
            bridge = parent.Merge(high=True)
            parent.Disconnect()
        comm = cls.of(bridge, lost_rank)
        comm.replacement = True
        return comm

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        self._going = []
        try:
            with _rank_lost():
                yield
        except RankLostError:
            self._abandoned += self._going
            raise

    def _send(self, buffer: Array, rank: int, tag: int) -> MPI.Request:
        self._going.append(super()._send(buffer, rank, tag))
        return self._going[-1]

    def _receive(self, buffer: Array, rank: int, tag: int) -> MPI.Request:
        self._going.append(super()._receive(buffer, rank, tag))
        return self._going[-1]

    def _check_ranks(self) -> None:
        # A request that has begun to receive does not end with the rank it is from: if a host is
        # cut off, MPI goes on waiting for the rest.
        failed = self._comm.Get_failed()
        lost = failed.Get_size()
        failed.Free()
        if lost or self._comm.Is_revoked():
            raise MPI.Exception(MPI.ERR_PROC_FAILED)

    def shrink(self) -> None:
        """Become the communicator of the ranks that live.

        Collective over the living; vectors have to be asked for again. Raises RankLostError if
        more die meanwhile.
        """
        before = self._comm
        with self._errors():
            before.Revoke()
            smaller = MPI.Intracomm(before.Shrink())
        # Without any message, so that no rank can fail here while another goes on.
        group = smaller.Get_group()
        ranks = MPI.Group.Translate_ranks(group, range(smaller.Get_size()), before.Get_group())
        self.members = [self.members[rank] for rank in ranks]
        self._use(smaller)

    def spawn(
        self,
        command: Sequence[str],
        ranks: Sequence[int],
        variables: Mapping[str, str],
        limit: float,
    ) -> Communicator:
        """Start replacements of these ranks; return the communicator of this rank and them.

        Not collective. Raises SpawnError if they do not come, RankLostError if one dies then.
        """
        mark = uuid.uuid4().hex
        variables = {**variables, MARK: mark}
        starting = ThreadPoolExecutor(1).submit(_spawn, command, ranks, variables)
        try:
            near = len(set(self.hosts)) == 1
            bridge = _outcome(starting, f"{MARK}={mark}".encode(), limit, near)
        except MPI.Exception as error:
            raise SpawnError(error.Get_error_string()) from None
        return self.of(bridge, timeout=limit)

    def grow(self, bridge: Communicator | None, replacements: Sequence[Member]) -> None:
        """Become the communicator of these ranks and the replacements; collective.

        `bridge` is what `spawn` has returned on rank 0, None on the others. Raises RankLostError if
        a rank dies meanwhile: then either all living ranks have grown, or none has.
        """
        peer = bridge._comm if isinstance(bridge, ElasticCommunicator) else self._comm
        inter = self._make_everywhere(lambda: self._comm.Create_intercomm(0, peer, 1, GROW))
        larger = self._make_everywhere(lambda: _merge(inter, high=False))
        self.members = [*self.members, *replacements]
        self._use(larger)
        self._introduce()

    def join(self) -> None:
        """Become the communicator of all ranks: what a replacement does while the others `grow`.

        Ends this process if that takes too long, by the system's alarm: Open MPI may repeat a
        message to nobody for ever, in which no thread of Python's gets its turn.
        """
        signal.alarm(JOINING)
        with self._errors():
            inter = MPI.COMM_WORLD.Create_intercomm(0, self._comm, 0, GROW)
            self._use(_merge(inter, high=True))
        self._introduce()
        self.replacement = False
        signal.alarm(0)

    def _introduce(self) -> None:
        """Tell the replacements what the others know of the world."""
        self.members, self.started = self.bcast((self.members, self.started))

    def _make_everywhere(self, make: Callable[[], C]) -> C:
        """Return what `make` returns; raises RankLostError on all ranks or on none. Collective."""
        made = None
        try:
            made = make()
        except MPI.Exception:
            self._comm.Revoke()  # other ranks may be waiting in there for this one
        with self._errors():
            everywhere = self._comm.Agree(int(made is not None))
        if made is None or not everywhere:
            raise RankLostError("a rank died while the world grew")
        return made

    def finish(self, code: int) -> None:
        """Exit with this code, once all ranks have come here; MPI is left as it is.

        Open MPI kills a job when a rank exits with an error, and may lose what rank 0 has printed:
        rank 0 exits with the code when mpirun has had time to read, the others with 0.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(RankLostError):
            self.allgather(None)
        if self.rank:
            os._exit(0)
        if code:
            time.sleep(LAST_WORDS)
        os._exit(code)


def _start() -> None:
    # The failure detector has a thread of its own. After a death MPI_Finalize may hang, so ranks
    # exit in `finish`.
    start_mpi(MPI.THREAD_MULTIPLE, finalize=False)


@contextlib.contextmanager
def _rank_lost() -> Iterator[None]:
    """Turn MPI's errors into RankLostError: survivors see any of several error classes."""
    try:
        yield
    except MPI.Exception as error:
        raise RankLostError(error.Get_error_string()) from error


def _spawn(
    command: Sequence[str], ranks: Sequence[int], variables: Mapping[str, str]
) -> MPI.Intracomm:
    """Start the processes; return this one and them, once they have started MPI."""
    # MPI's info could set variables too, but its values are short.
    known = [f"{name}={value}" for name, value in variables.items()]
    arguments = [[*known, f"{REPLACES}={rank}", *command] for rank in ranks]
    # Open MPI does not free the slot of a dead rank. Given once: twice is a conflict to it.
    infos = [MPI.Info.Create({"map_by": ":OVERSUBSCRIBE"}), *[MPI.INFO_NULL] * (len(ranks) - 1)]
    commands, counts = [ENV] * len(ranks), [1] * len(ranks)
    spawned = MPI.COMM_SELF.Spawn_multiple(commands, arguments, counts, infos)
    bridge = spawned.Merge(high=False)
    spawned.Disconnect()
    return bridge


def _outcome(
    starting: Future[MPI.Intracomm], mark: bytes, limit: float, near: bool
) -> MPI.Intracomm:
    """Return what `_spawn` returns; raises SpawnError, and leaves no process that has the mark.

    MPI waits for a process that has died, and for an mpirun (5.0.11) that starts none: those of
    this host are seen to. near: whether all are to be on this host.
    """
    seen: set[int] = set()
    for look in range(math.ceil(limit / LOOK)):
        if wait([starting], LOOK).done:
            return starting.result()
        now = _marked(mark)
        died = seen - now
        seen |= now
        unseen = near and not seen and look * LOOK >= APPEARING
        if (died or unseen) and not wait([starting], LOOK).done:
            break
    for process in _marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    if died:
        raise SpawnError("it died before it was ready")
    waited = APPEARING if unseen else limit
    raise SpawnError(f"nothing heard of it for {waited:g} s", silent=True)


def _marked(mark: bytes) -> set[int]:
    """Return the processes of this host that have this in their environment."""
    found = set()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                found.add(int(name))
    return found


def _merge(inter: MPI.Intercomm, high: bool) -> MPI.Intracomm:
    try:
        return inter.Merge(high)
    except MPI.Exception:
        inter.Revoke()  # other ranks may be waiting in there for this one
        raise
