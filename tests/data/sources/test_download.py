"""Downloading datasets from mirrors on this machine: complete and right, or one line that says why.

Most tests use four tiny files instead of the real ones, whose contents do not matter to them.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest

from dpcnn.data.cache import cache_directory
from dpcnn.data.formats import hdf5, registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.data.sources import catalog, download
from dpcnn.errors import DataError
from tests.launching import ROOT

COUNTS = {"train": 6, "t10k": 4}
KEYS = ("x_train", "y_train", "x_test", "y_test")
FIRST = "train-images-idx3-ubyte.gz"
CURES = ("--dataroot FILE", "--mirror URL", "--dataroot digits")
HERE = "127.0.0.1"
SLACK = 15  # seconds, for a busy machine
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
        """Send a body and a length: its own for -1, no length for None."""
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Mirror(socketserver.ThreadingTCPServer):
    """Serves gzip files by name, or does what `faults` says; records the requests."""

    daemon_threads = True

    def __init__(self, contents: Contents) -> None:
        super().__init__((HERE, 0), Request)
        self.files = {
            name: gzip.compress(content, int(len(content) < 1 << 16))  # what is large, quickly
            for name, content in contents.items()
        }
        self.faults: dict[str, Callable[[Request], None]] = {}
        self.requests: list[str] = []
        self.over = threading.Event()
        self.url = f"http://{HERE}:{self.server_address[1]}/mnist"

    def handle_error(self, *_: Any) -> None:
        """Say nothing about clients that hung up."""


Start = Callable[..., Mirror]


def idx(array: Any) -> bytes:
    """Return an IDX file of bytes, written independently of the code under test."""
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + bytes(array)


@pytest.fixture(autouse=True)
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache directory for this test alone; no proxy and no other host can be reached."""
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


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def use(monkeypatch: pytest.MonkeyPatch, word: str = "mnist", **changes: Any) -> None:
    """Change what is known of a dataset."""
    changed = replace(catalog.SOURCES[word], **changes)
    monkeypatch.setitem(catalog.SOURCES, word, changed)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Contents:
    """The decompressed files by name, which are used instead of the real ones."""
    rng = np.random.default_rng(0)
    contents, files = {}, []
    for part, count in COUNTS.items():
        images, labels = (
            rng.integers(0, 256, (count, 28, 28), np.uint8),
            np.arange(count, dtype="u1"),
        )
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content, name = idx(array), f"{part}-{kind}-ubyte"
            contents[f"{name}.gz"] = content
            files.append(catalog.idx(name, array.shape, sha256(content)))
    use(monkeypatch, files=tuple(files))
    return contents


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts a mirror which serves these contents, some with faults."""
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
    """Assert that the file holds exactly these contents and is alone in its directory."""
    for array, content in zip(arrays(path), contents.values(), strict=True):
        assert array.dtype == np.uint8
        assert array.shape[1:] in ((), (1, 28, 28))
        assert content.endswith(array.tobytes())
        assert len(array) == int.from_bytes(content[4:8], "big")
    assert os.listdir(path.parent) == ["mnist.hdf5"]


def failure(mirror: str | None = None) -> str:
    """Return the one-line error of a download that fails."""
    with pytest.raises(DataError) as raised:
        download.fetch("mnist", mirror)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert raised.value.exit_code == 2
    return message


@pytest.fixture
def tutorial(mnist: Path) -> Path:
    """The real MNIST, under a name that does not hide the module."""
    return mnist


def real_contents(path: Path) -> Contents:
    with h5py.File(path) as file:
        x_train, y_train, x_test, y_test = (file[key][()] for key in KEYS)
    contents = {}
    for part, x, y in (("train", x_train, y_train), ("t10k", x_test, y_test)):
        pixels = np.rint(x * np.float32(255)).astype(np.uint8).reshape(-1, 28, 28)
        contents[f"{part}-images-idx3-ubyte.gz"] = idx(pixels)
        contents[f"{part}-labels-idx1-ubyte.gz"] = idx(y.astype(np.uint8).reshape(-1))
    return contents


def test_the_real_files_are_fetched_bit_for_bit(tutorial: Path, sealed: Path, start: Start) -> None:
    mirror = start(real_contents(tutorial))
    path = download.fetch("mnist", mirror.url)
    assert path == sealed / "mnist.hdf5"
    assert [array.shape for array in arrays(path)] == [
        (60000, 1, 28, 28),
        (60000,),
        (10000, 1, 28, 28),
        (10000,),
    ]
    assert {array.dtype for array in arrays(path)} == {np.dtype(np.uint8)}
    fetched, source = (registry.read(file, Wanted((1, 28, 28), 10)) for file in (path, tutorial))
    assert fetched.fingerprint() == source.fingerprint()


@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_fetched_is_what_the_mirror_has(
    slash: str, tiny: Contents, sealed: Path, start: Start
) -> None:
    mirror = start(tiny)
    path = download.fetch("mnist", mirror.url + slash)
    assert path == sealed / "mnist.hdf5"
    check_tiny(path, tiny)
    assert mirror.requests == [f"/mnist/{name}" for name in tiny]


def test_a_second_call_asks_no_mirror(tiny: Contents, start: Start) -> None:
    assert download.cached("mnist") is None
    mirror = start(tiny)
    path = download.fetch("mnist", mirror.url)
    assert download.cached("mnist") == path
    mirror.requests.clear()
    assert download.fetch("mnist", mirror.url) == download.fetch("mnist") == path
    assert mirror.requests == []


def test_a_named_mirror_takes_the_place_of_the_others(
    tiny: Contents, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    default, named = start(tiny), start({})
    use(monkeypatch, mirrors=(default.url,))
    assert default.url not in failure(named.url)
    assert default.requests == []
    download.fetch("mnist")
    assert len(default.requests) == 4


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_on_standard_error_is_shown_when_asked_for(
    progress: bool, tiny: Contents, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    download.fetch("mnist", start(tiny).url, progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert all(name in err for name in tiny) if progress else err == ""


def altered(content: bytes) -> bytes:
    """Return the content with its last byte changed."""
    return content[:-1] + bytes([content[-1] ^ 1])


def sends(change: Callable[[bytes], bytes]) -> Callable[[Request], None]:
    """Return the fault that sends a changed file, complete and properly compressed."""
    return lambda request: request.send(gzip.compress(change(gzip.decompress(request.body()))))


def cut(request: Request) -> None:
    request.send(request.body()[:-30], length=len(request.body()))


def stalled(request: Request) -> None:
    cut(request)
    request.mirror.over.wait(20)


def endless(request: Request) -> None:
    """Send the file, then zeros until the client hangs up."""
    request.send(request.body(), length=None)
    while not request.mirror.over.is_set():
        request.wfile.write(bytes(1 << 16))


def broken(request: Request) -> None:
    request.send(request.body()[:50] + bytes(60) + request.body()[110:])


def labels_instead(request: Request) -> None:
    request.send(request.mirror.files["train-labels-idx1-ubyte.gz"])


def raw(answer: bytes) -> Callable[[Request], None]:
    """Return the fault that sends these bytes instead of an HTTP response."""

    def send(request: Request) -> None:
        request.wfile.write(answer)

    return send


# What a mirror does instead of serving a file, and a pattern of the error.
FAULTS: dict[str, tuple[Callable[[Request], None], str]] = {
    "not found": (lambda request: request.send_error(404), "404"),
    "server error": (lambda request: request.send_error(500), "500"),
    "error without a reason": (raw(b"HTTP/1.0 503\r\n\r\n"), "503"),
    "closed without a response": (raw(b""), "closed"),
    "not HTTP": (raw(b"220 mail\r\n"), "220 mail"),
    "length not a number": (raw(b"HTTP/1.0 200 OK\r\nContent-Length: x\r\n\r\n"), "'x'"),
    "not gzip": (lambda request: request.send(b"<html>log in</html>"), "incorrect header"),
    "not compressed": (lambda r: r.send(gzip.decompress(r.body())), "incorrect header"),
    "broken gzip": (broken, "decompressing"),
    "wrong check sum in gzip": (lambda r: r.send(r.body()[:-8] + bytes(8)), "incorrect data"),
    "empty": (lambda request: request.send(b""), "cut off after 0 bytes"),
    "wrong file": (sends(altered), "SHA-256"),
    "one byte short": (sends(lambda content: content[:-1]), "SHA-256"),
    "one byte long": (sends(lambda content: content + b"x"), "longer"),
    "other dimensions": (sends(lambda c: c[:7] + b"\x05" + c[8:]), "SHA-256"),
    "labels for images": (labels_instead, "SHA-256"),
    "cut off": (cut, "cut off|IncompleteRead"),
    "cut gzip": (lambda request: request.send(request.body()[:-30]), "cut off"),
    "cut without length": (lambda r: r.send(r.body()[:-30], length=None), "cut off"),
    "less than promised": (lambda r: r.send(r.body(), len(r.body()) + 9), "cut off|Incomplete"),
    "stalled": (stalled, "timed out"),
    "endless": (endless, "longer"),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(download, "STALL_SECONDS", 0.2)
    return FAULTS[request.param]


def test_a_fault_is_one_line_and_leaves_nothing(
    fault: Any, tiny: Contents, sealed: Path, start: Start
) -> None:
    act, pattern = fault
    mirror = start(tiny, **{FIRST: act})
    message = failure(mirror.url)
    assert f"{mirror.url}/{FIRST}: " in message
    assert re.search(pattern, message)
    assert all(cure in message for cure in CURES)
    assert os.listdir(sealed) == []


def test_after_a_fault_the_next_mirror_is_taken(
    fault: Any, tiny: Contents, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = start(tiny, **{FIRST: fault[0]}), start(tiny)
    use(monkeypatch, mirrors=(bad.url, good.url))
    check_tiny(download.fetch("mnist"), tiny)
    assert len(good.requests) == 4


@pytest.mark.parametrize("number", range(4))
def test_each_file_is_checked(number: int, tiny: Contents, sealed: Path, start: Start) -> None:
    name = list(tiny)[number]
    assert f"/{name}: has SHA-256" in failure(start(tiny, **{name: sends(altered)}).url)
    assert os.listdir(sealed) == []


def test_the_files_of_two_mirrors_are_not_mixed(
    tiny: Contents, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = start(tiny, **{list(tiny)[-1]: FAULTS["not found"][0]}), start(tiny)
    use(monkeypatch, mirrors=(bad.url, good.url))
    check_tiny(download.fetch("mnist"), tiny)
    assert len(bad.requests) == len(good.requests) == 4


def test_every_mirror_is_named_with_what_was_wrong_with_it(
    tiny: Contents, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors = start({}, **{FIRST: FAULTS["not found"][0]}), start(tiny, **{FIRST: cut})
    use(monkeypatch, mirrors=tuple(mirror.url for mirror in mirrors))
    first, second = failure().split("; ")
    assert f"{mirrors[0].url}/{FIRST}: HTTP Error 404" in first
    assert f"{mirrors[1].url}/{FIRST}: " in second
    assert re.search("cut off|IncompleteRead", second)


def test_a_decompression_bomb_does_not_fill_the_memory(tiny: Contents, start: Start) -> None:
    mirror = start(tiny | {FIRST: bytes(50_000_000)})
    tracemalloc.start()
    try:
        assert "longer" in failure(mirror.url)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@contextmanager
def refusing() -> Iterator[str]:
    """A port that is bound, so that nobody else listens there, and refuses connections."""
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        yield f"http://{HERE}:{taken.getsockname()[1]}"


@contextmanager
def silent(full: bool = False) -> Iterator[str]:
    """A port that accepts connections and says nothing; when `full` it does not even accept."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind((HERE, 0))
        server.listen(0)
        for _ in range(4 * full):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://{HERE}:{server.getsockname()[1]}"


