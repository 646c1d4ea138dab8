"""Regular files: their size and bytes, writing one atomically, and directories from elsewhere.

A directory from elsewhere may hold links that lead out of it, and FIFOs. `open_inside` opens its
files, whether to read or to write: it follows no link below the directory, and waits for nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import IO, Any

BLOCK = 512  # bytes that st_blocks counts in
SMALL = 64 << 10  # bytes of a file that file systems may keep elsewhere
REST_OF_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
    _check_kind(status)
    return status.st_size


def _check_kind(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnsafeFileError("a directory")
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError("not a regular file")


def content_size(path: Path) -> int:
    """Return how many bytes a regular file takes on the disk, if those are fewer than its size.

    A sparse file is larger the cheaper it is made. Raises UnsafeFileError as `file_size` does.
    """
    size, blocks = file_size(path), path.stat().st_blocks
    return min(size, max(BLOCK * blocks, SMALL)) if blocks else size  # 0: not all systems tell


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a regular file; reading a FIFO or a device might never end.

    Raises UnsafeFileError as `file_size` does, and OSError if the file cannot be read.
    """
    file_size(path)
    return path.read_bytes()


def open_inside(directory: Path, name: str, mode: str = "rb") -> IO[Any]:
    """Open a regular file of a directory by a name such as checkpoints/step-00000938.h5.

    mode: as for `open`; text is UTF-8, with the ends of lines as they are. Raises OSError, also for
    a directory, FIFO or device, and for a symbolic link anywhere in the name.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    return open(name, mode, opener=partial(descriptor_inside, directory), **text)  # type: ignore[call-overload, no-any-return]


def descriptor_inside(directory: Path, name: str, flags: int) -> int:
    """Open a file as `open_inside` does, with the flags of os.open; return the descriptor."""
    *folders, last = Path(name).parts
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, REST_OF_PATH, dir_fd=place)
            os.close(place)
            place = inner
        # Without O_NONBLOCK, opening a FIFO would wait for its other end.
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return _regular(os.open(last, flags, 0o666, dir_fd=place), name)
    except OSError as error:
        parents = [str(parent) for parent in Path(name).parents][-2::-1]
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            refuse_links(directory, *parents, name)
        raise
    finally:
        os.close(place)


def make_folder(directory: Path, name: str) -> Path:
    """Make a folder in a directory unless it is there; raises OSError, also for a link to one."""
    path = directory / name
    path.mkdir(parents=True, exist_ok=True)
    refuse_links(directory, name)
    return path


def refuse_links(directory: Path, *names: str) -> None:
    """Raise OSError if one of these is a symbolic link."""
    for name in names:
        if os.path.islink(directory / name):
            raise OSError(errno.ELOOP, f"{name} is a symbolic link")


def _regular(descriptor: int, name: str) -> int:
    """Return the descriptor if it is of a regular file; closes it and raises OSError if not."""
    try:
        _check_kind(os.fstat(descriptor))
    except UnsafeFileError as error:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{name} is {error}") from None
    return descriptor


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that, whenever the machine stops, it is the old one or the whole new one.

    Raises OSError if the disk does not take it.
    """
    write_parts_atomically(path, (content,))


def write_parts_atomically(path: Path, parts: Iterable[bytes]) -> None:
    """Do the same with content that comes in parts, perhaps from the old file.

    The content goes to a temporary file in the same directory, which is flushed to the disk and
    renamed, and then the directory is flushed. Raises OSError if the disk does not take it; the
    old file is still there then, and no temporary one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a killed process with the same number, or a link
    try:
        with open_inside(path.parent, temporary.name, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_directory(path.parent)


def link_atomically(path: Path, source: Path) -> None:
    """Make `path` another name of the file `source`, or a copy where the disk has no hard links.

    As for `write_atomically`, it is the old file or the whole new one whenever the machine stops.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary, follow_symlinks=False)
    except OSError:
        write_atomically(path, read_bytes(source))
        return
    temporary.replace(path)
    _flush_directory(path.parent)


def _flush_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
