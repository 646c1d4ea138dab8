"""After a death: who lives, who is gone for good, and whether the living may go on.

Restores nothing itself: the trainer does, and redoes the step. Why a run never has two writers,
and never goes on by halves:

- A rank that has lost another one revokes the communicator, so that every living rank fails in
  its next collective and comes here; no step can be finished by some of the world.
- Lost ranks on a survivor's host are killed, in case they only hung.
- Where ranks of hosts without a survivor are missing, only a strict majority goes on: at a cut
  link both sides see the other one die.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

from dpcnn.errors import DpcnnError
from dpcnn.parallel.communicator import Communicator, Member, RankLostError, kill


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

    Collective over the living, whatever they did when they noticed. Raises EndedError if one of
    them leaves, MinorityError where going on is not safe.
    """
    before = comm.members
    codes = [code for code in _agree(comm, None) if code is not None]
    if codes:
        raise EndedError(max(codes))
    lost = [member for member in before if member not in comm.members]
    own = comm.members[comm.rank]
    for member in lost:
        if member.host == own.host:
            kill(member)
    unreachable = [member for member in lost if member.host not in comm.hosts]
    if unreachable and 2 * comm.size <= len(before):
        names = ", ".join(map(str, unreachable))
        raise MinorityError(
            f"lost {names}: {comm.size} of {len(before)} ranks are left, expected more than half"
        ).on_all_ranks()
    return lost


def leave(comm: Communicator, code: int) -> None:
    """Tell the others, in their `survivors`, that the job ends with this exit code."""
    _agree(comm, code)


def _agree(comm: Communicator, code: int | None) -> list[int | None]:
    """Shrink comm to the living and return their codes; again, if more die meanwhile."""
    while True:
        with contextlib.suppress(RankLostError), _deadline(comm.timeout):
            comm.shrink()
            return comm.allgather(code)


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End this process if the body takes longer: it waits inside the MPI library, for all."""

    def give_up() -> None:
        line = f"dpcnn: error: waited {seconds:g} s (--timeout) for the other ranks to recover"
        print(line, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
