"""MNIST: downloaded once from a mirror, checked, and kept as one HDF5 file in the user's cache.

The four IDX files (http://yann.lecun.com/exdb/mnist describes the format: a big-endian magic
number 0x00000800 + dimensions, the size of each dimension, the bytes) are checked by the SHA-256
of their decompressed content, whichever mirror they came from.
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

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import hdf5
from dpcnn.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CONNECT_SECONDS = 4.5  # until an answer begins, shared by the mirrors: no network shows within 5 s
STALL_SECONDS = 10.0  # without a byte
CHUNK = 1 << 16  # bytes; also the most by which a gzip file may be larger than its content


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
    IdxFile("train-images-idx3-ubyte.gz", (60000, 28, 28),
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    IdxFile("train-labels-idx1-ubyte.gz", (60000,),
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    IdxFile("t10k-images-idx3-ubyte.gz", (10000, 28, 28),
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    IdxFile("t10k-labels-idx1-ubyte.gz", (10000,),
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)  # fmt: skip


def cache_directory() -> Path:
    """Return $DPCNN_CACHE, or dpcnn in $XDG_CACHE_HOME or ~/.cache.

    Raises DataError where a user without a home names none of them.
    """
    if own := os.environ.get("DPCNN_CACHE"):
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpcnn"
    except RuntimeError as error:
        raise DataError(f"no cache directory: {error} (set DPCNN_CACHE to one)") from error


def cached() -> Path | None:
    """Return the converted MNIST in the cache, or None; raises DataError as cache_directory."""
    path = cache_directory() / "mnist.hdf5"
    return path if os.path.isfile(path) else None  # Path.is_file raises where it may not look


def fetch(mirror: str | None = None, progress: bool = False) -> Path:
    """Return MNIST as an HDF5 file in the cache, downloading it if it is not there.

    mirror: a URL to take the place of MIRRORS. progress: show a bar on standard error. Raises
    DataError that says what was wrong with each mirror, or with the cache directory.
    """
    if (path := cached()) is not None:
        return path
    path = cache_directory() / "mnist.hdf5"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()  # else the download would be in vain
        _write(path, _download_all((mirror,) if mirror else MIRRORS, progress))
    except (OSError, RuntimeError) as error:  # h5py raises both for a full disk
        raise DataError(f"{path}: {_reason(error)}; set DPCNN_CACHE to another place") from error
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
        f"MNIST cannot be downloaded ({'; '.join(failures)}): name a file with --dataroot FILE,"
        " a --mirror URL, or take --dataroot digits"
    )


def _download(mirror: str, file: IdxFile, patience: float, progress: bool) -> NDArray[np.uint8]:
    """Return the data of one file in its shape; raises DataError: URL and reason."""
    url = f"{mirror.rstrip('/')}/{file.name}"
    try:
        with _open(url, patience) as response:
            content = _inflate(response, file, progress)
        header = content[: len(file.header())]
        if header != file.header():
            raise ValueError(f"begins with {header.hex()}, expected {file.header().hex()}")
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256:
            raise ValueError(f"has SHA-256 {found}, expected {file.sha256}")
    except (OSError, http.client.HTTPException, ValueError, OverflowError, zlib.error) as error:
        raise DataError(f"{url}: {_reason(error)}") from error
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(file.shape)


def _open(url: str, patience: float) -> Any:
    """Return the response; raises TimeoutError if there is none after `patience` seconds.

    In a thread, since looking up a host name knows no time limit. Raises what urlopen raises.
    """
    answer: Future[Any] = Future()

    def connect() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        return answer.result(patience)
    except TimeoutError:
        raise TimeoutError(f"no answer in {patience:g} s") from None


def _inflate(response: Any, file: IdxFile, progress: bool) -> bytearray:
    """Return the decompressed body, never holding much more than the file's known size.

    Raises ValueError for too many or too few bytes, zlib.error for bad gzip, TimeoutError if no
    byte comes for STALL_SECONDS, other OSError or HTTPException if the connection breaks.
    """
    length = response.headers.get("Content-Length")
    total = int(length) if length else None
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: a gzip header
    content, received = bytearray(), 0
    with tqdm(desc=file.name, total=total, unit="B", unit_scale=True, disable=not progress) as bar:
        while chunk := response.read(CHUNK):
            received += len(chunk)
            bar.update(len(chunk))
            # One byte more than there should be is enough to know that a file is too long.
            content += inflater.decompress(chunk, file.size() + 1 - len(content))
            if len(content) > file.size() or received > file.size() + CHUNK:
                raise ValueError(f"longer than the {file.size()} bytes expected")
    if not inflater.eof or (total is not None and received < total):
        raise ValueError(f"cut off after {received} bytes")
    return content


def _reason(error: Exception) -> str:
    """Return an error's text in one line."""
    inner = error.reason if type(error) is urllib.error.URLError else error
    return " ".join((getattr(inner, "strerror", None) or str(inner) or repr(inner)).split())


def _write(path: Path, arrays: list[NDArray[np.uint8]]) -> None:
    """Write the HDF5 file, whole or not at all; a second process replaces it by an equal one."""
    train, test = Images(arrays[0][:, None], arrays[1]), Images(arrays[2][:, None], arrays[3])
    with tempfile.TemporaryDirectory(prefix=".mnist-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        hdf5.write(temporary, Dataset(train, test, "MNIST"))
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
