"""How much of this machine's processors its processes may use: their cores, and a quota of time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # as a container sees its own control group
# Where the two versions of control groups keep the quota; launch/lib/ranks.sh reads them too.
VERSION_2 = ("cpu.max",)
VERSION_1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


def quota(cgroup: Path = CGROUP) -> float | None:
    """Return how many cores the processes of a control group may use, None for no limit."""
    for names in (VERSION_2, VERSION_1):
        try:
            limit, period = " ".join((cgroup / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        return int(limit) / int(period) if limit.isdecimal() else None
    return None


def usable(cgroup: Path = CGROUP) -> int:
    """Return how many ranks have a core of their own here, as launch/local counts: 1 or more."""
    cores = len(os.sched_getaffinity(0))
    return max(1, int(min(quota(cgroup) or cores, cores)))


def limited(cgroup: Path = CGROUP) -> str:
    """Return in words what a quota leaves of the cores of this process, "" if it leaves all."""
    cores, allowed = len(os.sched_getaffinity(0)), quota(cgroup)
    if allowed is None or allowed >= cores:
        return ""
    return f"the container's CPU quota is {allowed:g} of {cores} cores"


def shared(ranks: Sequence[tuple[str, set[int], float | None]]) -> str:
    """Return in words where more ranks than cores are, "" if nowhere.

    ranks: the host of each, the cores that it may run on, and the quota there.
    """
    crowded = []
    for host in dict.fromkeys(host for host, _, _ in ranks):
        here = [(cores, quota) for name, cores, quota in ranks if name == host]
        bound, allowed = len(set[int]().union(*(cores for cores, _ in here))), here[0][1]
        room = bound if allowed is None else min(bound, allowed)
        if len(here) > room:
            why = f" of {bound}, by the container's CPU quota" if room < bound else ""
            crowded.append(f"{room:g}{why}, for {len(here)} ranks on {host}, which take turns")
    return "; ".join(crowded)
