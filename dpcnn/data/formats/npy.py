"""NumPy's .npy files: one array, read without unpickling anything; and datasets of such files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats.labels import clean
from dpcnn.data.formats.raw import Part, Raw, Wanted, parts
from dpcnn.data.formats.roles import find_roles, listed
from dpcnn.errors import DataError
from dpcnn.system.files import UnsafeFileError, file_size
from dpcnn.system.memory import check_fits
from dpcnn.system.text import one_line

Array = NDArray[Any]

SUFFIX = ".npy"
PIECE = 1 << 22  # bytes that are read at a time, so that packed arrays take no more than themselves
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def recognises(path: Path) -> bool:
    """Tell whether a folder holds .npy files and nothing that could be pictures of classes."""
    return any(path.glob(f"*{SUFFIX}"))


def read_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, Any]:
    """Return the shape, whether it is in Fortran's order, and the dtype; raises DataError."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise DataError(f"{where} is .npy of version {version}, expected 1.0 or 2.0")
    shape, fortran_order, dtype = HEADERS[version](file)
    if dtype.hasobject or dtype.kind not in "iufbUS":
        raise DataError(f"{where} holds {one_line(dtype)}, expected integers, floats or names")
    return shape, fortran_order, dtype


def read_array(file: IO[bytes], size: int, where: str) -> Array:
    """Return the array in an open .npy file of so many bytes; raises DataError.

    Its header is read first: no memory is taken for an array that is larger than the file.
    """
    shape, fortran_order, dtype = read_header(file, where)
    needed = math.prod(shape) * dtype.itemsize
    if needed > size:
        raise DataError(f"{where} declares {needed:,} bytes, expected at most the file's {size:,}")
    check_fits(needed, where)
    content, held = np.empty(needed, np.uint8), 0
    while held < needed:
        piece = file.read(min(PIECE, needed - held))
        if not piece:
            raise DataError(f"{where} is cut off after {held:,} of {needed:,} bytes")
        content[held : held + len(piece)] = np.frombuffer(piece, np.uint8)
        held += len(piece)
    array: Array = content.view(dtype)
    return array.reshape(shape[::-1]).T if fortran_order else array.reshape(shape)


@contextlib.contextmanager
def open_raw(path: Path, wanted: Wanted) -> Iterator[Raw]:
    """Open a folder with x_train.npy and the like, or with one file a class; raises DataError."""
    where = f"{path}: "
    files = {file.stem: file for file in sorted(path.glob(f"*{SUFFIX}"))}
    if not any(name.lower().startswith(("x", "train", "test", "image", "data")) for name in files):
        yield _one_a_class(where, files)
        return
    roles = find_roles(files, wanted.keys, where)
    arrays = {role: load(files[name]) for role, name in roles.items()}
    yield Raw(where, *parts(arrays, roles))


def load(path: Path) -> Array:
    """Return the array of a file, mapped; raises DataError."""
    try:
        size = file_size(path)
        with path.open("rb") as file:
            return read_array(file, size, str(path))
    except (UnsafeFileError, OSError, ValueError, EOFError, MemoryError) as error:
        raise DataError(
            f"{path}: cannot be read ({one_line(error)}), expected an .npy array"
        ) from error


def _one_a_class(where: str, files: dict[str, Path]) -> Raw:
    """Return the dataset of files that hold the images of one class each, named after it."""
    if len(files) < 2:
        raise DataError(f"{where}found {listed(files)}, expected x_train.npy and y_train.npy")
    arrays = [load(file) for file in files.values()]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 or () in shapes:
        raise DataError(f"{where}arrays of shapes {shapes!s:.200}, expected images of one shape")
    labels = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
    part = Part(np.concatenate(arrays), labels, "the files", "the names")
    return Raw(
        where, part, None, tuple(map(clean, files)), notes=(f"a class a file: {listed(files)}",)
    )
