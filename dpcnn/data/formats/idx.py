"""Datasets as IDX files, as MNIST came in: a folder of four, each with .gz or without.

http://yann.lecun.com/exdb/mnist describes the format: a big-endian magic number (0, 0, the type of
the values, the number of dimensions), the size of each dimension as 32 bits, the values.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats.raw import Raw, Wanted, parts
from dpcnn.data.formats.roles import find_roles
from dpcnn.errors import DataError
from dpcnn.system.files import UnsafeFileError, file_size
from dpcnn.system.memory import check_fits
from dpcnn.system.text import one_line

Array = NDArray[Any]

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"(?P<dataset>.*?)(?P<name>(?:train|t10k|test)-[a-z]+)[-.]idx[13]-ubyte(\.gz)?$")
RATIO = 1100  # of a gzip file's content to its size, at most


def recognises(path: Path) -> bool:
    """Tell whether a folder holds IDX files, or a file has the name of one."""
    names = os.listdir(path) if os.path.isdir(path) else [path.name]
    return any(map(NAME.match, names))


@contextlib.contextmanager
def open_raw(path: Path, wanted: Wanted) -> Iterator[Raw]:
    """Open the four files of a folder, or those beside one of them; raises DataError."""
    folder = path if path.is_dir() else path.parent
    where, files = f"{folder}: ", _files(path)
    roles = find_roles(files, wanted.keys, where)
    arrays = {role: load(files[name]) for role, name in roles.items()}
    names = {role: files[name].name for role, name in roles.items()}
    yield Raw(where, *parts(arrays, names))


def load(path: Path) -> Array:
    """Return the array of an IDX file, gz or not; raises DataError."""
    try:
        size = file_size(path)
        with path.open("rb") as opened:
            zipped = opened.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or not head[3]:
                raise DataError(f"{path}: begins with {head.hex()}, expected the head of IDX")
            dtype = np.dtype(TYPES[head[2]])
            shape = [int.from_bytes(file.read(4), "big") for _ in range(head[3])]
            needed = math.prod(shape) * dtype.itemsize
            if needed > (RATIO if zipped else 1) * size:
                raise DataError(f"{path}: declares {needed:,} bytes, which {size:,} cannot hold")
            check_fits(needed, f"{path}")
            content = file.read(needed + 1)
    except (UnsafeFileError, OSError, EOFError, zlib.error, MemoryError) as error:
        raise DataError(f"{path}: cannot be read ({one_line(error)}), expected IDX") from error
    if len(content) != needed:
        more = "more" if len(content) > needed else f"{len(content):,}"
        raise DataError(f"{path}: holds {more} bytes, expected {needed:,} after its head")
    return np.frombuffer(content, dtype).reshape(shape)


def _files(path: Path) -> dict[str, Path]:
    """Return the IDX files of a folder, or those that belong to one file, as find_roles wants them.

    EMNIST has those of several datasets in a folder: emnist-letters-train-images-idx3-ubyte.gz.
    """
    folder = path if os.path.isdir(path) else path.parent
    files: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        if (match := NAME.match(file.name)) is not None:
            files.setdefault(match["dataset"], {}).setdefault(match["name"], file)
    if folder == path and len(files) > 1:
        raise DataError(
            f"{path}: IDX files of {', '.join(map(repr, files))}, expected those of one dataset:"
            f" name a file of it, such as {next(iter(next(iter(files.values())).values()))}"
        )
    match = None if folder == path else NAME.match(path.name)
    return files.get(match["dataset"], {}) if match else next(iter(files.values()), {})
