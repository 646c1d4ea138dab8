"""Removes what runs that were killed have left in shared memory and the temporary directory.

MPICH leaves 3 MB of shared memory a run and a description of the machine, Open MPI a directory, a
supervisor what it was told. Only files of this user are touched, and none that may be in use.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
# Seconds after which nobody needs a file whose user is not seen. Ranks map or read it at their
# start; a supervisor, which in another container cannot be seen, needs its directory to its end.
STARTED = 600.0
ENDED = 86400.0


def sweep(shared_memory: Path = SHARED_MEMORY, temporary: Path | None = None) -> None:
    """Remove what is left over; what cannot be removed is left alone."""
    temporary = temporary or Path(tempfile.gettempdir())
    mapped = "".join(_read("maps"))
    for path in _older(shared_memory, "mpich_shm_*", STARTED):
        if path.name not in mapped:
            _remove(path)
    for path in _older(temporary, "hydra_hwloc_xmlfile_*", STARTED):
        _remove(path)
    for path in _older(temporary, "ompi.*", STARTED):
        process = re.fullmatch(r"ompi\.(\d+)", path.name)
        here = (path / f"pmix.{socket.gethostname()}.tool").exists()
        if process and here and not Path("/proc", process[1]).exists():
            _remove(path)
    environments = "".join(_read("environ"))
    for path in _older(temporary, "dpcnn-*", ENDED):
        if re.fullmatch("dpcnn-[0-9a-f]{32}", path.name) and path.name not in environments:
            _remove(path)


def _older(folder: Path, pattern: str, seconds: float) -> Iterator[Path]:
    """Yield this user's files and directories that have not changed for so long."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > seconds:
                yield path


def _read(name: str) -> Iterator[str]:
    """Yield this file of each process that may be read."""
    for path in Path("/proc").glob(f"[0-9]*/{name}"):
        with contextlib.suppress(OSError):
            yield path.read_text(errors="replace")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