@contextmanager
def slow_lookup() -> Iterator[str]:
    """A host name whose lookup never ends, as without a name server."""
    over, lookup = threading.Event(), socket.getaddrinfo

    def wait(host: Any, *args: Any, **kwargs: Any) -> Any:
        return over.wait(20) if host == "slow.invalid" else lookup(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", wait)
        yield "http://slow.invalid"
        over.set()


UNREACHABLE: dict[str, tuple[Any, str]] = {
    "refused": (refusing, "refused"),
    "silent": (silent, "no response within 0.3 s"),
    "hanging": (lambda: silent(full=True), "no response within 0.3 s"),
    "slow lookup": (slow_lookup, "no response within 0.3 s"),
    "unknown host": (lambda: nullcontext("http://unknown.invalid"), "no such host"),
}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("kind", UNREACHABLE)
def test_an_unreachable_mirror_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.3)
    mirror, part = UNREACHABLE[kind]
    with mirror() as url:
        assert f"{url}/{FIRST}: " in (message := failure(url))
    assert part in message


@pytest.mark.usefixtures("tiny")
def test_unreachable_mirrors_share_the_seconds_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert download.CONNECT_SECONDS < 5
    with refusing() as a, silent() as b, silent(full=True) as c, slow_lookup() as d:
        use(monkeypatch, mirrors=(a, b, c, d))
        begin = time.monotonic()
        message = failure()
        assert time.monotonic() - begin < download.CONNECT_SECONDS + SLACK
    assert all(url in message for url in (a, b, c, d))


