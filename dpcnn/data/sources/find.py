"""Where the images come from: a file, MNIST, or the built-in digits."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import hdf5
from dpcnn.data.sources import mnist, synthetic
from dpcnn.data.streaming import on_disk
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
    sets = [synthetic.draw(DIGITS_TRAIN, seed=0), synthetic.draw(DIGITS_TEST, seed=1)]
    train, test = (Images(images[:, None], labels) for images, labels in sets)
    if folder is not None:
        train, test = on_disk(train, folder / "x_train"), on_disk(test, folder / "x_test")
    return Dataset(train, test, "built-in digits, drawn by the program")
