"""From a path to a dataset: which reader reads a file or a folder."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from dpcnn.data.dataset import Dataset
from dpcnn.data.formats import cifar, csv_table, hdf5, idx, libsvm, mat, npy, npz
from dpcnn.data.formats import folder as folders
from dpcnn.data.formats.assemble import assemble
from dpcnn.data.formats.raw import NOTHING, Raw, Wanted
from dpcnn.data.formats.roles import listed
from dpcnn.errors import DataError


class Reader(Protocol):
    """What a module that reads a format offers."""

    def recognises(self, path: Path) -> bool:
        """Tell, without reading much, whether a file or folder looks like this format."""

    def open_raw(self, path: Path, wanted: Wanted) -> AbstractContextManager[Raw]:
        """Open what the user wants of it; raises DataError or OptionError."""


FILES: tuple[Reader, ...] = (npz, idx, csv_table, cifar, mat, libsvm)
FOLDERS: tuple[Reader, ...] = (idx, cifar, npy, folders)


def read(path: Path, wanted: Wanted = NOTHING, folder: Path | None = None) -> Dataset:
    """Return the dataset of a file or folder; folder as for `assemble`.

    What looks like nothing else is read as HDF5. Raises DataError, which names the path.
    """
    is_folder = os.path.isdir(path)
    readers = FOLDERS if is_folder else FILES
    reader: Reader | None = next((each for each in readers if each.recognises(path)), None)
    if reader is None and is_folder:
        held = [entry.name for entry in os.scandir(path)]
        kind = "LMDB" if "data.mdb" in held else "a directory"
        raise DataError(
            f"{path}: {kind} with {listed(held)}, expected a folder of pictures for each class, the"
            " files of IDX or CIFAR, or .npy files"
        )
    reader = reader or hdf5
    with reader.open_raw(path, wanted) as raw:
        return assemble(raw, wanted, folder)
