"""Regular files: only they are read, and a write leaves the old one or the whole new one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpcnn.system.files import UnsafeFileError, file_size, read_bytes, write_atomically


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file, the only one of its directory."""
    (tmp_path / "file").write_bytes(b"old")
    return tmp_path / "file"


def test_a_regular_file_has_a_size_and_bytes(path: Path) -> None:
    assert file_size(path) == 3
    assert read_bytes(path) == b"old"


@pytest.mark.parametrize("read", [file_size, read_bytes])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file or directory"),
        ("directory", "a directory"),
        ("FIFO", "not a regular file"),
        ("/dev/zero", "not a regular file"),
    ],
)
def test_nothing_but_a_regular_file_is_opened(
    read: Callable[[Path], Any], kind: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "FIFO")
    with pytest.raises(UnsafeFileError) as caught:
        read(tmp_path / kind)  # opening the FIFO would wait for a writer
    assert str(caught.value) == message


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("place", "function"),
    [(os, "fsync"), (Path, "replace")],
    ids=["before the disk has it", "before the rename"],
)
def test_a_write_that_fails_leaves_the_old_file_alone(
    place: Any, function: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, function, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_a_write_replaces_the_old_file_and_leaves_no_other(path: Path) -> None:
    write_atomically(path, b"new")
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == b"new"


def test_the_file_is_synced_before_it_gets_its_name_and_the_directory_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    replace = Path.replace

    def sync(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        events.append(f"fsync {'directory' if Path(name).is_dir() else 'file'}")

    def rename(old: Path, new: Path) -> Path:
        events.append("replace")
        return replace(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    write_atomically(path, b"new")
    assert events == ["fsync file", "replace", "fsync directory"]
