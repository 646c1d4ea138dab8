"""Unlabelled images in files of any format: pictures, .npy, HDF5, and folders of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.dataset import as_images
from dpcnn.data.formats import hdf5, picture, pixels
from dpcnn.data.shapes import image_forms
from dpcnn.errors import DataError
from dpcnn.system import safe_hdf5
from dpcnn.system.files import UnsafeFileError, content_size
from dpcnn.system.text import one_line

Array = NDArray[Any]

NUMPY = (".npy",)
HDF5 = (".h5", ".hdf5")
SUFFIXES = (*picture.SUFFIXES, *NUMPY, *HDF5)


def walk(path: Path) -> Iterator[Path]:
    """Yield the file, or all files of a folder and its subfolders that can hold images, sorted.

    Only one folder's names are in memory at a time. Raises DataError if there is no such file.
    """
    if not path.is_dir():
        yield path
        return
    empty = True
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                empty = False
                yield Path(folder, name)
    if empty:
        raise DataError(f"{path}: no images in this folder, expected {', '.join(SUFFIXES)}")


def is_array(path: Path) -> bool:
    """Tell by its suffix whether a file holds an array of images rather than a picture."""
    return path.suffix.lower() in (*NUMPY, *HDF5)


def read(path: Path, shape: tuple[int, int, int], name: str, prepare: str) -> Iterator[Array]:
    """Yield a file's images as (N, C, H, W) uint8 or float32, a block at a time.

    shape: (C, H, W). name: the array to read in an HDF5 file. prepare: as for picture.read. Raises
    DataError for a file that does not hold such images.
    """
    suffix = path.suffix.lower()
    if suffix in NUMPY:
        blocks = _npy(path, shape)
    elif suffix in HDF5:
        blocks = hdf5.blocks(path, name)
    else:
        blocks = iter([picture.read(path, shape, prepare)[None]])
    for block in blocks:
        try:
            yield as_images(block, shape)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def _npy(path: Path, shape: tuple[int, int, int]) -> Iterator[Array]:
    """Yield blocks of the images, or the one image, in an .npy file; never unpickles anything."""
    try:
        limit = safe_hdf5.RATIO * content_size(path)
        array = np.lib.format.open_memmap(path, mode="r")
        if array.nbytes > limit:
            raise UnsafeFileError(f"{array.nbytes:,} bytes, of which most are not on the disk")
    except safe_hdf5.UNREADABLE as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise DataError(f"{path}: cannot be read ({reason}), expected an .npy array") from error
    images = array[None] if array.shape in image_forms(shape) else array
    if images.size == 0:
        raise DataError(f"{path}: holds no images, expected at least one")
    size = max(1, pixels.BLOCK // images[:1].nbytes)
    for start in range(0, len(images), size):
        yield images[start : start + size]
