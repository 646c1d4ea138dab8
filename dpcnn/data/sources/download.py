"""Datasets known by name: downloaded once, verified, and kept as one HDF5 file in the user's cache.

A file is hashed, and unpacked if it is packed with gzip, while it arrives. What is in archives is
then taken out of them by name, and the reader of the format makes the dataset.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from dpcnn.data.cache import cache_directory
from dpcnn.data.dataset import Images
from dpcnn.data.formats import hdf5, registry
from dpcnn.data.sources.catalog import SOURCES, Content, Download, Source
from dpcnn.errors import DataError

CONNECT_SECONDS = 4.5  # to get a response, over all mirrors: that there is no network shows in 5 s
STALL_SECONDS = 10.0  # without receiving a byte
CHUNK = 1 << 16  # bytes
UNREADABLE = (
    OSError,
    http.client.HTTPException,
    ValueError,
    OverflowError,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,  # a zip file that is encrypted
    LookupError,
    EOFError,
)


def cached(word: str) -> Path | None:
    """Return a dataset in the cache, None if it is not there; raises DataError as cache_directory.

    word: one of SOURCES.
    """
    path = cache_directory() / f"{word}.hdf5"
    return path if os.path.isfile(path) else None  # Path.is_file raises PermissionError


def fetch(word: str, mirror: str | None = None, progress: bool = False) -> Path:
    """Return a dataset as an HDF5 file in the cache, downloading it if it is not there.

    word: one of SOURCES. mirror: a URL to use instead of the usual ones. progress: show a bar on
    standard error. Raises DataError, which says what was wrong with each mirror, or with the cache.
    """
    if (path := cached(word)) is not None:
        return path
    path, source = cache_directory() / f"{word}.hdf5", SOURCES[word]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{word}-", dir=path.parent) as folder:
            files = Path(folder)
            _download_all(source, (mirror,) if mirror else source.places(), files, progress)
            _write(files / path.name, source, files)
            (files / path.name).replace(path)
    except (OSError, RuntimeError) as error:  # h5py raises either for a full disk
        raise DataError(
            f"{path}: {_reason(error)}; set DPCNN_CACHE to another directory"
        ) from error
    return path


def _download_all(source: Source, mirrors: tuple[str, ...], folder: Path, progress: bool) -> None:
    """Write the contents of a source's files, from the first mirror that serves them all."""
    patience = CONNECT_SECONDS / len(mirrors)
    failures = []
    for mirror in mirrors:
        try:
            for file in source.files:
                _download(f"{mirror.rstrip('/')}/{file.name}", file, patience, folder, progress)
            return
        except DataError as error:
            failures.append(str(error))
    digits = ", or --dataroot digits" if source is SOURCES["mnist"] else ""
    raise DataError(
        f"{source.title} cannot be downloaded ({'; '.join(failures)}): give --dataroot FILE"
        f"{',' if digits else ' or'} --mirror URL{digits}"
    )


def _download(url: str, file: Download, patience: float, folder: Path, progress: bool) -> None:
    """Write the contents of one file; raises DataError, which names the URL and the reason.

    Raises OSError if the disk is full.
    """
    sent = folder / "sent"
    _fill(sent, _received(url, file, patience, progress))
    for content in file.contents:
        _fill(folder / Path(content.name).name, _taken(url, sent, content))
    sent.unlink()


def _fill(path: Path, chunks: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(chunks)


def _received(url: str, file: Download, patience: float, progress: bool) -> Iterator[bytes]:
    """Yield what is at the URL, unpacked if it is packed with gzip; raises DataError.

    No more is received or unpacked than the file should have, and the checksum of what is sent is
    compared at the end. Raises DataError if no byte arrives for STALL_SECONDS, too.
    """
    try:
        with _open(url, patience) as response:
            yield from _unpacked(response, file, progress)
    except UNREADABLE as error:
        raise DataError(f"{url}: {_reason(error)}") from error


def _unpacked(response: Any, file: Download, progress: bool) -> Iterator[bytes]:
    """Yield the body of a response, unpacked; raises an error of UNREADABLE."""
    length = response.headers.get("Content-Length")
    total = int(length) if length else None
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if file.packed() else None  # 16: gzip
    digest, received, unpacked = hashlib.sha256(), 0, 0
    with tqdm(desc=file.name, total=total, unit="B", unit_scale=True, disable=not progress) as bar:
        while chunk := response.read(CHUNK):
            if file.sent:
                digest.update(chunk)
            received += len(chunk)
            bar.update(len(chunk))
            if inflater is not None:
                # One byte more than expected is enough to tell that a file is too long.
                chunk = inflater.decompress(chunk, file.unpacked() + 1 - unpacked)
            unpacked += len(chunk)
            if received > file.size or unpacked > file.unpacked():
                raise ValueError(f"longer than the {file.unpacked()} bytes expected")
            yield chunk
    whole = inflater is None or inflater.eof
    if not whole or (total is not None and received < total):
        raise ValueError(f"cut off after {received} bytes")
    _compare(digest.hexdigest(), file.sent)


def _compare(sha256: str, expected: str) -> None:
    """Raise ValueError unless a checksum is as expected, which is "" for anything."""
    if expected and sha256 != expected:
        raise ValueError(f"has SHA-256 {sha256}, expected {expected}")


def _taken(url: str, path: Path, content: Content) -> Iterator[bytes]:
    """Yield one content of a file that has been received, checked; raises DataError."""
    digest, size = hashlib.sha256(), 0
    try:
        with _opened(path, url, content.name) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                if size > content.size:
                    raise ValueError(f"{content.name} is longer than the {content.size} expected")
                yield chunk
        _compare(digest.hexdigest(), content.sha256)
    except UNREADABLE as error:
        raise DataError(f"{url}: {_reason(error)}") from error


@contextlib.contextmanager
def _opened(path: Path, url: str, name: str) -> Iterator[IO[bytes]]:
    """Open a content of a tar or zip archive, or all of any other file; raises UNREADABLE."""
    with contextlib.ExitStack() as stack:
        if url.endswith(".zip"):
            zipped = stack.enter_context(zipfile.ZipFile(path))
            yield stack.enter_context(zipped.open(name))
        elif url.endswith(".tar.gz"):
            tar = stack.enter_context(tarfile.open(path, "r:"))  # unpacked as it was received
            member = tar.extractfile(name)
            if member is None:
                raise ValueError(f"{name} is no file")
            yield stack.enter_context(member)
        else:
            yield stack.enter_context(path.open("rb"))


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


def _reason(error: Exception) -> str:
    """Return an error's message as one line."""
    cause = error.reason if type(error) is urllib.error.URLError else error
    return " ".join((getattr(cause, "strerror", None) or str(cause) or repr(cause)).split())


def _write(path: Path, source: Source, folder: Path) -> None:
    """Write the dataset that is in the files as HDF5; raises DataError if they make up none."""
    dataset = registry.read(folder)
    if source.transposed:
        train, test = _turned(dataset.train), _turned(dataset.test)
        dataset = replace(dataset, train=train, test=test)
    if source.class_names:
        dataset = replace(dataset, class_names=source.class_names)
    hdf5.write(path, dataset)
    with path.open("r+b") as written:
        os.fsync(written.fileno())


def _turned(part: Images) -> Images:
    """Return images whose rows are the columns of others."""
    assert isinstance(part.images, np.ndarray), "the images are in memory"
    return replace(part, images=np.ascontiguousarray(part.images.transpose(0, 1, 3, 2)))
