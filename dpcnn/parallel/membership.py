"""After a death: which ranks live, whether they may go on, and which replacements join them.

It restores no state: training/recovery.py does. Why a run never has two writers, and is never
continued by only some of its ranks:

- A rank that has lost another one revokes the communicator, so that every living rank fails in
  its next collective and comes here. No step can be finished by some of the world.
- Lost ranks on a survivor's host are killed, in case they only hang; so are those that do not come
  here within the timeout. A rank that is here shows it by the name of its process, since one that
  hangs answers no message, and MPI does not tell the others who is missing.
- If no rank of some host is left, only a strict majority goes on: at a cut link each side sees the
  other one die.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dpcnn.errors import DpcnnError
from dpcnn.parallel.alarm import after, deadline, end_this
from dpcnn.parallel.communicator import (
    Communicator,
    Member,
    OverdueError,
    RankLostError,
    SpawnError,
    kill,
)

T = TypeVar("T")

RECOVERING = "dpcnn-recovers"  # Linux keeps 15 characters
SPAWNING = 60.0  # seconds at most for replacements to start MPI, and again to be ready
GROWING = 10.0  # seconds at most for ranks that are ready to become one world
NOTICING = 2.0  # seconds for MPI to notice a death in that


class EndedError(Exception):
    """Another rank has ended the job, with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ended by another rank with exit code {code}")
        self.code = code


class MinorityError(DpcnnError):
    """Too few ranks are left to be sure that the others do not go on without them."""

    final = False


def survivors(comm: Communicator) -> list[Member]:
    """Make comm the communicator of the ranks that live; return those that were lost.

    Collective over the living, whatever they were doing, each of them `recovering`. Raises
    EndedError if one of them ends the job, MinorityError if going on is not safe.
    """
    before = comm.members
    codes = [code for code in _agree(comm, None) if code is not None]
    if codes:
        raise EndedError(max(codes))
    lost = [member for member in before if member not in comm.members]
    _kill_near(comm, lost)
    unreachable = [member for member in lost if member.host not in comm.hosts]
    if unreachable and 2 * comm.size <= len(before):
        names = ", ".join(map(str, unreachable))
        raise MinorityError(
            f"lost {names}: {comm.size} of {len(before)} ranks are left, expected more than half"
        ).on_all_ranks()
    return lost


def leave(comm: Communicator, code: int) -> None:
    """Tell the others, in their `survivors`, that the job ends with this exit code."""
    with recovering():
        _agree(comm, code)


def missing(comm: Communicator) -> list[int]:
    """Return the ranks that the world was started with and no longer has."""
    return sorted(set(range(comm.started)) - {member.rank for member in comm.members})


def respawn(
    comm: Communicator,
    ranks: Sequence[int],
    command: Sequence[str],
    variables: Mapping[str, str],
    message: Any,
) -> list[Member]:
    """Start replacements of lost ranks and take them into the world; return them.

    Collective over the living, but only rank 0's arguments count: the lost ranks, the command of
    their replacements, what is added to their environment, and the message that `join` gets there.
    Raises SpawnError on all ranks if the replacements do not become ready, RankLostError if a rank
    dies meanwhile.
    """
    patience, limit = comm.timeout, min(comm.timeout, SPAWNING)
    bridge, failure = None, None
    replacements: list[Member] = []
    comm.timeout = patience + 3 * limit  # rank 0 must not be taken for a rank that hangs
    try:
        if comm.rank == 0 and ranks:
            try:
                bridge = _start(comm, ranks, command, variables, message, limit)
                replacements = bridge.members[1:]
            except SpawnError as error:
                failure = error
        replacements, failure = comm.bcast((replacements, failure))
        if failure is not None:
            raise failure
        if replacements:
            with _deadline(min(patience, GROWING)), _watching(comm, replacements):
                comm.grow(bridge, replacements)
    except BaseException:
        _kill_near(comm, replacements)
        raise
    finally:
        comm.timeout = patience
    return replacements


