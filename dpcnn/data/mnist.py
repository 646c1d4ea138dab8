"""MNIST: downloaded once from a mirror, checked, and kept as one HDF5 file in the user's cache.

The four IDX files (http://yann.lecun.com/exdb/mnist describes the format: a big-endian magic
number 0x00000800 + dimensions, the size of each dimension, the bytes) are checked by the SHA-256
of their decompressed content, whichever mirror they came from.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import tempfile
import threading
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dpcnn.data import hdf5
from dpcnn.data.dataset import Dataset, Images
from dpcnn.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CONNECT_SECONDS = 4.0  # until an answer begins, shared by the mirrors: no network shows soon
STALL_SECONDS = 10.0  # without a byte
CHUNK = 1 << 16  # bytes


@dataclass(frozen=True)
class IdxFile:
    """One of the four files: its name on the mirrors, the shape of its bytes, their SHA-256."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    def header(self) -> bytes:
        """Return the bytes before the data."""
        sizes = (0x800 + len(self.shape), *self.shape)
        return b"".join(size.to_bytes(4, "big") for size in sizes)

    def size(self) -> int:
        """Return the length of the decompressed file in bytes."""
        return len(self.header()) + int(np.prod(self.shape))


FILES = (
    IdxFile(
        "train-images-idx3-ubyte.gz",
        (60000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    IdxFile(
        "train-labels-idx1-ubyte.gz",
        (60000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    IdxFile(
        "t10k-images-idx3-ubyte.gz",
        (10000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    IdxFile(
        "t10k-labels-idx1-ubyte.gz",
        (10000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)


def cache_directory() -> Path:
    """Return $DPCNN_CACHE, or dpcnn in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("DPCNN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpcnn"


def cached() -> Path | None:
    """Return the converted MNIST in the cache, or None."""
    path = cache_directory() / "mnist.hdf5"
    return path if path.is_file() else None


def fetch(mirror: str | None = None, progress: bool = False) -> Path:
    """Return MNIST as an HDF5 file in the cache, downloading it if it is not there.

    mirror: a URL to take the place of MIRRORS. progress: show a bar on standard error. Raises
    DataError that names each mirror and what was wrong with it.
    """
    if (path := cached()) is not None:
        return path
    if mirror is not None and not mirror.startswith(("http://", "https://")):
        raise DataError(f"--mirror is {mirror}, expected an http:// or https:// URL")
    mirrors = (mirror,) if mirror else MIRRORS
    patience = CONNECT_SECONDS / len(mirrors)
    failures = []
    for url in mirrors:
        try:
            arrays = [_download(url.rstrip("/") + "/", file, patience, progress) for file in FILES]
        except (OSError, http.client.HTTPException, zlib.error, ValueError) as error:
            failures.append(f"{url}: {_reason(error)}")
        else:
            return _keep(arrays)
    raise DataError(
        f"MNIST cannot be downloaded ({'; '.join(failures)}): name a file with --dataroot FILE,"
        " a --mirror URL, or take --dataroot digits"
    )


def _download(url: str, file: IdxFile, patience: float, progress: bool) -> NDArray[np.uint8]:
    """Return the data of one file; raises an OSError or ValueError for anything amiss."""
    response = _open(url + file.name, patience)
    length = response.headers.get("Content-Length")
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: a gzip header
    content = bytearray()
    bar = tqdm(
        desc=file.name, total=int(length or 0), unit="B", unit_scale=True, disable=not progress
    )
    with response, bar:
        received = 0
        while chunk := response.read(CHUNK):
            received += len(chunk)
            bar.update(len(chunk))
            # One byte more than there should be is enough to know that a file is too long.
            content += inflater.decompress(chunk, file.size() + 1 - len(content))
            if len(content) > file.size():
                raise ValueError(f"{file.name} is longer than {file.size()} bytes")
    if (length and received < int(length)) or not inflater.eof:
        raise ValueError(f"{file.name} is cut off after {received} bytes")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise ValueError(f"{file.name} has SHA-256 {found}, expected {file.sha256}")
    if not content.startswith(file.header()):
        raise ValueError(f"{file.name} has not the header of an IDX file {file.shape}")
    return np.frombuffer(content, np.uint8, offset=len(file.header())).reshape(file.shape)


def _open(url: str, patience: float) -> Any:
    """Return the response; raises TimeoutError if there is none after `patience` seconds.

    In a thread, since looking up a host name knows no time limit.
    """
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def connect() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except (OSError, http.client.HTTPException, ValueError) as error:
            answer.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        response = answer.get(timeout=patience)
    except queue.Empty:
        raise TimeoutError("no answer") from None
    if isinstance(response, BaseException):
        raise response
    return response


def _keep(arrays: list[NDArray[np.uint8]]) -> Path:
    """Write the converted file into the cache, whole or not at all; return its path."""
    train, test = Images(arrays[0][:, None], arrays[1]), Images(arrays[2][:, None], arrays[3])
    path = cache_directory() / "mnist.hdf5"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mnist-", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            hdf5.write(temporary, Dataset(train, test, "MNIST"))
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}, expected a cache directory to write to"
            " (set DPCNN_CACHE to another)"
        ) from error
    return path


def _reason(error: Exception) -> str:
    """Return an error's text in one line."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return f"HTTP {error.code} {text}" if isinstance(error, urllib.error.HTTPError) else text
