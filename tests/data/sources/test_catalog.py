"""Datasets known by name, from mirrors that are folders and have small files like the real ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpcnn.data.dataset import Dataset
from dpcnn.data.formats import registry
from dpcnn.data.sources import catalog, download, find
from dpcnn.data.sources.catalog import Content, Download
from dpcnn.errors import DataError

Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPCNN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    path = tmp_path / "mirror"
    path.mkdir()
    return path


def fetched(word: str, mirror: Path) -> Dataset:
    return registry.read(download.fetch(word, mirror.as_uri()))


def idx(array: Any) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return bytes(head + array.astype(np.uint8).tobytes())


def tar(path: Path, files: Files) -> None:
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def use(monkeypatch: pytest.MonkeyPatch, word: str, mirror: Path) -> None:
    """Take the checksums and sizes of what the mirror has."""
    source = catalog.SOURCES[word]
    files = []
    for file in source.files:
        sent = (mirror / file.name).read_bytes()
        checksum = hashlib.sha256(sent).hexdigest() if file.sent else ""
        files.append(replace(file, sent=checksum))
    monkeypatch.setitem(catalog.SOURCES, word, replace(source, files=tuple(files)))


def letters(mirror: Path) -> Any:
    """Write EMNIST's archive with two images of each letter; return them upright."""
    images = np.random.default_rng(0).integers(0, 256, (52, 28, 28), np.uint8)
    labels = np.arange(52) % 26 + 1
    with zipfile.ZipFile(mirror / "gzip.zip", "w") as archive:
        for part in ("train", "test"):
            stem = f"gzip/emnist-letters-{part}"
            turned = images.transpose(0, 2, 1)
            archive.writestr(f"{stem}-images-idx3-ubyte.gz", gzip.compress(idx(turned)))
            archive.writestr(f"{stem}-labels-idx1-ubyte.gz", gzip.compress(idx(labels)))
            archive.writestr(f"gzip/emnist-digits-{part}-labels-idx1-ubyte.gz", b"not read")
    return images


def test_the_letters_of_emnist_are_upright_and_have_their_names(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = letters(mirror)
    use(monkeypatch, "emnist-letters", mirror)
    dataset = fetched("emnist-letters", mirror)
    assert np.array_equal(dataset.train.images[:, 0], images)
    assert [dataset.class_names[label] for label in dataset.train.labels[24:28]] == [*"yzab"]


def hundred(mirror: Path) -> None:
    """Write CIFAR-100's archive with an image of each class."""
    records = np.zeros((100, 3074), np.uint8)
    records[:, 1] = np.arange(100)
    names = "\n".join(f"class {number}" for number in range(100))
    files = {"train.bin": records.tobytes(), "test.bin": records[:9].tobytes()}
    files["fine_label_names.txt"] = names.encode()
    files = {f"cifar-100-binary/{name}": content for name, content in files.items()}
    tar(mirror / "cifar-100-binary.tar.gz", files)


def test_cifar100_has_the_names_that_its_archive_gives(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hundred(mirror)
    use(monkeypatch, "cifar100", mirror)
    dataset = fetched("cifar100", mirror)
    assert (len(dataset.train), len(dataset.test), dataset.classes) == (100, 9, 100)
    assert dataset.class_names[99] == "class 99"


def test_kuzushiji_mnist_is_checked_as_it_is_sent(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in catalog.KMNIST.files:
        labels = np.arange(10)
        array = labels if "labels" in file.name else np.zeros((10, 28, 28))
        (mirror / file.name).write_bytes(gzip.compress(idx(array)))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: has SHA-256"):
        fetched("kmnist", mirror)
    use(monkeypatch, "kmnist", mirror)
    assert fetched("kmnist", mirror).class_names[8] == "re"


def test_an_installed_package_is_taken_before_any_mirror(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hundred(mirror)
    use(monkeypatch, "cifar100", mirror)
    source = replace(catalog.SOURCES["cifar100"], installed=mirror, mirrors=())
    monkeypatch.setitem(catalog.SOURCES, "cifar100", source)
    assert source.places() == (mirror.as_uri(),)
    assert download.fetch("cifar100").name == "cifar100.hdf5"
    assert replace(source, installed=mirror / "none").places() == ()
    assert find.locate("cifar100") == str(download.fetch("cifar100"))


def entry(name: str, kind: bytes, link: str = "") -> Callable[[Path], None]:
    """Return what writes an archive that has no file of a name, but something else."""

    def write(path: Path) -> None:
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            archive.addfile(member)

    return write


NAME = "cifar-100-binary/train.bin"
BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "cut off after 0 bytes"),
    "no archive": (lambda path: path.write_bytes(gzip.compress(b"x" * 999)), "tar|header"),
    "without the file": (lambda path: tar(path, {"else.bin": b""}), f"'{NAME}' not found"),
    "a folder": (entry(NAME, tarfile.DIRTYPE), "is no file"),
    "a link out of it": (entry(NAME, tarfile.SYMTYPE, "/etc/passwd"), "not found"),
    "a device": (entry(NAME, tarfile.CHRTYPE), "is no file"),
    "too long": (lambda path: tar(path, {NAME: bytes(3075)}), "longer than the 3074"),
    "a bomb": (lambda path: path.write_bytes(gzip.compress(bytes(9 << 20))), "longer than the"),
    "no dataset": (lambda path: tar(path, {NAME: bytes(3)}), "3 bytes, expected records"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_archive_is_one_line_and_leaves_nothing(
    kind: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, pattern = BAD[kind]
    contents = (Content(NAME, 3074), Content(NAME, 3074))
    file = Download("cifar-100-binary.tar.gz", contents, 1 << 20)
    source = replace(catalog.CIFAR100, files=(file,))
    monkeypatch.setitem(catalog.SOURCES, "cifar100", source)
    write(mirror / file.name)
    with pytest.raises(DataError) as raised:
        download.fetch("cifar100", mirror.as_uri())
    message = str(raised.value)
    assert re.search(pattern, message), message
    assert len(message.splitlines()) == 1
    assert [*(tmp_path / "cache").iterdir()] == []


def test_every_file_is_checked_by_one_checksum() -> None:
    for source in catalog.SOURCES.values():
        for file in source.files:
            sums: Iterable[str] = [file.sent] if file.sent else [c.sha256 for c in file.contents]
            assert all(re.fullmatch("[0-9a-f]{64}", each) for each in sums)
            assert not file.sent or not any(content.sha256 for content in file.contents)
