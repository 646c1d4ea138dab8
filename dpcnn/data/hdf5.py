"""Datasets as HDF5 files, in the form of the tutorial's MNISTdata.hdf5.

`x_train` and `x_test`: (N, C*H*W), (N, H, W) or (N, C, H, W), float in [0, 1] or uint8;
`y_train` and `y_test`: (N,) or (N, 1) integers. Files are read a block at a time, read-only,
and nothing else in them is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dpcnn import untrusted
from dpcnn.data.dataset import Dataset, Images, image_forms
from dpcnn.errors import DataError

Array = NDArray[Any]

BLOCK = 4096  # images read at a time: 13 MB of 28x28 float32
KEYS = ("x_train", "y_train", "x_test", "y_test")


def read(path: Path, shape: tuple[int, int, int], num_class: int) -> Dataset:
    """Return the dataset of an HDF5 file, its images as (N, C, H, W) with shape (C, H, W).

    Raises DataError, naming the file and the array, for anything that cannot be trained on.
    """
    try:
        limit = untrusted.RATIO * untrusted.file_size(path)
    except untrusted.UntrustedError as error:
        raise DataError(f"{path}: {error}, expected an HDF5 dataset (--dataroot)") from error
    try:
        with h5py.File(path, "r") as file:
            names = sorted(file)
            missing = [key for key in KEYS if key not in names]
            if missing:
                found = untrusted.one_line(", ".join(names) or "nothing")
                raise DataError(
                    f"{path}: no array {', '.join(missing)}; found {found},"
                    f" expected {', '.join(KEYS)}"
                )
            arrays = {key: untrusted.array(file, key, limit) for key in KEYS}
            train, test = (
                _images(arrays, path, part, shape, num_class) for part in ("train", "test")
            )
    except untrusted.UntrustedError as error:
        raise DataError(f"{path}: {error}") from error
    except untrusted.UNREADABLE as error:
        reason = untrusted.one_line(error)
        raise DataError(
            f"{path}: cannot be read as HDF5 ({reason}), expected a dataset like MNISTdata.hdf5"
        ) from error
    return Dataset(train, test, str(path))


def write(path: Path, dataset: Dataset) -> None:
    """Write a dataset as it is in memory, contiguous and uncompressed: quick to map and read."""
    with h5py.File(path, "w", libver="latest") as file:
        for key, array in zip(KEYS, dataset.arrays(), strict=True):
            file.create_dataset(key, data=array)


def _images(
    arrays: dict[str, h5py.Dataset],
    path: Path,
    part: str,
    shape: tuple[int, int, int],
    num_class: int,
) -> Images:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    labels = _labels(y, f"{path}: y_{part}", num_class)
    images = _pixels(x, f"{path}: x_{part}", shape)
    if len(images) != len(labels):
        raise DataError(
            f"{path}: {len(images)} images in x_{part}, {len(labels)} labels in y_{part},"
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


def _pixels(x: h5py.Dataset, where: str, shape: tuple[int, int, int]) -> Array:
    """Return the images (N, C, H, W): uint8 where every value is k/255, else float32."""
    forms = image_forms(shape)
    if x.ndim == 0 or x.shape[1:] not in forms:
        expected = " or ".join(str(("N", *form)).replace("'", "") for form in forms)
        raise DataError(f"{where} has shape {x.shape}, expected {expected}")
    if x.shape[0] == 0:
        raise DataError(f"{where} is empty, expected at least one image")
    if x.dtype == np.uint8:
        pixels: Array = x[()]
        return pixels.reshape(-1, *shape)
    if x.dtype.kind != "f":
        raise DataError(f"{where} holds {x.dtype}, expected uint8 or floats in [0, 1]")
    images = _as_bytes(x, where)
    return (_as_floats(x, where) if images is None else images).reshape(-1, *shape)


def _blocks(x: h5py.Dataset, where: str) -> Any:
    """Yield (slice, float32 block), each checked to lie in [0, 1]."""
    for start in range(0, len(x), BLOCK):
        rows = slice(start, min(start + BLOCK, len(x)))
        block = x[rows]
        low, high = block.min(), block.max()
        if not (low >= 0 and high <= 1):
            found = "NaN" if np.isnan(low) else f"values from {low:g} to {high:g}"
            raise DataError(f"{where} holds {found}, expected floats in [0, 1] or uint8")
        yield rows, block.astype(np.float32, copy=False)


def _as_bytes(x: h5py.Dataset, where: str) -> Array | None:
    """Return the images as uint8 k, or None at the first value that is not k/255."""
    images = np.empty(x.shape, np.uint8)
    for rows, block in _blocks(x, where):
        scaled = np.rint(block * np.float32(255))
        images[rows] = scaled
        scaled /= np.float32(255)
        if not np.array_equal(scaled, block):
            return None
    return images


def _as_floats(x: h5py.Dataset, where: str) -> Array:
    images = np.empty(x.shape, np.float32)
    for rows, block in _blocks(x, where):
        images[rows] = block
    return images
