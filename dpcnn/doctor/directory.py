"""Whether a run can be kept in --run_dir: writing, locking, free space, and who else sees it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from dpcnn.doctor.finding import FAILURE, OK, WARNING, Finding, size_text
from dpcnn.parallel.communicator import Communicator

SPACE = 100 << 20  # bytes: some checkpoints of a network of a few million parameters
LOST_WITH = {"tmpfs": "the machine", "ramfs": "the machine", "overlay": "the container"}
LOCK = "lock"
MOUNTS = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
    """A mounted file system: where it is mounted, its type, and its source."""

    point: Path
    kind: str
    source: str


def run_directory(path: Path, comm: Communicator) -> list[Finding]:
    """Try out a run directory, or the one it would be made in; collective, leaves nothing."""
    with contextlib.ExitStack() as stack:
        folder, findings = _try_out(path, stack) if comm.rank == 0 else (None, [])
        folder, findings = comm.bcast((folder, findings))
        if folder is None:
            return findings
        views = comm.allgather(_view(folder))
    hosts = dict(zip(comm.hosts, views, strict=True))
    unseen = ", ".join(host for host, view in hosts.items() if view == "unseen")
    if unseen:
        cure = "put it on a file system that all hosts share, so that any of them can take over"
        findings.append(Finding(WARNING, f"{path}: not visible on {unseen}", cure))
    unlocked = ", ".join(host for host, view in hosts.items() if view == "unlocked")
    if unlocked:
        cure = "mount the file system with locks, or take care that no two jobs use it at once"
        findings.append(Finding(WARNING, f"{path}: locks have no effect on {unlocked}", cure))
    return findings


def _try_out(path: Path, stack: contextlib.ExitStack) -> tuple[Path | None, list[Finding]]:
    """Write, rename and lock in a folder that the stack removes; None if that is impossible."""
    parents = (path, *path.absolute().parents)
    existing = next(parent for parent in parents if os.path.lexists(parent))
    try:
        if not existing.is_dir():
            raise NotADirectoryError(0, "a file, expected a directory")
        temporary = tempfile.TemporaryDirectory(dir=existing, prefix=".dpcnn-doctor-")
        folder = Path(stack.enter_context(temporary))
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        stack.callback(os.close, lock)
        os.write(lock, b"dpcnn\n")
        os.fsync(lock)
        (folder / LOCK).rename(folder / f"{LOCK}.renamed")
        (folder / f"{LOCK}.renamed").rename(folder / LOCK)
        with contextlib.suppress(OSError):  # the ranks that then find no lock report it
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return folder, [_file_system(path, mount(existing), shutil.disk_usage(existing).free)]
    except OSError as error:
        where = "" if existing == path else f" in {existing}"
        cure = "name another directory with --run_dir, or make this one writable"
        return None, [Finding(FAILURE, f"{path}: {error.strerror}{where}", cure)]


def _file_system(path: Path, mounted: Mount, free: int) -> Finding:
    """Say what kind of file system was written to."""
    text = f"{path} on {mounted.kind} ({mounted.source}), {size_text(free)} free, writable"
    if free < SPACE:
        return Finding(WARNING, text, "free some space for checkpoints, or name another directory")
    if mounted.kind in LOST_WITH:
        text = f"{text}, but lost with {LOST_WITH[mounted.kind]}"
        return Finding(WARNING, text, "name a directory on a disk with --run_dir")
    return Finding(OK, text)


def _view(folder: Path) -> str:
    """Return what a rank sees of the locked file: unseen, locked, or unlocked."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return "unseen"
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "locked"
    except OSError:
        return "unlocked"  # this file system has no locks
    finally:
        os.close(lock)
    return "unlocked"


def mount(path: Path, table: Path = MOUNTS) -> Mount:
    """Return the mount that a path lies on: the last one of the deepest mount point."""
    deepest = Mount(Path("/"), "an unknown file system", "unknown")
    resolved = path.resolve()
    for line in table.read_text().splitlines():
        place, _, rest = line.partition(" - ")
        point = Path(place.split()[4].encode().decode("unicode_escape"))
        kind, source, *_ = rest.split()
        if resolved.is_relative_to(point) and len(point.parts) >= len(deepest.point.parts):
            deepest = Mount(point, kind, source)
    return deepest
