"""From a word of --dataroot to a dataset: a file, one known by name, or the built-in digits."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.formats import arrays, registry
from dpcnn.data.formats.raw import NOTHING, Wanted
from dpcnn.data.sources import synthetic
from dpcnn.data.sources.catalog import SOURCES
from dpcnn.errors import DataError

DIGITS = "digits"
MNIST = "mnist"
AUTO = "auto"
ARRAYS = arrays.WHERE  # what a run that was given arrays records in the place of a path
NEARBY = (Path("MNISTdata.hdf5"), Path("../MNISTdata.hdf5"))
# The source of the built-in digits, as it is and where no dataset was named.
DRAWN = "built-in digits, drawn by the program"
UNNAMED = f"{DRAWN}, as no dataset was named"
DIGITS_TRAIN, DIGITS_TEST = 12_000, 2_000


def locate(dataroot: str) -> str | None:
    """Return `digits` or the path of a file; None if a dataset would have to be downloaded."""
    if dataroot != AUTO and dataroot not in SOURCES:
        return _in_this_locale(dataroot)
    nearby = (path for path in NEARBY if dataroot == AUTO and path.is_file())
    if (path := next(nearby, None)) is not None:
        return str(path)
    from dpcnn.data.sources import download  # here: each start pays for the modules of the network

    try:
        cached = download.cached(MNIST if dataroot == AUTO else dataroot)
    except DataError:  # no cache directory: `fetch` reports that
        return None
    return None if cached is None else str(cached)


def is_word(dataroot: str) -> bool:
    """Tell whether --dataroot is a word rather than a path."""
    return dataroot in (AUTO, DIGITS, *SOURCES)


def _in_this_locale(path: str) -> str:
    """Return a path, which may have been recorded under another locale, as this one names it."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return os.fsdecode(path.encode("utf-8", "surrogateescape"))
    return path


def resolve(
    dataroot: str, mirror: str | None, progress: bool, warn: Callable[[str], None], fall_back: bool
) -> str:
    """Return `digits` or the path of a file, downloading a dataset known by name if need be.

    Only one rank of a job may call this. mirror, progress: as for download.fetch. If there is no
    MNIST to be had and it may fall back, `auto` calls `warn` and takes the built-in digits;
    otherwise it raises DataError, as any other word does.
    """
    if is_word(dataroot) and os.path.exists(dataroot):
        warn(f"--dataroot {dataroot} is the dataset of that name; ./{dataroot} is what is here")
    if (root := locate(dataroot)) is not None:
        return root
    from dpcnn.data.sources import download

    try:
        return str(download.fetch(MNIST if dataroot == AUTO else dataroot, mirror, progress))
    except DataError as error:
        if dataroot != AUTO or not fall_back:
            raise
        warn(f"no MNIST found: training on the BUILT-IN DIGITS, which are not MNIST ({error})")
        return DIGITS


@contextlib.contextmanager
def scratch(large: bool) -> Iterator[Path]:
    """Provide a temporary directory, in TMPDIR or where the system keeps temporary files.

    large: for files that do not fit in memory, and so must not go to /tmp, which may be memory.
    """
    disk = "/var/tmp"
    on_disk = large and "TMPDIR" not in os.environ and os.access(disk, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="dpcnn-", dir=disk if on_disk else None) as name:
        yield Path(name)


def load(root: str, wanted: Wanted = NOTHING, folder: Path | None = None) -> Dataset:
    """Return the dataset of a root that `resolve` returned.

    wanted: what the user says of it, needed where the files leave it open. With a folder the images
    stay on the disk, as for `assemble`. Raises DataError for what cannot be trained on.
    """
    if root == ARRAYS:
        raise DataError(
            "trained on arrays from Python, which are kept nowhere, expected --dataroot with a file"
            " of the same images, such as .npz"
        )
    if root != DIGITS:
        return registry.read(Path(root), wanted, folder)
    train, test = (
        _digits(count, seed, folder and folder / name)
        for count, seed, name in ((DIGITS_TRAIN, 0, "x_train"), (DIGITS_TEST, 1, "x_test"))
    )
    return Dataset(train, test, DRAWN, wanted.num_class or synthetic.CLASSES)


def _digits(count: int, seed: int, path: Path | None) -> Images:
    """Return `count` digits, in memory or in a new file; raises DataError if the disk is full."""
    drawn, labels = synthetic.draw(count, seed)
    images = drawn[:, None]  # (N, C=1, H, W)
    return Images(images if path is None else StoredArray.of(images, path), labels)