@pytest.mark.parametrize(
    "rest", ["[", "/path", f"{HERE}:x", f"{HERE}:{10**20}", "..", "a" * 70, f"{HERE}/é", "\0"]
)
def test_a_malformed_mirror_is_one_line(rest: str) -> None:
    assert "MNIST cannot be downloaded" in failure(f"http://{rest}")


WORKER = """
import json, sys
from dataclasses import replace
from dpcnn.data.sources import catalog, download
url, files = json.loads(sys.argv[1])
files = tuple(catalog.idx(name, tuple(shape), sha256) for name, shape, sha256 in files)
catalog.SOURCES["mnist"] = replace(catalog.MNIST, files=files)
print(download.fetch("mnist", url))
"""


def test_two_processes_may_download_at_once(tiny: Contents, sealed: Path, start: Start) -> None:
    both = threading.Barrier(2, timeout=20)

    def together(request: Request) -> None:
        both.wait()
        request.serve()

    mirror = start(tiny, **{list(tiny)[-1]: together})
    shapes = [shape for count in COUNTS.values() for shape in ((count, 28, 28), (count,))]
    files = [
        (name.removesuffix(".gz"), shape, sha256(content))
        for (name, content), shape in zip(tiny.items(), shapes, strict=True)
    ]
    argument = json.dumps([mirror.url, files])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, argument],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [worker.communicate(timeout=30)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert outputs == [f"{sealed / 'mnist.hdf5'}\n"] * 2
    assert len(mirror.requests) == 8
    check_tiny(sealed / "mnist.hdf5", tiny)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("No space left\n on device")],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    error: Exception, tiny: Contents, sealed: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, _: Any) -> None:
        path.write_bytes(b"half a file")
        raise error

    monkeypatch.setattr(hdf5, "write", write)
    message = failure(start(tiny).url)
    assert message.startswith(f"{sealed / 'mnist.hdf5'}: No space left on device")
    assert "DPCNN_CACHE" in message
    assert os.listdir(sealed) == []


@pytest.mark.parametrize("cache", ["file", "file/cache", "/proc"])
def test_without_a_writable_cache_nothing_is_downloaded(
    cache: str, tiny: Contents, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DPCNN_CACHE", str(tmp_path / cache))
    mirror = start(tiny)
    message = failure(mirror.url)
    assert message.startswith(f"{tmp_path / cache / 'mnist.hdf5'}: ")
    assert "set DPCNN_CACHE" in message
    assert mirror.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_a_protected_cache_is_one_line(
    mode: int, tiny: Contents, sealed: Path, start: Start
) -> None:
    sealed.mkdir(mode=mode)
    mirror = start(tiny)
    assert "Permission denied" in failure(mirror.url)
    assert mirror.requests == []


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("DPCNN_CACHE", "/elsewhere")
    assert cache_directory() == Path("/elsewhere")
    monkeypatch.delenv("DPCNN_CACHE")
    assert cache_directory() == Path("/xdg/dpcnn")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_directory() == tmp_path / ".cache" / "dpcnn"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DPCNN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert "DPCNN_CACHE" in failure()
