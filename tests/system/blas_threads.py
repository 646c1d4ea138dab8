"""Prints how many threads BLAS tells of and how many compute: as loaded, limited to 4, afterwards.

One line a process, a list of pairs. With the argument `mpi` it starts MPI as a job does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dpcnn  # noqa: F401  (loads NumPy with one thread)
from dpcnn.system import blas


def cpu_times() -> dict[str, int]:
    """Return the CPU time of each thread of this process, in the kernel's ticks."""
    times = {}
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        times[task.name] = int(fields[11]) + int(fields[12])
    return times


def computing() -> int:
    """Multiply matrices for about half a second; return how many threads did so."""
    import numpy as np

    matrix = np.ones((2048, 2048), np.float32)
    before = cpu_times()
    for _ in range(2):
        matrix @ matrix
    spent = [time - before.get(name, 0) for name, time in cpu_times().items()]
    return sum(ticks > max(spent) / 4 for ticks in spent)  # idle threads spin for a few


def main() -> None:
    if sys.argv[1:] == ["mpi"]:
        from mpi4py import MPI  # noqa: F401
    found = [(blas.loaded()["threads"], computing())]
    with blas.limited(4):
        found.append((blas.loaded()["threads"], computing()))
    found.append((blas.loaded()["threads"], computing()))
    sys.stdout.write(json.dumps(found) + "\n")


main()
