"""Datasets as HDF5 files, laid out like the tutorial's MNISTdata.hdf5.

`x_train` and `x_test`: (N, C*H*W), (N, H, W) or (N, C, H, W), float in [0, 1] or uint8;
`y_train` and `y_test`: (N,) or (N, 1) integers. Files are opened read-only and read a block at a
time; anything else in them is ignored. Images are kept in one of three places: in memory; in the
file itself, where they lie there as they would in memory; or in a new file that they are unpacked
into.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.shapes import ANY, ImageShape, NamedShape, recognise
from dpcnn.errors import DataError
from dpcnn.system import safe_hdf5
from dpcnn.system.files import UnsafeFileError, file_size
from dpcnn.system.text import one_line

Array = NDArray[Any]

BLOCK = 1 << 24  # bytes read at a time, somewhat more where the array is chunked
KEYS = ("x_train", "y_train", "x_test", "y_test")
FEWEST, MOST = 2, 65536  # classes


def read(
    path: Path,
    named: NamedShape = ANY,
    num_class: int | None = None,
    folder: Path | None = None,
) -> Dataset:
    """Return the dataset of an HDF5 file, its images as (N, C, H, W).

    named: (C, H, W) as the user has them, num_class: the classes; None for what the file tells.
    With a folder the images stay on the disk: in the file, or unpacked into new files in the
    folder, which may be deleted once the dataset is open. Raises DataError, naming the file and the
    array, for anything that cannot be trained on.
    """
    try:
        limit = safe_hdf5.RATIO * file_size(path)
    except UnsafeFileError as error:
        raise DataError(f"{path}: {error}, expected an HDF5 dataset (--dataroot)") from error
    try:
        with h5py.File(path, "r") as file:
            names = sorted(file)
            missing = [key for key in KEYS if key not in names]
            if missing:
                listed = one_line(", ".join(names) or "nothing")
                raise DataError(
                    f"{path}: no array {', '.join(missing)}; found {listed},"
                    f" expected {', '.join(KEYS)}"
                )
            arrays = {key: safe_hdf5.array(file, key, limit) for key in KEYS}
            where = f"{path}: "
            classes = num_class or _classes(arrays["y_train"], f"{where}y_train")
            train = _images(arrays, where, "train", named, classes, folder)
            test = _images(arrays, where, "test", train.shape, classes, folder)
    except UnsafeFileError as error:
        raise DataError(f"{path}: {error}") from error
    except safe_hdf5.UNREADABLE as error:
        reason = one_line(error)
        raise DataError(
            f"{path}: cannot be read as HDF5 ({reason}), expected a dataset like MNISTdata.hdf5"
        ) from error
    return Dataset(train, test, str(path), classes)


def blocks(path: Path, name: str) -> Iterator[Array]:
    """Yield the rows of one array of an HDF5 file, a block at a time; raises DataError."""
    try:
        limit = safe_hdf5.RATIO * file_size(path)
        with h5py.File(path, "r") as file:
            array = safe_hdf5.array(file, name, limit)
            if array.size == 0:
                raise DataError(f"{path}: {name} is empty, expected at least one image")
            for rows in _blocks(array):
                yield array[rows]
    except safe_hdf5.UNREADABLE as error:
        reason = one_line(error)
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
    prefix: str,
    part: str,
    named: NamedShape,
    num_class: int,
    folder: Path | None,
) -> Images:
    """Return the `train` or `test` part; prefix: how errors begin."""
    x, y = f"x_{part}", f"y_{part}"
    labels = _labels(arrays[y], prefix + y, num_class)
    images = _pixels(arrays[x], prefix + x, named, folder and folder / x)
    if len(images) != len(labels):
        raise DataError(
            f"{prefix}{len(images)} images in {x}, {len(labels)} labels in {y},"
            " expected a label for each image"
        )
    return Images(images, labels)


def _classes(y: h5py.Dataset, where: str) -> int:
    """Return how many classes the labels of a training set are of: the largest + 1."""
    largest = int(_integers(y, where).max(initial=0))
    if largest >= MOST:
        raise DataError(f"{where} holds label {largest}, expected 0..{MOST - 1}")
    return max(FEWEST, largest + 1)


def _labels(y: h5py.Dataset, where: str, num_class: int) -> Array:
    """Return the labels (N,) as the narrowest unsigned integers that hold every class."""
    labels = _integers(y, where)
    outside = labels[(labels < 0) | (labels >= num_class)]
    if outside.size:
        raise DataError(
            f"{where} holds label {outside[0]}, expected 0..{num_class - 1}"
            f" (--num_class {num_class})"
        )
    return labels.astype(np.min_scalar_type(num_class - 1))


def _integers(y: h5py.Dataset, where: str) -> Array:
    """Return the labels (N,) as they are in the file."""
    if y.dtype.kind not in "iu":
        raise DataError(f"{where} holds {y.dtype}, expected integers")
    if y.ndim not in (1, 2) or y.shape[1:] not in ((), (1,)):
        raise DataError(f"{where} has shape {y.shape}, expected (N,) or (N, 1)")
    labels: Array = y[()].reshape(-1)
    return labels


def _pixels(
    x: h5py.Dataset, where: str, named: NamedShape, copy: Path | None
) -> Array | StoredArray:
    """Return the images (N, C, H, W): uint8 where every value is k/255, else float32.

    copy: the file to unpack them into, if the array does not lie in its file as it would in memory;
    None: they are read into memory.
    """
    shape = _image_shape(x, where, named)
    images = _kept_as(np.uint8, x, where, shape, copy)
    if images is None:
        images = _kept_as(np.float32, x, where, shape, copy)
    assert images is not None, "float32 takes every value"
    return images


def _image_shape(x: h5py.Dataset, where: str, named: NamedShape) -> ImageShape:
    """Return (C, H, W); raises DataError unless this is an array of such images."""
    if x.shape is None:
        raise DataError(f"{where} has shape None, expected an array of images")
    if x.shape[:1] == (0,):
        raise DataError(f"{where} is empty, expected at least one image")
    try:
        shape = recognise(x.shape, named)
    except DataError as error:
        raise DataError(f"{where} has {error}") from None
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DataError(f"{where} holds {x.dtype}, expected uint8 or floats in [0, 1]")
    return shape


def _kept_as(
    dtype: DTypeLike, x: h5py.Dataset, where: str, shape: ImageShape, copy: Path | None
) -> Array | StoredArray | None:
    """Return the images (N, C, H, W) as uint8 or float32; None if uint8 cannot hold a value.

    Wherever they are kept, every value is checked on the way; bytes that stay in the file need not
    be read.
    """
    size = (len(x), *shape)
    in_file = None if copy is None or x.dtype != dtype else _in_file(x, where, size)
    if in_file is not None and dtype == np.uint8:
        return in_file
    images = _new(size, dtype, where, copy) if in_file is None else in_file
    for rows in _blocks(x):
        values = _values(x[rows], dtype, where)
        if values is None:
            return None
        if in_file is None:
            images[rows] = values.reshape(-1, *shape)
    return images


def _in_file(x: h5py.Dataset, where: str, size: tuple[int, ...]) -> StoredArray | None:
    """Return the images in the file itself; None if they do not lie there as they would in memory.

    Raises DataError for a file that is cut off.
    """
    offset = x.id.get_offset()  # None for a chunked array
    if offset is None:
        return None
    path = Path(x.file.filename)
    if offset + x.nbytes > file_size(path):
        raise DataError(f"{where} ends past the end of the file, expected a whole file")
    return StoredArray(path, size, x.dtype, offset)


def _new(
    size: tuple[int, ...], dtype: DTypeLike, where: str, copy: Path | None
) -> Array | StoredArray:
    """Return a new array for the images, in memory or in the file `copy`; raises DataError."""
    try:
        return np.empty(size, dtype) if copy is None else StoredArray.create(copy, size, dtype)
    except MemoryError as error:
        raise DataError(f"{where} does not fit in memory ({error}): train with --stream") from error


def _blocks(x: h5py.Dataset) -> Iterator[slice]:
    """Yield the rows of one block after the other.

    Blocks are made of whole chunks, so that each is read once, unless that takes more memory than a
    few blocks.
    """
    count: int = max(1, BLOCK * len(x) // x.nbytes)
    chunk: int = x.chunks[0] if x.chunks else 1
    if chunk <= 4 * count:
        count = math.ceil(count / chunk) * chunk
    for start in range(0, len(x), count):
        yield slice(start, min(start + count, len(x)))


def _values(block: Array, dtype: DTypeLike, where: str) -> Array | None:
    """Return the values of a block as dtype holds them; None if uint8, k for k/255, cannot.

    Raises DataError for floats outside [0, 1].
    """
    if block.dtype == np.uint8:
        return block
    low, high = block.min(), block.max()
    if not (low >= 0 and high <= 1):
        outside = "NaN" if np.isnan(low) else f"values from {low:g} to {high:g}"
        raise DataError(f"{where} holds {outside}, expected floats in [0, 1] or uint8")
    values = block.astype(np.float32, copy=False)
    if dtype == np.float32:
        return values
    scaled = np.rint(values * np.float32(255))
    return scaled if np.array_equal(scaled / np.float32(255), values) else None
