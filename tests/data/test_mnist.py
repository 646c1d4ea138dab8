"""The download of MNIST, from mirrors on this machine: whole and right, or one line that says why.

Most tests take four tiny files in place of the real ones, whose content they need not know.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import astuple
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest

from dpcnn.data import hdf5, mnist
from dpcnn.errors import DataError

COUNTS = {"train": 6, "t10k": 4}
KEYS = ("x_train", "y_train", "x_test", "y_test")
FIRST = "train-images-idx3-ubyte.gz"
CURES = ("--dataroot FILE", "--mirror URL", "--dataroot digits")
HERE = "127.0.0.1"
Contents = dict[str, bytes]


class Request(BaseHTTPRequestHandler):
    """One request to a Mirror."""

    @property
    def mirror(self) -> Mirror:
        return cast(Mirror, self.server)

    def do_GET(self) -> None:
        self.mirror.requests.append(self.path)
        name = self.path.rpartition("/")[2]
        self.mirror.faults.get(name, Request.serve)(self)

    def serve(self) -> None:
        self.send(self.body())

    def body(self) -> bytes:
        return self.mirror.files[self.path.rpartition("/")[2]]

    def send(self, body: bytes, length: int | None = -1) -> None:
        """Send a body and its length: that which is given, or none for None."""
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Mirror(socketserver.ThreadingTCPServer):
    """Serves gzip files by name, except where there is a fault; records what was asked for."""

    daemon_threads = True

    def __init__(self, contents: Contents) -> None:
        super().__init__((HERE, 0), Request)
        self.files = {name: gzip.compress(content, 1) for name, content in contents.items()}
        self.faults: dict[str, Callable[[Request], None]] = {}
        self.requests: list[str] = []
        self.over = threading.Event()
        self.url = f"http://{HERE}:{self.server_address[1]}/mnist"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that went away."""


Start = Callable[..., Mirror]


def idx(array: Any) -> bytes:
    """Return an IDX file of bytes, written without the help of the code under test."""
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + bytes(array)


