"""Decides when an mpirun is no longer waited for: its run is over, or will never begin.

Open MPI's mpirun (5.0.11) may hang when its ranks are gone. And where a rank dies or is stopped
before MPI has started on all of them, MPI lets the others wait for it, for ever.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

# For how many seconds something is seen before it counts.
OVER = 3.0  # that no rank is left
LOST = 10.0  # that a run cannot begin: its rank 0 may be late to tell why the others have left
NEVER = 45.0  # that there is no rank yet
NEVER_ELSEWHERE = 300.0  # the same if there are other hosts, which have to be reached first


class View(NamedTuple):
    """What is seen of a run.

    ranks: the process ids of those on this host; stopped: of those that a signal has stopped;
    elsewhere: whether another host has ranks; told: whether the run has told of its beginning;
    ended: whether it has told of its end; asked: whether it was asked to stop; expected: how many
    ranks this host is to have.
    """

    ranks: frozenset[int]
    stopped: frozenset[int] = frozenset()
    elsewhere: bool = False
    told: bool = False
    ended: bool = False
    asked: bool = False
    expected: int = 0


class Patience:
    """Tells, look by look, whether a run is still worth waiting for.

    It counts the time between the looks as it was meant to be: a supervisor that was stopped, or
    starved, has seen nothing meanwhile.
    """

    def __init__(self, hosts: bool) -> None:
        self._hosts = hosts
        self._seen: set[int] = set()
        self._begun = False
        self._held: defaultdict[str, float] = defaultdict(float)

    def is_over(self, view: View, seconds: float) -> bool:
        """Take in a view, so many seconds after the one before; tell whether to wait no longer."""
        self._seen |= view.ranks
        self._begun |= bool(view.ranks) or view.elsewhere or view.told or view.ended
        return any(
            [
                self._holds("over", OVER, self._is_left(view), seconds),
                self._holds("lost", LOST, self._is_stuck(view), seconds),
                self._holds("never", self._never(), not self._begun, seconds),
            ]
        )

    def _is_left(self, view: View) -> bool:
        """Tell whether no rank is at work; those that are left at the end never took part."""
        nobody = not view.ranks and not view.elsewhere
        return view.ended or (nobody and (self._begun or view.asked))

    def _is_stuck(self, view: View) -> bool:
        """Tell whether a run that is starting lacks a rank, or does not do what it was asked to.

        Once it has begun its ranks look after each other. Rank 0 may tell another host of it.
        """
        few = len(view.ranks) < view.expected  # one may have died before it was seen
        lacks = bool(self._seen - view.ranks or view.stopped or few)
        return not (view.told or self._hosts) and (lacks or (view.asked and self._begun))

    def _never(self) -> float:
        return NEVER_ELSEWHERE if self._hosts else NEVER

    def _holds(self, name: str, limit: float, true: bool, seconds: float) -> bool:
        """Tell whether this has been true for so long."""
        self._held[name] = self._held[name] + seconds if true else 0.0
        return self._held[name] >= limit
