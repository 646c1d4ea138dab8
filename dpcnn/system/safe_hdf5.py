"""HDF5 files from anywhere: what they hold is checked before any of it is read.

An HDF5 file can point at other files (external and soft links, virtual datasets, external
storage), name filters that make HDF5 load a library, and declare terabytes in a kilobyte. Nothing
here follows a link that leaves the file, reads an array, or takes memory for one.
"""

from __future__ import annotations

import math
from typing import Any

import h5py

from dpcnn.system.files import UnsafeFileError
from dpcnn.system.text import one_line

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
CHUNK = 256 << 20  # bytes of a chunk at most: HDF5 needs the whole chunk to read one value of it

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_LZF,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
}
_KINDS = {"i": "integers", "f": "floats", "O": "text"}
_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link to another file"}


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """Return the group of that name; raises UnsafeFileError unless it is a group in this file."""
    return _child(parent, name, h5py.Group, "a group")


def is_group(parent: h5py.Group, name: str) -> bool:
    """Tell whether it is a group or an array; raises UnsafeFileError if it is not in this file."""
    return isinstance(_child(parent, name, h5py.HLObject, "a group or an array"), h5py.Group)


def array(
    parent: h5py.Group, name: str, limit: int, compressed: bool = True, kinds: str = "iuf"
) -> h5py.Dataset:
    """Return the array of that name, without reading it.

    limit: bytes that the array, or one chunk of it, may take in memory. compressed: whether
    filters are allowed, each of them at most once. kinds: of dtypes, as NumPy abbreviates them; O
    is text, of any length. Raises UnsafeFileError unless it holds plain values of such a kind,
    within these bounds and in this file.
    """
    dataset = _child(parent, name, h5py.Dataset, "an array")
    where = _where(parent, name)
    _check_storage(where, dataset.id.get_create_plist(), _FILTERS if compressed else set())
    dtype = dataset.dtype
    text = h5py.check_string_dtype(dtype) is not None
    if dtype.kind not in kinds or (dtype.metadata and not text):  # an enumeration has metadata
        expected = " or ".join(name for kind, name in _KINDS.items() if kind in kinds)
        raise UnsafeFileError(f"{where} holds {one_line(dtype)}, expected {expected}")
    _check_size(where, dataset.shape or (), dtype.itemsize, limit)
    _check_size(f"a chunk of {where}", dataset.chunks or (), dtype.itemsize, min(limit, CHUNK))
    return dataset


def attribute(parent: h5py.Group, name: str, kind: str, limit: int) -> Any:
    """Return the value of an attribute.

    kind: of its dtype, as NumPy abbreviates it; limit: its bytes at most. Raises UnsafeFileError
    unless it is one value of that kind and size, and KeyError if there is none.
    """
    identifier = parent.attrs.get_id(name)
    dtype, shape = identifier.dtype, identifier.shape
    if dtype.kind != kind or shape != ():
        raise UnsafeFileError(
            f"attribute {name} is {one_line(dtype)} of shape {shape},"
            f" expected one value of kind {kind}"
        )
    _check_size(f"attribute {name}", (), dtype.itemsize, limit)
    return parent.attrs[name]


def _child(parent: h5py.Group, name: str, kind: type, kind_name: str) -> Any:
    """Return what a hard link leads to. h5py's own get and `in` would follow other links too."""
    where = _where(parent, name)
    # HDF5 takes a/b for a path and follows any links on it.
    if "/" in name or name in ("", ".") or not name.isprintable():
        raise UnsafeFileError(f"{name!r} in {parent.name}, expected a name")
    link = parent.id.links.get_info(name.encode()).type
    if link != h5py.h5l.TYPE_HARD:
        link_name = _LINKS.get(link, "an unknown link")
        raise UnsafeFileError(f"{where} is {link_name}, expected {kind_name} in this file")
    child = parent[name]
    if not isinstance(child, kind):
        child_name = type(child).__name__.lower()
        raise UnsafeFileError(f"{where} is a {child_name}, expected {kind_name}")
    return child


def _check_storage(where: str, layout: Any, allowed: set[int]) -> None:
    """Raise UnsafeFileError unless an array lies in its file, behind these filters alone."""
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count() > 0:
        raise UnsafeFileError(f"{where} lies in other files, expected an array in this one")
    filters = [layout.get_filter(number)[0] for number in range(layout.get_nfilters())]
    if not set(filters) <= allowed or len(filters) > len(set(filters)):
        expected = "gzip, lzf, shuffle, fletcher32, each once" if allowed else "none"
        raise UnsafeFileError(f"{where} has the HDF5 filters {filters}, expected {expected}")


def _check_size(where: str, shape: tuple[int, ...], itemsize: int, limit: int) -> None:
    size = math.prod(shape) * itemsize
    if size > limit:
        raise UnsafeFileError(f"{where} takes {size:,} bytes, expected at most {limit:,}")


def _where(parent: h5py.Group, name: str) -> str:
    return f"{parent.name}/{name}".strip("/")
