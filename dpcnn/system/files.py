"""Regular files: their size, their bytes, and writing one that no crash leaves half written."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class UnsafeFileError(ValueError):
    """A file, or something in it, that is not read: what was found, and what was expected."""


def file_size(path: Path) -> int:
    """Return the size in bytes of a regular file, without opening it.

    Raises UnsafeFileError if nothing is there, or a directory, FIFO or device.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UnsafeFileError((error.strerror or "cannot be found").lower()) from error
    if stat.S_ISDIR(status.st_mode):
        raise UnsafeFileError("a directory")
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError("not a regular file")
    return status.st_size


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a regular file; reading a FIFO or a device might never end.

    Raises UnsafeFileError as `file_size` does, and OSError if the file cannot be read.
    """
    file_size(path)
    return path.read_bytes()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that, whenever the machine stops, it is the old one or the whole new one.

    The content goes to a temporary file in the same directory, which is flushed to the disk and
    renamed, and then the directory is flushed. Raises OSError if the disk does not take it; the
    old file is still there then, and no temporary one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_directory(path.parent)


def _flush_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
