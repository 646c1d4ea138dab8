"""HDF5 that is meant to harm: edits of an open file, and the canary that none of them may reach."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dpcnn.run.checkpoint import MAGIC, USER_BLOCK

Edit = Callable[[h5py.File, str, Path], None]  # file, name of the array to replace, canary


def external_link(file: h5py.File, name: str, canary: Path) -> None:
    replace(file, name, h5py.ExternalLink(str(canary), "/array"))


def external_link_to_a_fifo(file: h5py.File, name: str, canary: Path) -> None:
    os.mkfifo(fifo := canary.with_name("fifo"))
    replace(file, name, h5py.ExternalLink(str(fifo), "/array"))


def soft_link(file: h5py.File, name: str, canary: Path) -> None:
    file.move(name, f"{name}_moved")
    replace(file, name, h5py.SoftLink(f"/{name}_moved"))


def virtual_dataset(file: h5py.File, name: str, canary: Path) -> None:
    old = take(file, name)
    layout = h5py.VirtualLayout(old.shape, old.dtype)
    layout[...] = h5py.VirtualSource(str(canary), "array", old.shape)
    file.create_virtual_dataset(name, layout)


def external_storage(file: h5py.File, name: str, canary: Path) -> None:
    old = take(file, name)
    file.create_dataset(name, old.shape, old.dtype, external=[(str(canary), 0, old.nbytes)])


def four_tebibytes(file: h5py.File, name: str, canary: Path) -> None:
    old = take(file, name)
    row = old[0].nbytes
    file.create_dataset(name, (2**42 // row, *old.shape[1:]), old.dtype, chunks=True)


def four_tebibytes_in_one_piece(file: h5py.File, name: str, canary: Path) -> None:
    old = take(file, name)
    file.create_dataset(name, (2**42 // old[0].nbytes, *old.shape[1:]), old.dtype)


def huge_chunk(file: h5py.File, name: str, canary: Path) -> None:
    old = take(file, name)
    chunks = (2**32 // old[0].nbytes - 1, *old.shape[1:])
    growing = (None, *old.shape[1:])
    file.create_dataset(name, old.shape, old.dtype, chunks=chunks, maxshape=growing)


def compressed_twice(file: h5py.File, name: str, canary: Path) -> None:
    old = take(file, name)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk(old.shape)
    layout.set_deflate(9)
    layout.set_deflate(9)
    create(file, name, old, layout)


def compressed_gigabytes(file: h5py.File, name: str, canary: Path) -> None:
    """One small chunk that is 4 GiB when it is inflated."""
    old = take(file, name)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk(old.shape)
    layout.set_deflate(9)
    deflate = zlib.compressobj(9)
    head = deflate.compress(b"\0") + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(64 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    found = create(file, name, old, layout)
    found.id.write_direct_chunk((0,) * old.ndim, head + 64 * block)


def odd_filter(file: h5py.File, name: str, canary: Path) -> None:
    old = take(file, name)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk(old.shape)
    layout.set_filter(31999, h5py.h5z.FLAG_OPTIONAL, ())  # HDF5 would look for a library
    create(file, name, old, layout)


def texts(file: h5py.File, name: str, canary: Path) -> None:
    file.create_dataset(name, data=["text"] * len(take(file, name)), dtype=h5py.string_dtype())


def ragged(file: h5py.File, name: str, canary: Path) -> None:
    file.create_dataset(name, (len(take(file, name)),), h5py.vlen_dtype(np.int32))


def references(file: h5py.File, name: str, canary: Path) -> None:
    file.create_dataset(name, take(file, name).shape, h5py.ref_dtype)


def compound(file: h5py.File, name: str, canary: Path) -> None:
    file.create_dataset(name, take(file, name).shape, [("a", "f4"), ("b", "u1")])


def enumeration(file: h5py.File, name: str, canary: Path) -> None:
    kind = h5py.enum_dtype({"zero": 0, "one": 1}, "u1")
    file.create_dataset(name, take(file, name).shape, kind)


def group(file: h5py.File, name: str, canary: Path) -> None:
    take(file, name)
    file[name] = file["/"]


def datatype(file: h5py.File, name: str, canary: Path) -> None:
    take(file, name)
    file[name] = np.dtype("f4")


# What to do to an array, and words of the line with which the file is refused.
EDITS: dict[Edit, str] = {
    external_link: "is a link to another file",
    external_link_to_a_fifo: "is a link to another file",
    soft_link: "is a soft link",
    virtual_dataset: "lies in other files",
    external_storage: "lies in other files",
    four_tebibytes: "takes 4,398,04",
    four_tebibytes_in_one_piece: "takes 4,398,04",
    huge_chunk: "a chunk of",
    compressed_twice: "has the HDF5 filters [1, 1]",
    odd_filter: "has the HDF5 filters [31999]",
    texts: "holds object",
    ragged: "holds object",
    references: "holds object",
    compound: "holds [('a', '<f4'), ('b', 'u1')]",
    enumeration: "holds uint8",
    group: "is a group",
    datatype: "is a datatype",
}


def take(file: h5py.File, name: str) -> Any:
    """Remove an array and return what it held."""
    old = file[name][()]
    del file[name]
    return old


def replace(file: h5py.File, name: str, new: Any) -> None:
    file.pop(name, None)
    file[name] = new


def create(file: h5py.File, name: str, old: Any, layout: Any) -> h5py.Dataset:
    kind = h5py.h5t.py_create(old.dtype)
    space = h5py.h5s.create_simple(old.shape)
    found = h5py.h5d.create(file.id, name.encode(), kind, space, layout)
    return h5py.Dataset(found)


def set_text(name: str, text: str) -> Callable[[h5py.File], None]:
    """Return an edit that puts another text in the place of one."""

    def edit(file: h5py.File) -> None:
        file.attrs[name] = np.bytes_(text)

    return edit


def change(name: str, **values: Any) -> Callable[[h5py.File], None]:
    """Return an edit that changes values in a text; `...` leaves one out."""

    def edit(file: h5py.File) -> None:
        found = json.loads(file.attrs[name]) | values
        kept = {key: value for key, value in found.items() if value is not Ellipsis}
        set_text(name, json.dumps(kept))(file)

    return edit


def forge(content: bytes, edit: Callable[[h5py.File], None]) -> bytes:
    """Return a checkpoint's bytes with its image edited and the SHA-256 of the new one."""
    memory = io.BytesIO(content[USER_BLOCK:])
    with h5py.File(memory, "r+") as file:
        edit(file)
    image = memory.getvalue()
    block = MAGIC + hashlib.sha256(image).hexdigest().encode() + b"\n"
    return block.ljust(USER_BLOCK, b"\0") + image


@contextmanager
def canary(path: Path, array: Any) -> Iterator[Path]:
    """A file with an array that would fit; it must not be read, nor changed, in the context.

    Where files keep no time of access, only what was written to it is noticed.
    """
    with h5py.File(path, "w") as file:
        file["array"] = array
    content = path.read_bytes()
    os.utime(path, (1, 2))  # the next access would be noted, the last being before the last change
    yield path
    status = path.stat()
    assert (status.st_atime, status.st_mtime) == (1, 2)
    assert path.read_bytes() == content
