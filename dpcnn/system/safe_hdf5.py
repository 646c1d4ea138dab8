"""HDF5 files from anywhere: what they hold is checked before any of it is read.

An HDF5 file can point at other files (external and soft links, virtual datasets, external
storage), name filters that load a library, and declare terabytes in a kilobyte. Nothing here
follows a link that leaves the file, reads an array, or takes memory for one.
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

import h5py

# What h5py and NumPy raise for damaged files, and for arrays larger than the memory.
UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)

RATIO = 1100  # how much a file may grow when it is read: deflate makes 1,032 bytes of one at most
CHUNK = 256 << 20  # bytes that HDF5 takes to read one value of a chunk of that size
LINE = 400  # characters of a foreign text that an error repeats

_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}
_FILTERS |= {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link to another file"}


class UntrustedError(ValueError):
    """Something in a file that is not read: where it is, what was found, what was expected."""


def file_size(path: Path) -> int:
    """Return the bytes of a regular file without opening it.

    Raises UntrustedError for what is none (a directory, a FIFO, a device), or is not there.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise UntrustedError((error.strerror or "cannot be found").lower()) from error
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedError(
            "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        )
    return status.st_size


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """Return the group of that name; raises UntrustedError unless it lies in the file itself."""
    return _child(parent, name, h5py.Group, "a group")


def array(parent: h5py.Group, name: str, limit: int, compressed: bool = True) -> h5py.Dataset:
    """Return the array of that name, of which nothing is read yet.

    limit: the bytes that it, or a chunk of it, may take in memory. compressed: whether filters
    are allowed, each of them once. Raises UntrustedError unless it holds plain integers or floats
    within these bounds and in the file itself.
    """
    found, where = _child(parent, name, h5py.Dataset, "an array"), _where(parent, name)
    layout = found.id.get_create_plist()
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count() > 0:
        raise UntrustedError(f"{where} lies in other files, expected an array in this one")
    filters = [layout.get_filter(number)[0] for number in range(layout.get_nfilters())]
    allowed = _FILTERS if compressed else set()
    if not set(filters) <= allowed or len(filters) > len(set(filters)):
        expected = "gzip, lzf, shuffle, fletcher32, each once" if compressed else "none"
        raise UntrustedError(f"{where} has the HDF5 filters {filters}, expected {expected}")
    if found.dtype.kind not in "iuf" or found.dtype.metadata:
        raise UntrustedError(f"{where} holds {_words(found.dtype)}, expected integers or floats")
    _check_size(where, found.shape or (), found.dtype.itemsize, limit)
    _check_size(f"a chunk of {where}", found.chunks or (), found.dtype.itemsize, min(limit, CHUNK))
    return found


def attribute(parent: h5py.Group, name: str, kind: str, limit: int) -> Any:
    """Return the value of an attribute: one value, of this kind of dtype, of so many bytes.

    Raises UntrustedError for any other, and KeyError where there is none.
    """
    found = parent.attrs.get_id(name)
    if found.dtype.kind != kind or found.shape != ():
        words = f"{_words(found.dtype)} of shape {found.shape}"
        raise UntrustedError(f"attribute {name} is {words}, expected one value of kind {kind}")
    _check_size(f"attribute {name}", (), found.dtype.itemsize, limit)
    return parent.attrs[name]


def one_line(text: object) -> str:
    """Return a text that may come from a file as one line, printable and not too long."""
    words = " ".join(str(text).split()) or type(text).__name__
    line = "".join(each if each.isprintable() else "?" for each in words)
    return line if len(line) <= LINE else f"{line[:LINE]}..."


def _child(parent: h5py.Group, name: str, kind: type, word: str) -> Any:
    """Return what a hard link leads to. h5py's own get and `in` would follow the others."""
    where = _where(parent, name)
    if not name.isidentifier():  # HDF5 would take a/b for a path, along any links
        raise UntrustedError(f"{name!r} in {parent.name}, expected a name")
    link = parent.id.links.get_info(name.encode()).type
    if link != h5py.h5l.TYPE_HARD:
        found = _LINKS.get(link, "an unknown link")
        raise UntrustedError(f"{where} is {found}, expected {word} in this file")
    child = parent[name]
    if not isinstance(child, kind):
        raise UntrustedError(f"{where} is a {type(child).__name__.lower()}, expected {word}")
    return child


def _check_size(where: str, shape: tuple[int, ...], itemsize: int, limit: int) -> None:
    size = math.prod(shape) * itemsize
    if size > limit:
        raise UntrustedError(f"{where} takes {size:,} bytes, expected at most {limit:,}")


def _where(parent: h5py.Group, name: str) -> str:
    return f"{parent.name}/{name}".strip("/")


def _words(dtype: Any) -> str:
    return one_line(dtype)
