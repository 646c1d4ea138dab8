"""CIFAR-10 and CIFAR-100 in their binary version: records of labels and 3 x 32 x 32 bytes.

https://www.cs.toronto.edu/~kriz/cifar.html describes it. The Python version is pickled, and a
pickle may run any program when it is read: it is refused.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats.labels import clean
from dpcnn.data.formats.raw import Part, Raw, Wanted
from dpcnn.errors import DataError
from dpcnn.system.files import UnsafeFileError, file_size

Array = NDArray[Any]

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


class Version(NamedTuple):
    """The files of a version, how many labels a record has, which one counts, who names them."""

    train: tuple[str, ...]
    test: str
    labels: int
    names: str
    archive: str


VERSIONS = (
    Version(
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        *("test_batch.bin", 1, "batches.meta.txt", "cifar-10-binary.tar.gz"),
    ),
    Version(("train.bin",), "test.bin", 2, "fine_label_names.txt", "cifar-100-binary.tar.gz"),
)
FOLDERS = ("cifar-10-batches-bin", "cifar-100-binary")  # in what the archives are unpacked to
PICKLED = {"data_batch_1": VERSIONS[0], "cifar-10-batches-py": VERSIONS[0]}
PICKLED |= {"cifar-100-python": VERSIONS[1], "batches.meta": VERSIONS[0]}


def recognises(path: Path) -> bool:
    """Tell by names whether a folder holds CIFAR, binary or pickled, or a file is one of it."""
    names = set(os.listdir(path)) if os.path.isdir(path) else {path.name}
    firsts = {version.train[0] for version in VERSIONS}
    return bool(names & {*firsts, *FOLDERS, *PICKLED})


@contextlib.contextmanager
def open_raw(path: Path, wanted: Wanted) -> Iterator[Raw]:
    """Open the batches in a folder, or in the one inside it; raises DataError."""
    folder = path if os.path.isdir(path) else path.parent
    inside = next((folder / name for name in FOLDERS if (folder / name).is_dir()), folder)
    version = next((v for v in VERSIONS if (inside / v.train[0]).exists()), None)
    if version is None:
        pickled = next(name for name in PICKLED if (folder / name).exists())
        raise DataError(
            f"{path}: {pickled} is pickled, and a pickle may run any program, expected the binary"
            f" version: {PICKLED[pickled].archive} from https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    train = [_records(inside / name, version) for name in version.train]
    test = _records(inside / version.test, version)
    yield Raw(
        f"{path}: ",
        _part(np.concatenate(train), "the training batches"),
        _part(test, version.test),
        _names(inside / version.names),
        "chw",
    )


def _records(path: Path, version: Version) -> Array:
    """Return the records (N, labels + pixels) of a file, the label that counts first."""
    size = version.labels + PIXELS
    try:
        found = file_size(path)
        if found == 0 or found % size:
            raise DataError(f"{path}: {found:,} bytes, expected records of {size:,} bytes")
        records = np.fromfile(path, np.uint8).reshape(-1, size)
    except (UnsafeFileError, OSError) as error:
        raise DataError(f"{path}: {error}, expected records of CIFAR") from error
    return records[:, version.labels - 1 :]


def _part(records: Array, name: str) -> Part:
    return Part(records[:, 1:].reshape(-1, *SHAPE), records[:, 0], name, f"labels of {name}")


def _names(path: Path) -> tuple[str, ...]:
    """Return the names of the classes, a line each, if there is such a file."""
    with contextlib.suppress(UnsafeFileError, OSError):
        if file_size(path) < 1 << 16:
            lines = path.read_text("utf-8", "replace").split("\n")
            return tuple(clean(line) for line in lines if line.strip())
    return ()
