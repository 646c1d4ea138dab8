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
from dpcnn.data.formats.npy import read_array
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
    try:
        file_size(path)
        with zipfile.ZipFile(path) as archive:
            members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
            roles = find_roles(members, wanted.keys, where)
            arrays = {
                role: _member(archive, members[name], f"{where}{name}")
                for role, name in roles.items()
            }
    except (UnsafeFileError, *UNREADABLE) as error:
        reason = signature.describe(path, ZIP) or one_line(error)
        raise DataError(
            f"{path}: cannot be read as .npz ({reason}), expected NumPy arrays x_train,"
            " y_train, x_test, y_test"
        ) from error
    renamed = [f"{name} as {role}" for role, name in roles.items() if role != name]
    yield Raw(where, *parts(arrays, roles), notes=(", ".join(renamed),) if renamed else ())


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Array:
    with archive.open(info) as file:
        return read_array(file, info.file_size, where)
