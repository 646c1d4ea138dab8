"""Datasets as NumPy archives, .npz: Keras' mnist.npz, MedMNIST's, or arrays of other names."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dpcnn.data.formats import signature
from dpcnn.data.formats.npy import read_array, read_header
from dpcnn.data.formats.raw import Raw, Wanted, parts
from dpcnn.data.formats.roles import find_roles
from dpcnn.errors import DataError
from dpcnn.system.files import UnsafeFileError, file_size
from dpcnn.system.text import one_line

Array = NDArray[Any]

ZIP = b"PK\x03\x04"

# What zipfile and NumPy raise for damaged files, and for arrays larger than the memory.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
    EOFError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def recognises(path: Path) -> bool:
    """Tell by its suffix whether a file is an archive of arrays."""
    return path.suffix.lower() == ".npz"


@contextlib.contextmanager
def open_raw(path: Path, wanted: Wanted) -> Iterator[Raw]:
    """Open the dataset in an .npz file; nothing in it is unpickled. Raises DataError."""
    where = f"{path}: "
    with _members(path) as (archive, members):
        roles = find_roles(members, wanted.keys, where)
        arrays = {
            role: _member(archive, members[name], f"{where}{name}") for role, name in roles.items()
        }
    renamed = [f"{name} as {role}" for role, name in roles.items() if role != name]
    yield Raw(where, *parts(arrays, roles), notes=(", ".join(renamed),) if renamed else ())


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays in an .npz file by their names; raises DataError."""
    found = {}
    with _members(path) as (archive, members):
        for name, info in members.items():
            with contextlib.suppress(DataError), archive.open(info) as file:
                found[name] = read_header(file, f"{path}: {name}")[0]
    return found


def load(path: Path, name: str) -> Array:
    """Return one array of an .npz file; raises DataError."""
    with _members(path) as (archive, members):
        return _member(archive, members[name], f"{path}: {name}")


@contextlib.contextmanager
def _members(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """Open the archive, and provide where its arrays are by their names; raises DataError."""
    try:
        file_size(path)
        with zipfile.ZipFile(path) as archive:
            yield (
                archive,
                {
                    info.filename.removesuffix(".npy"): info
                    for info in archive.infolist()
                    if info.filename.endswith(".npy")
                },
            )
    except (UnsafeFileError, *UNREADABLE) as error:
        reason = signature.describe(path, ZIP) or one_line(error)
        raise DataError(
            f"{path}: cannot be read as .npz ({reason}), expected NumPy arrays x_train,"
            " y_train, x_test, y_test"
        ) from error


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Array:
    with archive.open(info) as file:
        return read_array(file, info.file_size, where)
