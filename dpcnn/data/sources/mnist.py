"""MNIST: downloaded once from a mirror, verified, and kept as one HDF5 file in the user's cache.

The four IDX files (http://yann.lecun.com/exdb/mnist describes the format: a big-endian magic
number 0x00000800 + dimensions, the size of each dimension, the bytes) are verified by the SHA-256
of their decompressed content, whichever mirror they come from.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import threading
import urllib.error
import urllib.request
import zlib
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dpcnn.data.cache import cache_directory
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import hdf5
from dpcnn.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CONNECT_SECONDS = 4.5  # to get a response, over all mirrors: that there is no network shows in 5 s
STALL_SECONDS = 10.0  # without receiving a byte
CLASSES = 10
CHUNK = 1 << 16  # bytes; also the most that a gzip file may exceed its content by


@dataclass(frozen=True)
class IdxFile:
    """One of the four files: its name on the mirrors, the shape of its array, its SHA-256."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    def header(self) -> bytes:
        """Return the bytes that precede the data."""
        sizes = (0x800 + len(self.shape), *self.shape)
        return b"".join(size.to_bytes(4, "big") for size in sizes)

    def size(self) -> int:
        """Return the length of the decompressed file in bytes."""
        return len(self.header()) + int(np.prod(self.shape))


FILES = (
    IdxFile("train-images-idx3-ubyte.gz", (60000, 28, 28),
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    IdxFile("train-labels-idx1-ubyte.gz", (60000,),
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    IdxFile("t10k-images-idx3-ubyte.gz", (10000, 28, 28),
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    IdxFile("t10k-labels-idx1-ubyte.gz", (10000,),
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)  # fmt: skip


def cached() -> Path | None:
    """Return the file in the cache, None if there is none; raises DataError as cache_directory."""
    path = cache_directory() / "mnist.hdf5"
    return path if os.path.isfile(path) else None  # Path.is_file raises PermissionError


def fetch(mirror: str | None = None, progress: bool = False) -> Path:
    """Return MNIST as an HDF5 file in the cache, downloading it if it is not there.

    mirror: a URL to use instead of MIRRORS. progress: show a bar on standard error. Raises
    DataError, which says what was wrong with each mirror, or with the cache directory.
    """
    if (path := cached()) is not None:
        return path
    path = cache_directory() / "mnist.hdf5"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()  # fails now rather than after the download
        _write(path, _download_all((mirror,) if mirror else MIRRORS, progress))
    except (OSError, RuntimeError) as error:  # h5py raises either for a full disk
        raise DataError(
            f"{path}: {_reason(error)}; set DPCNN_CACHE to another directory"
        ) from error
    return path


def _download_all(mirrors: tuple[str, ...], progress: bool) -> list[NDArray[np.uint8]]:
    """Return the data of FILES from the first mirror that serves them; raises DataError."""
    patience = CONNECT_SECONDS / len(mirrors)
    failures = []
    for mirror in mirrors:
        try:
            return [_download(mirror, file, patience, progress) for file in FILES]
        except DataError as error:
            failures.append(str(error))
    raise DataError(
        f"MNIST cannot be downloaded ({'; '.join(failures)}): give --dataroot FILE, --mirror URL,"
        " or --dataroot digits"
    )


def _download(mirror: str, file: IdxFile, patience: float, progress: bool) -> NDArray[np.uint8]:
    """Return the array in one file; raises DataError, which names the URL and the reason."""
    url = f"{mirror.rstrip('/')}/{file.name}"
    try:
        with _open(url, patience) as response:
            content = _inflate(response, file, progress)
        header = content[: len(file.header())]
        if header != file.header():
            raise ValueError(f"begins with {header.hex()}, expected {file.header().hex()}")
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != file.sha256:
            raise ValueError(f"has SHA-256 {sha256}, expected {file.sha256}")
    except (OSError, http.client.HTTPException, ValueError, OverflowError, zlib.error) as error:
        raise DataError(f"{url}: {_reason(error)}") from error
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(file.shape)


def _open(url: str, patience: float) -> Any:
    """Return the response; raises TimeoutError if there is none after `patience` seconds.

    Connects in a thread, since host name lookup has no timeout. Raises whatever urlopen raises.
    """
    response: Future[Any] = Future()

    def connect() -> None:
        try:
            response.set_result(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:
            response.set_exception(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        return response.result(patience)
    except TimeoutError:
        raise TimeoutError(f"no response within {patience:g} s") from None


def _inflate(response: Any, file: IdxFile, progress: bool) -> bytearray:
    """Return the decompressed body, in memory for not much more than the file's known size.

    Raises ValueError for too many or too few bytes, zlib.error for bad gzip, TimeoutError if no
    byte arrives for STALL_SECONDS, other OSErrors or HTTPException if the connection breaks.
    """
    length = response.headers.get("Content-Length")
    total = int(length) if length else None
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: a gzip header
    content, received = bytearray(), 0
    with tqdm(desc=file.name, total=total, unit="B", unit_scale=True, disable=not progress) as bar:
        while chunk := response.read(CHUNK):
            received += len(chunk)
            bar.update(len(chunk))
            # One byte more than expected is enough to tell that a file is too long.
            content += inflater.decompress(chunk, file.size() + 1 - len(content))
            if len(content) > file.size() or received > file.size() + CHUNK:
                raise ValueError(f"longer than the {file.size()} bytes expected")
    if not inflater.eof or (total is not None and received < total):
        raise ValueError(f"cut off after {received} bytes")
    return content


def _reason(error: Exception) -> str:
    """Return an error's message as one line."""
    cause = error.reason if type(error) is urllib.error.URLError else error
    return " ".join((getattr(cause, "strerror", None) or str(cause) or repr(cause)).split())


def _write(path: Path, arrays: list[NDArray[np.uint8]]) -> None:
    """Write the HDF5 file atomically; a second process would replace it with an equal one."""
    train, test = Images(arrays[0][:, None], arrays[1]), Images(arrays[2][:, None], arrays[3])
    with tempfile.TemporaryDirectory(prefix=".mnist-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        hdf5.write(temporary, Dataset(train, test, "MNIST", CLASSES))
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
