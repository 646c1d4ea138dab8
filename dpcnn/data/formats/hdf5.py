"""Datasets as HDF5 files, laid out like the tutorial's MNISTdata.hdf5 or in other common ways.

`x_train` and `x_test`: (N, C*H*W), (N, H, W), (N, C, H, W) or (N, H, W, C); `y_train` and `y_test`:
(N,) or (N, 1). The arrays may have other names, lie in groups, or be in two files, one to train on
and one to test on. Files are opened read-only and read a block at a time; anything else in them is
ignored. What lies in the file as it would lie in memory can stay there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dpcnn.data.dataset import Dataset
from dpcnn.data.formats import signature
from dpcnn.data.formats.labels import clean
from dpcnn.data.formats.raw import Part, Raw, Source, Wanted
from dpcnn.data.formats.roles import ROLES, beside, find_roles, guess_roles
from dpcnn.errors import DataError
from dpcnn.system import safe_hdf5
from dpcnn.system.files import UnsafeFileError, content_size, file_size
from dpcnn.system.text import one_line

Array = NDArray[Any]

DEEPEST, MOST_NAMES = 4, 10_000  # groups in groups, and arrays, that are looked at
CLASS_NAMES = ("class_names", "list_classes", "label_names")
NONE: Mapping[str, str] = {}
PACKED = 1 << 20  # bytes of a chunk of a packed array
TEXTS = 1 << 26  # bytes of names that are read at a time


def recognises(path: Path) -> bool:
    """Tell that any file may be HDF5: what is wrong with it shows when it is opened."""
    return True


@contextlib.contextmanager
def open_raw(path: Path, wanted: Wanted) -> Iterator[Raw]:
    """Open the dataset in an HDF5 file; raises DataError that names the file and the array."""
    try:
        with contextlib.ExitStack() as files:
            yield _raw(path, wanted, files)
    except UnsafeFileError as error:
        raise DataError(f"{path}: {error}") from error
    except safe_hdf5.UNREADABLE as error:
        reason = signature.describe(path) or one_line(error)
        raise DataError(
            f"{path}: cannot be read as HDF5 ({reason}), expected a dataset like MNISTdata.hdf5"
        ) from error


@contextlib.contextmanager
def open_arrays(path: Path, asked: str) -> Iterator[dict[str, h5py.Dataset]]:
    """Open the arrays of numbers in an HDF5 file, by their paths.

    asked: what must be one of them, if it is there. Raises DataError.
    """
    try:
        limit = safe_hdf5.RATIO * content_size(path)
        with h5py.File(path, "r") as file:
            arrays = {}
            for name in _arrays(file):
                try:
                    arrays[name] = _array(file, name, limit)
                except UnsafeFileError:  # a group, a link, or no numbers
                    if name == asked:
                        raise
            yield arrays
    except UnsafeFileError as error:
        raise DataError(f"{path}: {error}") from error
    except safe_hdf5.UNREADABLE as error:
        reason = signature.describe(path) or one_line(error)
        raise DataError(f"{path}: cannot be read ({reason}), expected HDF5") from error


def write(
    path: Path, dataset: Dataset, packed: bool = False, attributes: Mapping[str, str] = NONE
) -> None:
    """Write a dataset as it is in memory, contiguous and uncompressed: quick to map and read.

    packed: in chunks that are compressed, for a smaller file. attributes: of the file.
    """
    with h5py.File(path, "w", libver="latest") as file:
        for key, array in zip(ROLES, dataset.arrays(), strict=True):
            row = max(1, array.nbytes // max(1, len(array)))
            chunks = (min(len(array), max(1, PACKED // row)), *array.shape[1:])
            how = {"chunks": chunks, "compression": "gzip", "compression_opts": 1} if packed else {}
            file.create_dataset(key, data=array, **how)
        names = {"class_names": json.dumps(dataset.class_names)} if dataset.class_names else {}
        for name, text in (dict(attributes) | names).items():
            file.attrs[name] = np.bytes_(text.encode())


def read_text(path: Path, name: str) -> str:
    """Return the text that `write` has written as an attribute, or "" if there is none."""
    with h5py.File(path, "r") as file:
        return _decoded(file.attrs[name]) if name in file.attrs else ""


def _raw(path: Path, wanted: Wanted, files: contextlib.ExitStack) -> Raw:
    """Return what a file holds, and the file beside it where that has the test set."""
    try:
        limit = safe_hdf5.RATIO * content_size(path)
    except UnsafeFileError as error:
        raise DataError(f"{path}: {error}, expected an HDF5 dataset (--dataroot)") from error
    file = files.enter_context(h5py.File(path, "r"))
    where = f"{path}: "
    names = set(file) if set(ROLES) <= set(file) else set(_arrays(file))
    roles = find_roles(names, wanted.keys, where)
    train = _part(file, roles["x_train"], roles["y_train"], limit)
    test, notes = None, _renamed(roles)
    other = beside(path)
    if "x_test" in roles:
        test = _part(file, roles["x_test"], roles["y_test"], limit)
    elif other is not None:
        held = files.enter_context(h5py.File(other, "r"))
        found = guess_roles(set(_arrays(held)))
        x, y = (found.get(f"{data}_test") or found.get(f"{data}_train") for data in "xy")
        if x and y:
            test = _part(held, x, y, safe_hdf5.RATIO * file_size(other))
            notes.append(f"test set from {other.name}")
    return Raw(where, train, test, _class_names(file, limit), notes=tuple(notes))


def _renamed(roles: dict[str, str]) -> list[str]:
    others = [f"{name} as {role}" for role, name in roles.items() if role != name]
    return [", ".join(others)] if others else []


def _arrays(parent: h5py.Group, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the paths of the arrays in a group and its groups; links are not followed."""
    for count, name in enumerate(parent):
        if count >= MOST_NAMES:
            return
        try:
            is_group = safe_hdf5.is_group(parent, name)
        except UnsafeFileError:
            yield f"{prefix}{name}"  # named in the error if it is asked for
            continue
        if is_group and depth < DEEPEST:
            yield from _arrays(safe_hdf5.group(parent, name), f"{prefix}{name}/", depth + 1)
        yield f"{prefix}{name}"


