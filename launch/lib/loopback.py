"""Confines the listening sockets of a run on one machine to the loopback interface.

MPICH's and Open MPI's mpirun, and the ranks, listen on all interfaces whatever their options say,
and what ranks receive is unpickled. So each of their sockets is bound to the interface `lo`, from
outside, soon after it was made: messages between the ranks of a machine take that interface
whichever of its addresses they use. Needs Linux 5.7; elsewhere it does nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

PIDFD_GETFD = 438  # the number of the system call, on all architectures
LISTEN = "0A"  # a state in /proc/net/tcp
LOOPBACK = ("0100007F", "00000000000000000000000001000000")  # 127.0.0.1 and ::1, as written there
INTERFACE = b"lo\0"

_libc = ctypes.CDLL(None, use_errno=True)


class Confinement:
    """Remembers which sockets are confined."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def confine(self, processes: Iterable[int]) -> None:
        """Confine the listening sockets of these processes, which may be gone by now."""
        listening = set(_listening()) - self._done
        for process in processes if listening else ():
            for descriptor, inode in _sockets(process):
                if inode in listening:
                    self._done.add(inode)
                    with contextlib.suppress(OSError), _copy(process, descriptor) as copy:
                        copy.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, INTERFACE)


def _listening() -> Iterator[str]:
    """Yield the inodes of the sockets of this machine that listen beyond loopback."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and fields[1].partition(":")[0] not in LOOPBACK:
                    yield fields[9]


def _sockets(process: int) -> Iterator[tuple[int, str]]:
    """Yield the descriptor and the inode of each socket of a process."""
    folder = f"/proc/{process}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"{folder}/{name}"))
                if found:
                    yield int(name), found[1]


def _copy(process: int, descriptor: int) -> socket.socket:
    """Return a socket of another process, in this one as well; raises OSError."""
    pidfd = os.pidfd_open(process)
    try:
        copy = _libc.syscall(PIDFD_GETFD, pidfd, descriptor, 0)
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
    finally:
        os.close(pidfd)
    return socket.socket(fileno=copy)
