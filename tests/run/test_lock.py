"""The lock: one process at a time, free when it dies, and passed on within a job alone."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dpcnn.errors import OptionError
from dpcnn.run.lock import NAME, Lock, TakenOverError


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    """A lock that this process has taken for a new job."""
    lock = Lock(tmp_path)
    lock.acquire()
    return lock


def job(directory: Path) -> str:
    """Return the mark of the job that had the lock last."""
    return (directory / NAME).read_text().splitlines()[1]


def test_naming_a_lock_touches_nothing(tmp_path: Path) -> None:
    Lock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_refused_while_a_process_has_it_and_names_that(lock: Lock) -> None:
    with pytest.raises(OptionError, match=rf"in use by another run \(process {os.getpid()} on "):
        Lock(lock.directory).acquire()
    lock.release()
    Lock(lock.directory).acquire()


def test_every_job_has_a_mark_of_its_own(lock: Lock) -> None:
    before = job(lock.directory)
    lock.release()
    lock.acquire()
    assert job(lock.directory) != before


def test_the_lock_goes_with_the_process_that_had_it(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from dpcnn.run.lock import Lock;"
        f"Lock(Path({str(tmp_path)!r})).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    Lock(tmp_path).acquire()


def test_another_process_of_the_job_waits_and_takes_over(lock: Lock) -> None:
    successor = Lock(lock.directory)
    successor.join()
    before = job(lock.directory)
    thread = threading.Thread(target=successor.take_over)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    lock.release()
    thread.join()
    assert job(lock.directory) == before


def test_another_job_is_not_disturbed(lock: Lock) -> None:
    successor = Lock(lock.directory)
    successor.join()
    lock.release()
    lock.acquire()
    lock.release()
    mark = job(lock.directory)
    with pytest.raises(TakenOverError, match=rf"another run \(process {os.getpid()} on "):
        successor.take_over()
    assert job(lock.directory) == mark
    Lock(lock.directory).acquire()  # it has not kept the lock


def test_nobody_has_taken_over_what_was_removed(lock: Lock) -> None:
    successor = Lock(lock.directory)
    successor.join()
    mark = job(lock.directory)
    (lock.directory / NAME).unlink()
    successor.take_over()
    assert job(lock.directory) == mark


def test_where_the_directory_is_not_shared_a_successor_begins_one(tmp_path: Path) -> None:
    successor = Lock(tmp_path)
    successor.join()
    successor.take_over()
    assert (tmp_path / NAME).read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_used_without(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(file: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    lock = Lock(tmp_path)
    lock.acquire()
    lock.join()
    lock.take_over()


def test_any_other_error_of_locking_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output error"):
        Lock(tmp_path).acquire()


def test_the_job_is_on_the_disk_before_others_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}"))
    )
    Lock(tmp_path).acquire()
    assert synced == [str(tmp_path / NAME)]
