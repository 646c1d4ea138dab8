"""Whether a run can be kept where --run_dir says: writing, locking, room, and who else sees it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dpcnn.doctor.checks import size_in_words
from dpcnn.doctor.finding import FAILURE, OK, WARNING, Finding

if TYPE_CHECKING:
    from dpcnn.parallel.communicator import Communicator

ROOM = 100 << 20  # bytes: some checkpoints of a network of a few million parameters
PASSING = {"tmpfs": "the machine", "ramfs": "the machine", "overlay": "the container"}
LOCK = "lock"
MOUNTS = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
    """A mounted file system: where, its type, and of what."""

    point: Path
    kind: str
    source: str


def directory(path: Path, comm: Communicator) -> list[Finding]:
    """Try out the run directory, or the one it would be made in; collective, leaves nothing."""
    with contextlib.ExitStack() as stack:
        folder, findings = _try_out(path, stack) if comm.rank == 0 else (None, [])
        folder, findings = comm.bcast((folder, findings))
        if folder is None:
            return findings
        views = comm.allgather(_view(folder))
    hosts = dict(zip(comm.hosts, views, strict=True))
    unseen = [host for host, view in hosts.items() if view == "unseen"]
    if unseen:
        cure = "put it on a file system that all hosts share, if one of them is to take over"
        what = f"{path}: not seen from {', '.join(unseen)}"
        findings.append(Finding(WARNING, what, cure))
    unlocked = [host for host, view in hosts.items() if view == "unlocked"]
    if unlocked:
        cure = "see that no two runs are kept there, or have it mounted with locks"
        what = f"{path}: a lock does not hold on {', '.join(unlocked)}"
        findings.append(Finding(WARNING, what, cure))
    return findings


def _try_out(path: Path, stack: contextlib.ExitStack) -> tuple[Path | None, list[Finding]]:
    """Write, rename and lock in a folder that goes with the stack; None: it could not be done."""
    existing = next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
    try:
        if not existing.is_dir():
            raise NotADirectoryError(0, "a file, expected a directory")
        named = tempfile.TemporaryDirectory(dir=existing, prefix=".dpcnn-doctor-")
        folder = Path(stack.enter_context(named))
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        stack.callback(os.close, lock)
        os.write(lock, b"dpcnn\n")
        os.fsync(lock)
        (folder / LOCK).rename(folder / f"{LOCK}.renamed")
        (folder / f"{LOCK}.renamed").rename(folder / LOCK)
        with contextlib.suppress(OSError):  # told by the ranks that do not meet it
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return folder, [_place(path, mount(existing), shutil.disk_usage(existing).free)]
    except OSError as error:
        where = "" if existing == path else f" in {existing}"
        cure = "name another directory with --run_dir, or make this one writable"
        return None, [Finding(FAILURE, f"{path}: {error.strerror}{where}", cure)]


def _place(path: Path, mounted: Mount, free: int) -> Finding:
    """Say what the file system is that was written to."""
    what = f"{path} on {mounted.kind} ({mounted.source}), {size_in_words(free)} free, writable"
    if free < ROOM:
        return Finding(WARNING, what, "make room for checkpoints, or name another directory")
    if mounted.kind in PASSING:
        cure = "name a directory on a disk with --run_dir"
        return Finding(WARNING, f"{what}, and gone with {PASSING[mounted.kind]}", cure)
    return Finding(OK, what)


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
    found = Mount(Path("/"), "an unknown file system", "unknown")
    resolved = path.resolve()
    for line in table.read_text().splitlines():
        place, _, rest = line.partition(" - ")
        point = Path(place.split()[4].encode().decode("unicode_escape"))
        kind, source, *_ = rest.split()
        if resolved.is_relative_to(point) and len(point.parts) >= len(found.point.parts):
            found = Mount(point, kind, source)
    return found
