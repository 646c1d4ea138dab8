"""Where datasets are kept that were downloaded or decoded once: a directory of the user.

What was decoded can be made again, so only so much of it is kept: what was not used for longest
goes first, and nothing that a process has in use. Each that uses a file holds a shared lock on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path
from stat import S_ISREG

from dpcnn.errors import DataError

MOST = 16 << 30  # bytes of decoded datasets that are kept
STALE = 86_400.0  # seconds after which what a process has begun to write will not be finished
BEGUN = ".decoding-"  # how the names of such directories begin

_held: list[int] = []  # descriptors, whose locks end with the process


def cache_directory() -> Path:
    """Return $DPCNN_CACHE, or dpcnn in $XDG_CACHE_HOME or ~/.cache.

    Raises DataError if none of the variables is set and the user has no home.
    """
    if directory := os.environ.get("DPCNN_CACHE"):
        return Path(directory)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpcnn"
    except RuntimeError as error:
        raise DataError(f"no cache directory: {error} (set DPCNN_CACHE)") from error


def hold(path: Path) -> bool:
    """Keep a file in the cache while this process lives; tell whether it is there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    with contextlib.suppress(OSError):  # not every file system has locks
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    if os.fstat(descriptor).st_nlink == 0:  # removed between the two
        os.close(descriptor)
        return False
    _held.append(descriptor)
    with contextlib.suppress(OSError):
        os.utime(path)  # when it was last used
    return True


def prune(directory: Path, most: int | None = None) -> None:
    """Remove the files that were not used for longest, until no more than `most` bytes are left.

    most: MOST if left out. Files that a process holds stay.
    """
    with os.scandir(directory) as entries:
        found = [(entry, entry.stat(follow_symlinks=False)) for entry in entries]
    for entry, status in found:
        if entry.name.startswith(BEGUN) and status.st_mtime < time.time() - STALE:
            shutil.rmtree(entry.path, ignore_errors=True)
    files = [(status, entry.path) for entry, status in found if S_ISREG(status.st_mode)]
    size = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
        if size <= (MOST if most is None else most):
            break
        if _remove(path):
            size -= status.st_size


def _remove(path: str) -> bool:
    """Remove a file unless a process holds it; tell whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True