def _part(file: h5py.File, x_name: str, y_name: str, limit: int) -> Part:
    x, y = _array(file, x_name, limit), _array(file, y_name, limit, "iufbSO")
    labels: Source = y
    if y.dtype.kind in "SO":
        labels = _texts(y, limit)
    return Part(x, labels, x_name, y_name, _location(x), _chunk(x))


def _array(file: h5py.File, path: str, limit: int, kinds: str = "iufb") -> h5py.Dataset:
    """Return the array at a path through groups, without reading it."""
    *groups, name = path.split("/")
    parent = file
    for group in groups:
        parent = safe_hdf5.group(parent, group)
    return safe_hdf5.array(parent, name, limit, kinds=kinds)


def _texts(y: h5py.Dataset, limit: int) -> Array:
    """Return an array of text, read in pieces: each value may be as long as the file."""
    count = max(1, TEXTS * safe_hdf5.RATIO // max(1, limit))
    parts = [
        np.array([clean(_decoded(value)) for value in y[first : first + count].reshape(-1)], "U")
        for first in range(0, len(y), count)
    ]
    return np.concatenate([np.empty(0, "U1"), *parts])


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _class_names(file: h5py.File, limit: int) -> tuple[str, ...]:
    """Return the names of the classes that a file has as an attribute or an array, if any."""
    if "class_names" in file.attrs:
        names = json.loads(safe_hdf5.attribute(file, "class_names", "S", limit))
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(map(clean, names))
    for name in CLASS_NAMES:
        if name in list(file):
            array = safe_hdf5.array(file, name, limit, kinds="SO")
            return tuple(_texts(array, limit).tolist()) if array.ndim == 1 else ()
    return ()


def _chunk(x: h5py.Dataset) -> int:
    return x.chunks[0] if x.chunks else 1


def _location(x: h5py.Dataset) -> tuple[Path, int] | None:
    """Return where the images lie in the file itself; None if not as they would lie in memory.

    Raises UnsafeFileError for a file that is cut off.
    """
    offset = x.id.get_offset() if x.shape else None  # None for a chunked array
    if offset is None:
        return None
    path = Path(x.file.filename)
    if offset + x.nbytes > file_size(path):
        raise UnsafeFileError(f"{x.name[1:]} ends past the end of the file, expected a whole file")
    return path, offset
