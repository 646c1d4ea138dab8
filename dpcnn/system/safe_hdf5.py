"""HDF5 files from anywhere: what they hold is checked before any of it is read.

An HDF5 file can point at other files (external and soft links, virtual datasets, external
storage), name filters that make HDF5 load a library, and declare terabytes in a kilobyte. Nothing
here follows a link that leaves the file, reads an array, or takes memory for one.
"""

from __future__ import annotations

import math
import os
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
# HDF5 needs a whole chunk to read one value of it, which may take this share of the memory.
CHUNK_SHARE, SMALLEST_LIMIT = 1 / 8, 256 << 20  # or so many bytes, if that is more

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_LZF,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
}
ELSEWHERE = "lies in other files, expected an array in this one"
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
    _check_storage(dataset, where, _FILTERS if compressed else set(), limit)
    dtype = dataset.dtype
    text = h5py.check_string_dtype(dtype) is not None
    if dtype.kind not in kinds or (dtype.metadata and not text):  # an enumeration has metadata
        expected = " or ".join(name for kind, name in _KINDS.items() if kind in kinds)
        raise UnsafeFileError(f"{where} holds {one_line(dtype)}, expected {expected}")
    _check_size(where, dataset.shape or (), dtype.itemsize, limit)
    _check_size(f"a chunk of {where}", dataset.chunks or (), dtype.itemsize, _chunk_limit(limit))
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


def _chunk_limit(limit: int) -> int:
    """Return how many bytes a chunk may have on this machine, of an array with this limit."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(limit, max(SMALLEST_LIMIT, int(CHUNK_SHARE * memory)))


def _check_storage(dataset: h5py.Dataset, where: str, allowed: set[int], limit: int) -> None:
    """Raise UnsafeFileError unless an array lies in its file, behind these filters alone."""
    layout = dataset.id.get_create_plist()
    if layout.get_external_count() > 0:
        raise UnsafeFileError(f"{where} {ELSEWHERE}")
    if layout.get_layout() == h5py.h5d.VIRTUAL:
        _check_sources(dataset, where, allowed, limit)
    filters = [layout.get_filter(number)[0] for number in range(layout.get_nfilters())]
    if not set(filters) <= allowed or len(filters) > len(set(filters)):
        expected = "gzip, lzf, shuffle, fletcher32, each once" if allowed else "none"
        raise UnsafeFileError(f"{where} has the HDF5 filters {filters}, expected {expected}")


def _check_sources(dataset: h5py.Dataset, where: str, allowed: set[int], limit: int) -> None:
    """Raise UnsafeFileError unless a virtual array is made of arrays in its own file, not virtual.

    limit: bytes of a chunk of them.
    """
    layout = dataset.id.get_create_plist()
    for number in range(layout.get_virtual_count()):
        *groups, name = layout.get_virtual_dsetname(number).strip("/").split("/")
        # A % in a name stands for any number of arrays.
        if layout.get_virtual_filename(number) != "." or "%" in "".join([*groups, name]):
            raise UnsafeFileError(f"{where} {ELSEWHERE}")
        parent = dataset.file
        for each in groups:
            parent = group(parent, each)
        source = _child(parent, name, h5py.Dataset, "an array")
        inner = source.id.get_create_plist()
        if inner.get_layout() == h5py.h5d.VIRTUAL:
            raise UnsafeFileError(f"{where} is made of the virtual {name}, expected stored arrays")
        _check_storage(source, _where(parent, name), allowed, limit)
        chunk = source.chunks or ()
        _check_size(f"a chunk of {where}", chunk, source.dtype.itemsize, _chunk_limit(limit))


def _check_size(where: str, shape: tuple[int, ...], itemsize: int, limit: int) -> None:
    size = math.prod(shape) * itemsize
    if size > limit:
        raise UnsafeFileError(f"{where} takes {size:,} bytes, expected at most {limit:,}")


def _where(parent: h5py.Group, name: str) -> str:
    return f"{parent.name}/{name}".strip("/")
