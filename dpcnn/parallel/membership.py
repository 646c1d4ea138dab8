"""After a death: who lives, who is gone for good, whether the living may go on, who comes instead.

Restores nothing itself: the trainer does, and redoes the step. Why a run never has two writers,
and never goes on by halves:

- A rank that has lost another one revokes the communicator, so that every living rank fails in
  its next collective and comes here; no step can be finished by some of the world.
- Lost ranks on a survivor's host are killed, in case they only hung; so are those that do not come
  here within the timeout. Who is here shows it by the name of its process: a rank that hangs
  answers no message, and the others wait for it in there without a word of who is missing.
- Where ranks of hosts without a survivor are missing, only a strict majority goes on: at a cut
  link both sides see the other one die.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dpcnn.errors import DpcnnError
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
SPAWNING = 60.0  # seconds at most for newcomers to come, and again to be ready


class EndedError(Exception):
    """Another rank has ended the job, with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ended by another rank with exit code {code}")
        self.code = code


class MinorityError(DpcnnError):
    """Too few ranks are left to know that the others do not go on without them."""

    final = False


def survivors(comm: Communicator) -> list[Member]:
    """Make comm the communicator of the ranks that live; return those that were lost.

    Collective over the living, whatever they did when they noticed, each `recovering`. Raises
    EndedError if one of them leaves, MinorityError where going on is not safe.
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
    """Return the ranks that the world was started with and has not now."""
    return sorted(set(range(comm.started)) - {member.rank for member in comm.members})


def respawn(
    comm: Communicator,
    ranks: Sequence[int],
    command: Sequence[str],
    variables: Mapping[str, str],
    told: Any,
) -> str:
    """Start newcomers in the place of lost ranks, and go on with them.

    Collective over the living, but only rank 0's arguments count: the command of the newcomers,
    what is added to their environment, and what `enter` is told there. Returns why they have not
    come, if so. Raises RankLostError if a rank dies meanwhile.
    """
    patience, limit = comm.timeout, min(comm.timeout, SPAWNING)
    bridge, newcomers, reason, grown = None, list[Member](), "", False
    comm.timeout = patience + 3 * limit  # rank 0 is not to be taken for one that hangs
    try:
        if comm.rank == 0 and ranks:
            try:
                bridge = comm.spawn(command, ranks, variables, limit)
                newcomers = bridge.members[1:]
                bridge.bcast(told)
                reason = next(filter(None, bridge.allgather("")), "")
            except RankLostError:
                reason = "it died before it was ready"
            except (SpawnError, OverdueError) as error:
                reason = str(error)
        newcomers, reason = comm.bcast((newcomers, reason))
        if newcomers and not reason:
            with _deadline(patience):
                comm.grow(bridge, newcomers)
            grown = True
    finally:
        comm.timeout = patience
        if not grown:
            _kill_near(comm, newcomers)
    return reason


def enter(comm: Communicator, prepare: Callable[[Any], T], meet: Callable[[T], None]) -> T:
    """Join the world as a newcomer: prepare from what rank 0 tells, join, meet the others.

    Ends this process where it cannot be prepared, or a rank is lost before the end.
    """
    own = comm.members[comm.rank]
    try:
        told = comm.bcast(None)
        try:
            prepared = prepare(told)
        except Exception as error:
            comm.allgather(" ".join(f"{type(error).__name__}: {error}".split()))
            raise
        comm.allgather("")
        comm.join()
        meet(prepared)
    except BaseException:
        kill(own)
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
        laggards = _after(comm.timeout, lambda: _kill_laggards(comm))
        with contextlib.suppress(RankLostError), laggards, _deadline(2 * comm.timeout):
            comm.shrink()
            return comm.allgather(code)


@contextlib.contextmanager
def recovering() -> Iterator[None]:
    """Show the other processes of this host that this one is here, while the body runs."""
    before = _name(os.getpid())
    _rename(RECOVERING)
    try:
        yield
    finally:
        _rename(before)


def _rename(name: str) -> None:
    with contextlib.suppress(OSError):  # some sandboxes forbid it
        Path("/proc/self/comm").write_text(name)


def _name(process: int) -> str:
    """Return the name of a process of this host, nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _kill_laggards(comm: Communicator) -> None:
    """Kill the ranks of this host that are not here, if names tell."""
    if _name(os.getpid()) == RECOVERING:
        _kill_near(comm, [each for each in comm.members if _name(each.process) != RECOVERING])


def _deadline(seconds: float) -> contextlib.AbstractContextManager[None]:
    """End this process if the body takes longer: it waits inside the MPI library, for all."""

    def give_up() -> None:
        line = f"dpcnn: error: waited {seconds:g} s (see --timeout) for the other ranks to recover"
        print(line, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    return _after(seconds, give_up)


@contextlib.contextmanager
def _after(seconds: float, action: Callable[[], None]) -> Iterator[None]:
    """Do this in a thread if the body takes longer."""
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), action)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
