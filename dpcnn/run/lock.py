"""The lock of a run directory: one process writes there, and others know which job it is of.

The file `.lock` names the process that had the lock last and holds the mark of its job. The lock
itself is the kernel's (flock): it ends with the process that has it, however that dies. On a file
system without locks, as some clusters have, the run goes on without.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import uuid
from pathlib import Path

from dpcnn.errors import DpcnnError, OptionError
from dpcnn.system.files import descriptor_inside, open_inside

NAME = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class TakenOverError(DpcnnError):
    """Another job has written in the run directory since: this one must leave it alone."""

    final = False


class Lock:
    """The right to write in a run directory. Creating the object touches nothing on the disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor: int | None = None
        self._job = ""

    def acquire(self) -> None:
        """Take the lock for a new job; raises OptionError if a process has it, and OSError."""
        try:
            self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OptionError(
                f"--run_dir {self.directory}: in use by another run ({self._owner()[0]}), expected"
                " a directory that no other run writes to"
            ) from None
        self._job = uuid.uuid4().hex
        self._sign()

    def join(self) -> None:
        """Remember the mark of the job that has the lock: this process is of the same job."""
        self._job = self._owner()[1]

    def take_over(self) -> None:
        """Wait until the process of this job that has the lock is gone, and take it.

        Raises TakenOverError if another job has had the lock since `join`, and OSError.
        """
        self._lock(fcntl.LOCK_EX)
        process, job = self._owner()
        if job and job != self._job:  # without a mark nobody has taken it: the file was removed
            self.release()
            raise TakenOverError(
                f"--run_dir {self.directory}: taken over by another run ({process})"
            )
        self._sign()

    def renew(self) -> None:
        """Take the lock of a directory that was removed and made again, for the same job.

        Raises OSError if another process has it.
        """
        self.release()
        self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._sign()

    def holder(self) -> str | None:
        """Return the process that has the lock, in words, None if none has. Takes nothing."""
        try:
            descriptor = descriptor_inside(self.directory, NAME, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._owner()[0]
        except OSError:  # a file system without locks
            return None
        finally:
            os.close(descriptor)
        return None

    def release(self) -> None:
        """Let another process take the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self, operation: int) -> None:
        self._descriptor = descriptor_inside(self.directory, NAME, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._descriptor, operation)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                self.release()
                raise

    def _owner(self) -> tuple[str, str]:
        """Return the process that had the lock last, in words, and the mark of its job."""
        try:
            with open_inside(self.directory, NAME) as file:
                text = file.read(200).decode(errors="replace")
        except FileNotFoundError:
            text = ""
        process, _, job = text.partition("\n")
        return process, job.strip()

    def _sign(self) -> None:
        """Record this process and its job; on the disk, as ranks on other hosts join next."""
        assert self._descriptor is not None, "_lock has opened it"
        text = f"process {os.getpid()} on {socket.gethostname()}\n{self._job}\n"
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)
        os.fsync(self._descriptor)
