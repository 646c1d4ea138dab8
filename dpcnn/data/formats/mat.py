"""Datasets as MATLAB's .mat files: of version 7.3 through h5py, older ones through SciPy.

MATLAB counts the images along the last axis, (H, W, C, N), has the columns of an image one after
another, and labels from 1. HDF5 lists the axes of the same array backwards.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from dpcnn.data.formats import signature
from dpcnn.data.formats.raw import Part, Raw, Wanted
from dpcnn.data.formats.roles import beside, find_roles
from dpcnn.errors import DataError
from dpcnn.system import safe_hdf5
from dpcnn.system.files import UnsafeFileError, file_size
from dpcnn.system.memory import check_fits
from dpcnn.system.text import one_line

Array = NDArray[Any]

NUMBERS = {
    "double": 8,
    "single": 4,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "logical": 1,
}  # fmt: skip; bytes of a value
VERSION_73 = b"MATLAB 7.3"


def recognises(path: Path) -> bool:
    """Tell by its suffix whether MATLAB may have written a file."""
    return path.suffix.lower() == ".mat"


@contextlib.contextmanager
def open_raw(path: Path, wanted: Wanted) -> Iterator[Raw]:
    """Open a file, and the test set beside it; raises DataError."""
    arrays = _load(path)
    roles = find_roles(arrays, wanted.keys, f"{path}: ")
    train = _part(arrays, roles["x_train"], roles["y_train"], f"{path}: ")
    other, test, notes = beside(path), None, ["columns of an image one after another"]
    if "x_test" in roles:
        test = _part(arrays, roles["x_test"], roles["y_test"], f"{path}: ")
    elif other is not None:
        held = _load(other)
        found = find_roles(held, wanted.keys, f"{other}: ")
        test = _part(held, found["x_train"], found["y_train"], f"{other}: ")
        notes.append(f"test set from {other.name}")
    yield Raw(f"{path}: ", train, test, layout="chw", notes=tuple(notes))


def _load(path: Path) -> dict[str, Array]:
    """Return the arrays of a file, as MATLAB lists their axes; raises DataError."""
    try:
        size = file_size(path)
        with path.open("rb") as file:
            head = file.read(len(VERSION_73))
        return _load_73(path, safe_hdf5.RATIO * size) if head == VERSION_73 else _load_5(path)
    except (UnsafeFileError, *safe_hdf5.UNREADABLE) as error:
        reason = signature.describe(path, b"MATLAB") or one_line(error)
        raise DataError(
            f"{path}: cannot be read as .mat ({reason}), expected arrays of images and labels"
        ) from error


def _load_73(path: Path, limit: int) -> dict[str, Array]:
    arrays = {}
    with h5py.File(path, "r") as file:
        for name in file:
            if not name.startswith("#") and not safe_hdf5.is_group(file, name):
                with contextlib.suppress(UnsafeFileError):  # text, cells and the like
                    arrays[name] = safe_hdf5.array(file, name, limit)[()].T
    return arrays


def _load_5(path: Path) -> dict[str, Array]:
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise DataError(
            f"{path}: of a version before 7.3, which needs the package SciPy: pip install scipy,"
            " or save it with -v7.3"
        ) from error
    try:
        held = {name: (shape, kind) for name, shape, kind in whosmat(path) if kind in NUMBERS}
        for name, (shape, kind) in held.items():  # cells, structures and objects stay unread
            check_fits(math.prod(shape) * NUMBERS[kind], f"{path}: {name}")
        read = loadmat(path, variable_names=[*held]) if held else {}
    except DataError:
        raise
    except Exception as error:  # SciPy raises errors of every kind
        raise UnsafeFileError(one_line(error)) from error
    return {name: read[name] for name in held}


def _part(arrays: dict[str, Array], x_name: str, y_name: str, where: str) -> Part:
    """Return the images (N, C, H, W) or (N, H, W) and labels of two arrays; raises DataError."""
    x, y = arrays[x_name], arrays[y_name]
    if y.ndim == 2 and 1 in y.shape:
        y = y.reshape(-1)
    match x.ndim:
        case 4:
            x = x.transpose(3, 2, 0, 1)
        case 3:
            x = x.transpose(2, 0, 1)
        case 2:
            x = _of_rows(x if len(x) == len(y) else x.T)
        case _:
            raise DataError(f"{where}{x_name} has shape {x.shape}, expected (H, W, C, N)")
    return Part(x, y, x_name, y_name)


def _of_rows(rows: Array) -> Array:
    """Return square images of rows (N, values), where their columns follow one another."""
    values = rows.shape[1]
    for channels in (1, 3):
        side = math.isqrt(values // channels)
        if channels * side**2 == values:
            return rows.reshape(-1, channels, side, side).swapaxes(2, 3)
    return rows
