"""Datasets as HDF5 files, in the form of the tutorial's MNISTdata.hdf5.

`x_train` and `x_test`: (N, C*H*W), (N, H, W) or (N, C, H, W), float in [0, 1] or uint8;
`y_train` and `y_test`: (N,) or (N, 1) integers. Files are read a block at a time, read-only,
and nothing else in them is looked at. The images are read into memory, or stay on the disk: in the
file where they lie there as they would in memory, else in one that they are unpacked into.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.data.dataset import Dataset, Images, image_forms
from dpcnn.data.disk_array import StoredArray
from dpcnn.errors import DataError
from dpcnn.system import safe_hdf5

Array = NDArray[Any]

BLOCK = 1 << 24  # bytes read at a time, a little more where the file is in chunks
KEYS = ("x_train", "y_train", "x_test", "y_test")


def read(
    path: Path, shape: tuple[int, int, int], num_class: int, folder: Path | None = None
) -> Dataset:
    """Return the dataset of an HDF5 file, its images as (N, C, H, W) with shape (C, H, W).

    With a folder they stay on the disk: in the file, or unpacked into the folder, from which they
    may be deleted once they are open. Raises DataError, naming the file and the array, for anything
    that cannot be trained on.
    """
    try:
        limit = safe_hdf5.RATIO * safe_hdf5.file_size(path)
    except safe_hdf5.UntrustedError as error:
        raise DataError(f"{path}: {error}, expected an HDF5 dataset (--dataroot)") from error
    try:
        with h5py.File(path, "r") as file:
            names = sorted(file)
            missing = [key for key in KEYS if key not in names]
            if missing:
                found = safe_hdf5.one_line(", ".join(names) or "nothing")
                raise DataError(
                    f"{path}: no array {', '.join(missing)}; found {found},"
                    f" expected {', '.join(KEYS)}"
                )
            arrays = {key: safe_hdf5.array(file, key, limit) for key in KEYS}
            train, test = (
                _images(arrays, f"{path}: ", part, shape, num_class, folder)
                for part in ("train", "test")
            )
    except safe_hdf5.UntrustedError as error:
        raise DataError(f"{path}: {error}") from error
    except safe_hdf5.UNREADABLE as error:
        reason = safe_hdf5.one_line(error)
        raise DataError(
            f"{path}: cannot be read as HDF5 ({reason}), expected a dataset like MNISTdata.hdf5"
        ) from error
    return Dataset(train, test, str(path))


def blocks(path: Path, name: str) -> Iterator[Array]:
    """Yield the rows of one array of an HDF5 file, some at a time; raises DataError."""
    try:
        limit = safe_hdf5.RATIO * safe_hdf5.file_size(path)
        with h5py.File(path, "r") as file:
            array = safe_hdf5.array(file, name, limit)
            if array.size == 0:
                raise DataError(f"{path}: {name} is empty, expected at least one image")
            size = _rows_at_a_time(array)
            for start in range(0, len(array), size):
                yield array[start : start + size]
    except safe_hdf5.UNREADABLE as error:
        reason = safe_hdf5.one_line(error)
        raise DataError(
            f"{path}: {name} cannot be read ({reason}), expected an HDF5 array of images"
        ) from error


def write(path: Path, dataset: Dataset) -> None:
    """Write a dataset as it is in memory, contiguous and uncompressed: quick to map and read."""
    with h5py.File(path, "w", libver="latest") as file:
        for key, array in zip(KEYS, dataset.arrays(), strict=True):
            file.create_dataset(key, data=array)


def _images(
    arrays: dict[str, h5py.Dataset],
    file: str,
    part: str,
    shape: tuple[int, int, int],
    num_class: int,
    folder: Path | None,
) -> Images:
    x, y = f"x_{part}", f"y_{part}"
    labels = _labels(arrays[y], file + y, num_class)
    images = _pixels(arrays[x], file + x, shape, None if folder is None else folder / x)
    if len(images) != len(labels):
        raise DataError(
            f"{file}{len(images)} images in {x}, {len(labels)} labels in {y},"
            " expected a label for each image"
        )
    return Images(images, labels)


def _labels(y: h5py.Dataset, where: str, num_class: int) -> Array:
    """Return the labels (N,) as the smallest unsigned integers that hold every class."""
    if y.dtype.kind not in "iu":
        raise DataError(f"{where} holds {y.dtype}, expected integers")
    if y.ndim not in (1, 2) or y.shape[1:] not in ((), (1,)):
        raise DataError(f"{where} has shape {y.shape}, expected (N,) or (N, 1)")
    labels: Array = y[()].reshape(-1)
    outside = labels[(labels < 0) | (labels >= num_class)]
    if outside.size:
        raise DataError(
            f"{where} holds label {outside[0]}, expected 0..{num_class - 1}"
            f" (--num_class {num_class})"
        )
    return labels.astype(np.min_scalar_type(num_class - 1))


def _pixels(
    x: h5py.Dataset, where: str, shape: tuple[int, int, int], copy: Path | None
) -> Array | StoredArray:
    """Return the images (N, C, H, W): uint8 where every value is k/255, else float32.

    They are in memory, or with the path of a copy, which is written if it is needed, on the disk.
    """
    forms = image_forms(shape)
    if x.ndim == 0 or x.shape[1:] not in forms:
        expected = " or ".join(str(("N", *form)).replace("'", "") for form in forms)
        raise DataError(f"{where} has shape {x.shape}, expected {expected}")
    if x.shape[0] == 0:
        raise DataError(f"{where} is empty, expected at least one image")
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DataError(f"{where} holds {x.dtype}, expected uint8 or floats in [0, 1]")
    size = (len(x), *shape)
    in_place = None if copy is None else _in_place(x, where, size)
    if x.dtype == np.uint8 and in_place is not None:
        return in_place
    images: Array | StoredArray = _room(size, np.uint8, where, copy)
    if _as_bytes(x, where, images):
        return images
    if in_place is not None:
        for _ in _blocks(x, where):
            pass  # each is checked
        return in_place
    images = _room(size, np.float32, where, copy)
    for rows, block in _blocks(x, where):
        images[rows] = block.reshape(-1, *shape)
    return images


def _in_place(x: h5py.Dataset, where: str, size: tuple[int, ...]) -> StoredArray | None:
    """Return the images as they lie in the file, None if not as they would in memory."""
    place = x.id.get_offset()  # None for chunks
    if place is None or x.dtype not in (np.uint8, np.float32):
        return None
    path = Path(x.file.filename)
    if place + x.nbytes > safe_hdf5.file_size(path):
        raise DataError(f"{where} ends past the end of the file, expected a whole file")
    return StoredArray(path, size, x.dtype, place)


def _room(size: tuple[int, ...], dtype: DTypeLike, where: str, copy: Path | None) -> Any:
    """Return where to put the images: in memory, or in a new file; raises DataError."""
    try:
        return np.empty(size, dtype) if copy is None else StoredArray.create(copy, size, dtype)
    except MemoryError as error:
        raise DataError(
            f"{where} does not fit into the memory ({error}): train with --stream"
        ) from error


def _blocks(x: h5py.Dataset, where: str) -> Iterator[tuple[slice, Array]]:
    """Yield (slice, uint8 or float32 block), floats checked to lie in [0, 1]."""
    count = _rows_at_a_time(x)
    for start in range(0, len(x), count):
        rows = slice(start, min(start + count, len(x)))
        block = x[rows]
        if block.dtype != np.uint8:
            low, high = block.min(), block.max()
            if not (low >= 0 and high <= 1):
                found = "NaN" if np.isnan(low) else f"values from {low:g} to {high:g}"
                raise DataError(f"{where} holds {found}, expected floats in [0, 1] or uint8")
            block = block.astype(np.float32, copy=False)
        yield rows, block


def _rows_at_a_time(x: h5py.Dataset) -> int:
    """Return how many rows make a block: of a file in chunks whole ones, so that each is read once.

    Not where that takes more than a few blocks of memory.
    """
    count: int = max(1, BLOCK * len(x) // x.nbytes)
    chunk: int = x.chunks[0] if x.chunks else 1
    return math.ceil(count / chunk) * chunk if chunk <= 4 * count else count


def _as_bytes(x: h5py.Dataset, where: str, images: Any) -> bool:
    """Write every value as the k of k/255 to images; stop at the first that is none, and say so."""
    for rows, block in _blocks(x, where):
        if block.dtype != np.uint8:
            scaled = np.rint(block * np.float32(255))
            if not np.array_equal(scaled / np.float32(255), block):
                return False
            block = scaled
        images[rows] = block.reshape(-1, *images.shape[1:])
    return True