@pytest.fixture(autouse=True)
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own cache directory, no proxy, and no way to any other host; return the directory."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    lookup = socket.getaddrinfo

    def here_only(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != HERE:
            raise socket.gaierror(socket.EAI_NONAME, f"no such host {host}")
        return lookup(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", here_only)
    monkeypatch.setenv("DPCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Contents:
    """The decompressed files by name; they take the place of the real ones."""
    rng = np.random.default_rng(0)
    contents, files = {}, []
    for part, count in COUNTS.items():
        for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            content = idx(rng.integers(0, 10, shape, np.uint8))
            name = f"{part}-{kind}-ubyte.gz"
            contents[name] = content
            files.append(mnist.IdxFile(name, shape, hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(mnist, "FILES", tuple(files))
    return contents


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a mirror that serves these contents, with faults in some of them."""
    with ExitStack() as stack:

        def start(contents: Contents, **faults: Callable[[Request], None]) -> Mirror:
            mirror = stack.enter_context(Mirror(contents))
            mirror.faults = faults
            threading.Thread(target=mirror.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(mirror.shutdown)
            stack.callback(mirror.over.set)
            return mirror

        yield start


def arrays(path: Path) -> list[Any]:
    with h5py.File(path) as file:
        assert sorted(file) == sorted(KEYS)
        return [file[key][()] for key in KEYS]


def check_tiny(path: Path, contents: Contents) -> None:
    """Assert that the file holds exactly these contents, and that nothing lies beside it."""
    for array, content in zip(arrays(path), contents.values(), strict=True):
        assert array.dtype == np.uint8
        assert array.shape[1:] in ((), (1, 28, 28))
        assert content.endswith(array.tobytes())
        assert len(array) == int.from_bytes(content[4:8], "big")
    assert os.listdir(path.parent) == ["mnist.hdf5"]


def failure(mirror: str | None = None) -> str:
    """Return the one line of a download that fails."""
    with pytest.raises(DataError) as raised:
        mnist.fetch(mirror)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert raised.value.exit_code == 2
    return message


def real_contents(path: Path) -> Contents:
    with h5py.File(path) as file:
        x_train, y_train, x_test, y_test = (file[key][()] for key in KEYS)
    found = {}
    for part, x, y in (("train", x_train, y_train), ("t10k", x_test, y_test)):
        pixels = np.rint(x * np.float32(255)).astype(np.uint8).reshape(-1, 28, 28)
        found[f"{part}-images-idx3-ubyte.gz"] = idx(pixels)
        found[f"{part}-labels-idx1-ubyte.gz"] = idx(y.astype(np.uint8).reshape(-1))
    return found


def test_the_real_files_are_fetched_bit_for_bit(mnist: Path, sealed: Path, start: Start) -> None:
    mirror = start(real_contents(mnist))
    path = fetch(mirror.url)
    assert path == sealed / "mnist.hdf5"
    assert [array.shape for array in arrays(path)] == [
        (60000, 1, 28, 28),
        (60000,),
        (10000, 1, 28, 28),
        (10000,),
    ]
    assert {array.dtype for array in arrays(path)} == {np.dtype(np.uint8)}
    fetched, tutorial = (hdf5.read(file, (1, 28, 28), 10) for file in (path, mnist))
    assert fetched.fingerprint() == tutorial.fingerprint()


# The fixture `mnist` of conftest.py, the real data, takes the module's name inside a test.
fetch = mnist.fetch


@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_fetched_is_what_the_mirror_has(
    slash: str, tiny: Contents, sealed: Path, start: Start
) -> None:
    mirror = start(tiny)
    path = mnist.fetch(mirror.url + slash)
    assert path == sealed / "mnist.hdf5"
    check_tiny(path, tiny)
    assert mirror.requests == [f"/mnist/{name}" for name in tiny]


def test_a_second_call_asks_no_mirror(tiny: Contents, start: Start) -> None:
    assert mnist.cached() is None
    mirror = start(tiny)
    path = mnist.fetch(mirror.url)
    assert mnist.cached() == path
    mirror.requests.clear()
    assert mnist.fetch(mirror.url) == mnist.fetch() == path
    assert mirror.requests == []


def test_a_named_mirror_takes_the_place_of_the_others(
    tiny: Contents, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, named = start(tiny), start({})
    monkeypatch.setattr(mnist, "MIRRORS", (own.url,))
    assert own.url not in failure(named.url)
    assert own.requests == []
    mnist.fetch()
    assert len(own.requests) == 4


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_on_standard_error_is_shown_when_asked_for(
    progress: bool, tiny: Contents, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    mnist.fetch(start(tiny).url, progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert all(name in err for name in tiny) if progress else err == ""


def altered(content: bytes) -> bytes:
    """Return the content with another last byte."""
    return content[:-1] + bytes([content[-1] ^ 1])


def sends(change: Callable[[bytes], bytes]) -> Callable[[Request], None]:
    """Return the fault that sends another file, whole and well compressed."""
    return lambda request: request.send(gzip.compress(change(gzip.decompress(request.body()))))


def cut(request: Request) -> None:
    request.send(request.body()[:-30], length=len(request.body()))


def stalled(request: Request) -> None:
    cut(request)
    request.mirror.over.wait(20)


def endless(request: Request) -> None:
    """Send the file, then zeros until the client has had enough."""
    request.send(request.body(), length=None)
    while not request.mirror.over.is_set():
        request.wfile.write(bytes(1 << 16))


def broken(request: Request) -> None:
    request.send(request.body()[:50] + bytes(60) + request.body()[110:])


FAULTS: dict[str, tuple[Callable[[Request], None], str]] = {
    "not found": (lambda request: request.send_error(404), "404"),
    "server error": (lambda request: request.send_error(500), "500"),
    "error without words": (lambda request: request.send_response_only(503, " "), "HTTP"),
    "no answer but the end": (lambda request: None, "closed"),
    "not HTTP": (lambda request: request.wfile.write(b"220 mail\r\n") and None, "220"),
    "not gzip": (lambda request: request.send(b"<html>log in</html>"), "header"),
    "not compressed": (lambda r: r.send(gzip.decompress(r.body())), "header"),
    "broken gzip": (broken, "decompressing"),
    "empty": (lambda request: request.send(b""), "cut off after 0 bytes"),
    "wrong file": (sends(altered), "SHA-256"),
    "one byte short": (sends(lambda content: content[:-1]), "SHA-256"),
    "one byte long": (sends(lambda content: content + b"x"), "longer"),
    "other dimensions": (sends(lambda c: c[:7] + b"\x05" + c[8:]), "begins with 00000803"),
    "labels for images": (lambda request: request.send(labels(request)), "begins with 00000801"),
    "cut off": (cut, "cut off|IncompleteRead"),
    "cut gzip": (lambda request: request.send(request.body()[:-30]), "cut off after"),
    "cut without length": (lambda r: r.send(r.body()[:-30], length=None), "cut off after"),
    "stalled": (stalled, "timed out"),
    "endless": (endless, "longer"),
    "length not a number": (lambda r: r.send_header("Content-Length", "x"), "x"),
}


def labels(request: Request) -> bytes:
    return request.mirror.files["train-labels-idx1-ubyte.gz"]


# These send nothing but one header or status line, which needs the end of the headers.
def ended(fault: Callable[[Request], None]) -> Callable[[Request], None]:
    def send(request: Request) -> None:
        fault(request)
        if hasattr(request, "_headers_buffer"):
            request.end_headers()

    return send


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a mirror does in place of serving a file, and a pattern for what is said of it."""
    monkeypatch.setattr(mnist, "STALL_SECONDS", 0.2)
    return FAULTS[request.param]
