"""What a rank knows of itself and its host."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpcnn.parallel.communicator import Communicator

Facts = dict[str, Any]

SHARED_MEMORY = Path("/dev/shm")
QUOTA = Path("/sys/fs/cgroup/cpu.max")
PACKAGE = Path(__file__).parent.parent


def facts(comm: Communicator, threads: int) -> Facts:
    """Return the facts of this rank; `threads` are the BLAS threads it was asked to use.

    Those of environment.json, and: rank, host, code (a checksum of dpcnn's own files), bound (the
    cores it may run on), host_cores, quota (of cores, for its container; None: no limit) and
    shared_memory (bytes in all, None where there is none).
    """
    from dpcnn.system.environment import collect
    from dpcnn.version import __version__

    host = comm.hosts[comm.rank]
    return collect(__version__, [host], comm.library, threads) | {
        "rank": comm.rank,
        "host": host,
        "code": code(PACKAGE),
        "bound": sorted(os.sched_getaffinity(0)),
        "host_cores": os.cpu_count() or 1,
        "quota": quota(QUOTA),
        "shared_memory": shared_memory(SHARED_MEMORY),
    }


def code(package: Path) -> str:
    """Return a checksum of a package's Python files, short enough to be read."""
    checksum = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        checksum.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return checksum.hexdigest()[:8]


def quota(path: Path) -> float | None:
    """Return the cores that a control group's processes may use in all, None for no limit."""
    try:
        limit, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def shared_memory(path: Path) -> int | None:
    """Return the size in bytes of the memory that processes share by name, None without any."""
    try:
        return shutil.disk_usage(path).total
    except OSError:
        return None