def _start(
    comm: Communicator,
    ranks: Sequence[int],
    command: Sequence[str],
    variables: Mapping[str, str],
    message: Any,
    limit: float,
) -> Communicator:
    """Start replacements, give them the message and wait until they are ready; for rank 0 alone.

    Returns the communicator of rank 0 and them. Raises SpawnError with the reason.
    """
    try:
        bridge = comm.spawn(command, ranks, variables, limit)
    except RankLostError:
        raise SpawnError("it died before it was ready") from None
    try:
        bridge.bcast(message)
        failures = list(filter(None, bridge.allgather("")))
    except RankLostError:
        failures = ["it died before it was ready"]
    except OverdueError as error:
        _kill_near(comm, bridge.members[1:])
        raise SpawnError(str(error), silent=True) from None
    if failures:
        _kill_near(comm, bridge.members[1:])
        raise SpawnError(failures[0])
    return bridge


def join(comm: Communicator, prepare: Callable[[Any], T]) -> T:
    """Join the world as a replacement rank; return what `prepare` makes of rank 0's message.

    Ends this process if that fails, or a rank is lost before this one has joined.
    """
    this = comm.members[comm.rank]
    try:
        message = comm.bcast(None)
        try:
            prepared = prepare(message)
        except Exception as error:
            comm.allgather(" ".join(f"{type(error).__name__}: {error}".split()))
            raise
        comm.allgather("")
        comm.join()
    except BaseException:
        kill(this)
        raise
    return prepared


def _kill_near(comm: Communicator, members: Sequence[Member]) -> None:
    """Kill those of these members that are on this host."""
    for member in members:
        if member.host == comm.hosts[comm.rank]:
            kill(member)


def _agree(comm: Communicator, code: int | None) -> list[int | None]:
    """Shrink comm to the living and return their codes; again, if more die meanwhile."""
    while True:
        laggards = after(comm.timeout, lambda: _kill_laggards(comm))
        with contextlib.suppress(RankLostError), laggards, _deadline(2 * comm.timeout):
            comm.shrink()
            return comm.allgather(code)


@contextlib.contextmanager
def recovering() -> Iterator[None]:
    """Show the other processes of this host, while the body runs, that this rank is here."""
    before = _process_name(os.getpid())
    _rename_process(RECOVERING)
    try:
        yield
    finally:
        _rename_process(before)


def _rename_process(name: str) -> None:
    with contextlib.suppress(OSError):  # some sandboxes forbid it
        Path("/proc/self/comm").write_text(name)


def _process_name(process: int) -> str:
    """Return the name of a process of this host, "" if it is gone."""
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _kill_laggards(comm: Communicator) -> None:
    """Kill the ranks of this host that are not recovering, if process names can tell."""
    if _process_name(os.getpid()) == RECOVERING:
        laggards = [m for m in comm.members if _process_name(m.process) != RECOVERING]
        _kill_near(comm, laggards)


def _deadline(seconds: float) -> contextlib.AbstractContextManager[None]:
    """End this process if the body, which waits inside the MPI library, takes longer."""
    return deadline(seconds, f"waited {seconds:g} s (see --timeout) for the other ranks to recover")


@contextlib.contextmanager
def _watching(comm: Communicator, replacements: Sequence[Member]) -> Iterator[None]:
    """End this process if one of these dies while the world grows, and MPI waits for it.

    Open MPI (5.0.11) may do that for ever. No rank can go on then: all begin again.
    """
    near = [member for member in replacements if member.host == comm.hosts[comm.rank]]
    grown = threading.Event()

    def watch() -> None:
        while not grown.wait(NOTICING / 4):
            if not all(_process_name(member.process) for member in near):
                if not grown.wait(NOTICING):
                    end_this("a replacement rank died while the world grew: all ranks begin again")
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        grown.set()
