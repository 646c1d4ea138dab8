"""What a rank has: versions, cores, BLAS and memory, as its own process sees them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from dpcnn.doctor.limits import has_infiniband, limits, numa_nodes
from dpcnn.parallel.communicator import Communicator
from dpcnn.system.cores import quota
from dpcnn.system.environment import collect
from dpcnn.version import __version__

Inventory = dict[str, Any]

SHARED_MEMORY = Path("/dev/shm")
PACKAGE = Path(__file__).parent.parent


def inventory(comm: Communicator, threads: int) -> Inventory:
    """Return the inventory of this rank; threads: the BLAS threads it was asked to use.

    It has what environment.json has, and: rank, host, code (a checksum of dpcnn's own files),
    bound (the cores it may run on), host_cores, numa_nodes (the cores of each), quota (of cores,
    for its container; None: no limit), shared_memory (bytes in all, None if there is none), limits
    (open_files, locked_memory and memory; bytes, None: no limit) and infiniband (whether its host
    has that).
    """
    host = comm.hosts[comm.rank]
    return collect(__version__, [host], comm.library, threads) | {
        "rank": comm.rank,
        "host": host,
        "code": checksum(PACKAGE),
        "bound": sorted(os.sched_getaffinity(0)),
        "host_cores": os.cpu_count() or 1,
        "quota": quota(),
        "numa_nodes": numa_nodes(),
        "shared_memory": shared_memory(SHARED_MEMORY),
        "limits": limits(),
        "infiniband": has_infiniband(),
    }


def checksum(package: Path) -> str:
    """Return a checksum of a package's Python files, short enough to be read."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]


def shared_memory(path: Path) -> int | None:
    """Return the size in bytes of the memory that processes share by name, None if none."""
    try:
        return shutil.disk_usage(path).total
    except OSError:
        return None
