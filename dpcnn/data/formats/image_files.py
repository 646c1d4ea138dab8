"""Images to classify, in files of any format: pictures, arrays and tables, and folders of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats import csv_table, hdf5, idx, npz, picture, pixels, signature
from dpcnn.data.formats.raw import Part, Source
from dpcnn.data.formats.roles import guess_roles
from dpcnn.data.shapes import image_forms, recognise
from dpcnn.errors import DataError
from dpcnn.system import safe_hdf5
from dpcnn.system.files import UnsafeFileError, content_size
from dpcnn.system.text import one_line

Array = NDArray[Any]
Shape = tuple[int, int, int]

NUMPY = (".npy",)
ARCHIVES = (".npz",)
TABLES = (".csv", ".tsv")
HDF5 = (".h5", ".hdf5")
ARRAYS = (*NUMPY, *ARCHIVES, *TABLES, *HDF5)
USUAL = "x_test"  # the array that is taken where a file has several
SHOWN = 3  # names of files in a message
LISTED = 300  # characters of what a file holds


@dataclass
class LeftOut:
    """The files of a folder that are not read, counted by the reason, with the first names."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, why: str, name: str) -> None:
        """Count a file."""
        self.counts[why] = self.counts.get(why, 0) + 1
        names = self.names.setdefault(why, [])
        if len(names) < SHOWN:
            names.append(name)

    def __str__(self) -> str:
        return "; ".join(
            f"{count:,} {why} ({', '.join(map(one_line, self.names[why]))}"
            f"{', ...' * (count > SHOWN)})"
            for why, count in self.counts.items()
        )


def walk(path: Path, left_out: LeftOut) -> Iterator[Path]:
    """Yield the file, or all files of a folder and its subfolders that can hold images, sorted.

    Only one folder's names are in memory at a time; files that are not read are counted. Raises
    DataError if there is no such file.
    """
    if not path.is_dir():
        yield path
        return
    empty = True
    for folder, folders, names in os.walk(path, onerror=lambda error: _unread(left_out, error)):
        folders.sort()
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                left_out.add("links to folders", name)
        for name in sorted(names):
            if why := _why_left_out(Path(name)):
                left_out.add(why, name)
            else:
                empty = False
                yield Path(folder, name)
    if empty:
        found = f" ({left_out})" if left_out.counts else ""
        expected = ", ".join((*picture.SUFFIXES, *NUMPY, *ARCHIVES, *HDF5))
        raise DataError(f"{path}: no images in this folder{found}, expected {expected} or IDX")


def _unread(left_out: LeftOut, error: OSError) -> None:
    left_out.add("folders that cannot be read", os.path.basename(str(error.filename)))


def _why_left_out(path: Path) -> str:
    """Return why a file in a folder is not read, "" if it is."""
    if "labels" in path.name and idx.NAME.match(path.name):
        return "of labels"
    if path.suffix.lower() in TABLES:
        return "of tables, which are read if they are named"
    if is_array(path) or path.name.lower().endswith(picture.SUFFIXES):
        return ""
    kind = signature.picture_kind(path)
    return f"of {kind}" if kind else "of no kind that is read"


def is_array(path: Path) -> bool:
    """Tell by its name whether a file holds an array of images rather than a picture."""
    return path.suffix.lower() in ARRAYS or idx.NAME.match(path.name) is not None


def read(
    path: Path, shape: Shape, name: str | None, prepare: str, keys: str | None = None
) -> Iterator[Array]:
    """Yield a file's images as (N, C, H, W) uint8 or float32, a block at a time.

    shape: (C, H, W). name: the array to read of an HDF5 file or .npz, None for the one that fits.
    prepare: as for picture.read. keys: y=NAME, the column of the labels in a table. Raises
    DataError for a file that does not hold such images.
    """
    if not is_array(path):
        if kind := signature.picture_kind(path):
            raise DataError(f"{path}: {kind}, {picture.EXPECTED}")
        yield picture.read(path, shape, prepare)[None]
        return
    with _opened(path, shape, name, keys) as (x, x_name):
        where = f"{path}: {x_name}"
        try:
            form = recognise((x.shape or (0,)), shape)
        except DataError as error:
            raise DataError(f"{where} has {error}") from None
        if 0 in x.shape:
            raise DataError(f"{where} holds no images, expected at least one")
        chunk = getattr(x, "chunks", None) or (1,)
        yield from pixels.decoded(Part(x, np.empty(0), x_name, "", chunk=chunk[0]), where, form)


@contextlib.contextmanager
def _opened(
    path: Path, shape: Shape, name: str | None, keys: str | None
) -> Iterator[tuple[Source, str]]:
    """Open the images in a file, and provide what they are called."""
    suffix = path.suffix.lower()
    if suffix in HDF5:
        with hdf5.open_arrays(path, name or USUAL) as arrays:
            chosen = _choose(path, {key: each.shape for key, each in arrays.items()}, shape, name)
            yield arrays[chosen], chosen
    elif suffix in ARCHIVES:
        shapes = npz.shapes(path)
        chosen = _choose(path, shapes, shape, name)
        yield npz.load(path, chosen), chosen
    elif suffix in TABLES:
        yield csv_table.load(path, int(np.prod(shape)), keys), "the table"
    else:
        array = _npy(path) if suffix in NUMPY else idx.load(path)
        forms = (*image_forms(shape), (*shape[1:], shape[0]))
        yield array[None] if array.shape in forms else array, "the array"


def _choose(
    path: Path, arrays: Mapping[str, tuple[int, ...] | None], shape: Shape, asked: str | None
) -> str:
    """Return the name of the array of a file to read; raises DataError, which says what it holds.

    Without one that is asked for: x_test, or what has a name like it, or the only one that fits.
    """
    fitting = [name for name, size in arrays.items() if size and _fits(size, shape)]
    if asked is None:
        likely = (USUAL, guess_roles(arrays).get(USUAL), *(fitting if len(fitting) == 1 else ()))
        asked = next((name for name in likely if name in fitting), None)
    if asked is not None and asked in arrays:
        return asked
    text = one_line(", ".join(f"{name} {size}" for name, size in arrays.items()) or "no array")
    text = text if len(text) <= LISTED else f"{text[:LISTED]}..."
    wanted = "which of them" if asked is None else f"no array {one_line(asked)} in it"
    raise DataError(f"{path}: holds {text}, {wanted}: expected --array NAME")


def _fits(size: tuple[int, ...], shape: Shape) -> bool:
    """Tell whether an array of that size holds images of the shape."""
    try:
        recognise(size, shape)
    except DataError:
        return False
    return True


def _npy(path: Path) -> Array:
    """Return the array in an .npy file, mapped; never unpickles anything."""
    try:
        limit = safe_hdf5.RATIO * content_size(path)
        array: Array = np.lib.format.open_memmap(path, mode="r")
        if array.nbytes > limit:
            raise UnsafeFileError(f"{array.nbytes:,} bytes, of which most are not on the disk")
    except safe_hdf5.UNREADABLE as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise DataError(f"{path}: cannot be read ({reason}), expected an .npy array") from error
    return array
