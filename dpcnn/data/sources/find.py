"""Where the images come from: a file, MNIST, or the built-in digits."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.formats import hdf5
from dpcnn.data.sources import mnist, synthetic
from dpcnn.errors import DataError

DIGITS = "digits"
MNIST = "mnist"
AUTO = "auto"
NEAR = (Path("MNISTdata.hdf5"), Path("../MNISTdata.hdf5"))
DIGITS_TRAIN, DIGITS_TEST = 12_000, 2_000


def find(dataroot: str) -> str | None:
    """Return `digits` or the path of a file, None where MNIST would have to be downloaded."""
    near = (path for path in NEAR if dataroot == AUTO and path.is_file())
    if found := next(near, None):
        return str(found)
    if dataroot not in (AUTO, MNIST):
        return dataroot
    try:
        cached = mnist.cached()
    except DataError:  # no cache directory: `fetch` says so
        cached = None
    return None if cached is None else str(cached)


def resolve(dataroot: str, mirror: str | None, progress: bool, warn: Callable[[str], None]) -> str:
    """Return `digits` or the path of a file, downloading MNIST where that is asked for.

    For one rank of the job alone. Raises DataError if MNIST was asked for and cannot be had; with
    `auto` the built-in digits take its place and `warn` is told.
    """
    if (found := find(dataroot)) is not None:
        return found
    try:
        return str(mnist.fetch(mirror, progress))
    except DataError as error:
        if dataroot == MNIST:
            raise
        warn(f"no MNIST here: training on the BUILT-IN DIGITS, which are not MNIST ({error})")
        return DIGITS


@contextlib.contextmanager
def scratch(large: bool) -> Iterator[Path]:
    """Have a directory for temporary files, in TMPDIR or where the system has them.

    Large ones are kept out of /tmp, which may be memory.
    """
    disk = "/var/tmp"
    elsewhere = large and "TMPDIR" not in os.environ and os.access(disk, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="dpcnn-", dir=disk if elsewhere else None) as name:
        yield Path(name)


def load(
    root: str, shape: tuple[int, int, int], num_class: int, folder: Path | None = None
) -> Dataset:
    """Return the dataset of what `resolve` returned, for images (C, H, W) of num_class classes.

    With a folder its images stay on the disk (see hdf5.read). Raises DataError for a file that
    cannot be trained on.
    """
    if root != DIGITS:
        return hdf5.read(Path(root), shape, num_class, folder)
    train, test = (
        _digits(count, seed, folder and folder / name)
        for count, seed, name in ((DIGITS_TRAIN, 0, "x_train"), (DIGITS_TEST, 1, "x_test"))
    )
    return Dataset(train, test, "built-in digits, drawn by the program")


def _digits(count: int, seed: int, path: Path | None) -> Images:
    """Return so many digits, in memory or in a new file; raises DataError if the disk is full."""
    drawn, labels = synthetic.draw(count, seed)
    images = drawn[:, None]  # (N, C=1, H, W)
    return Images(images if path is None else StoredArray.of(images, path), labels)
