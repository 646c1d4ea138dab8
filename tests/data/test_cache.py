"""The cache of decoded datasets: bounded, the oldest go first, and none that is in use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dpcnn.data import cache
from tests.launching import ROOT

HOLD = """
import sys
from pathlib import Path
from dpcnn.data.cache import hold
assert hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """Three files of 100 bytes, the oldest first."""
    names = ["oldest", "old", "new"]
    for age, name in zip((300, 200, 100), names, strict=True):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    return names


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_oldest_go_until_the_rest_fits(names: list[str], tmp_path: Path) -> None:
    cache.prune(tmp_path, 300)
    assert left(tmp_path) == set(names)
    cache.prune(tmp_path, 299)
    assert left(tmp_path) == {"old", "new"}
    cache.prune(tmp_path, 0)
    assert left(tmp_path) == set()
    assert not cache.hold(tmp_path / "old")


@pytest.mark.usefixtures("names")
def test_what_is_used_is_young_and_stays_until_its_process_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, tmp_path / "oldest"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        cache.prune(tmp_path, 150)
        assert left(tmp_path) == {"oldest"}
        cache.prune(tmp_path, 0)
        assert left(tmp_path) == {"oldest"}
        process.stdin.close()
    cache.prune(tmp_path, 0)
    assert left(tmp_path) == set()


def test_what_was_never_finished_goes_after_a_day(tmp_path: Path) -> None:
    for name, age in (("new", 60), ("old", 2 * cache.STALE)):
        folder = tmp_path / f"{cache.BEGUN}{name}"
        folder.mkdir()
        (folder / "half.hdf5").touch()
        os.utime(folder, (time.time() - age,) * 2)
    cache.prune(tmp_path)
    assert left(tmp_path) == {f"{cache.BEGUN}new"}
