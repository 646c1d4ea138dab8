"""A folder of sound and broken things, in which two ranks are to refuse what they are given."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests import launching

HANG = 60  # seconds; a refusal takes less than one
GOOD = ("--dataroot", "data.hdf5")
CHECKPOINT = Path("run/checkpoints/step-00000001.h5")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound dataset, a finished run, and things that are neither."""
    folder = tmp_path_factory.mktemp("template")
    write_dataset(folder / "data.hdf5")
    write_dataset(folder / "other.hdf5", seed=1)
    # A small network: its run is copied into the folder of every case.
    options = (*GOOD, "--n_filter", 2, "--epochs", 1, "--run_dir", "run")
    assert launching.run(2, *options, cwd=folder).returncode == 0
    content = (folder / CHECKPOINT).read_bytes()
    (folder / "cut.h5").write_bytes(content[:-1])
    (folder / "flipped.h5").write_bytes(content[:600] + bytes([content[600] ^ 1]) + content[601:])
    (folder / "garbage").write_bytes(bytes(range(256)) * 20)
    (folder / "void").touch()
    (folder / "folder").mkdir()
    (folder / "half").mkdir()
    (folder / "half/checkpoints").touch()
    (folder / "dangling").symlink_to("nowhere")
    return folder


def write_dataset(path: Path, seed: int = 0) -> None:
    """Write 8 + 4 images: an epoch is one step."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        for part, count in (("train", 8), ("test", 4)):
            file[f"x_{part}"] = rng.integers(0, 256, (count, 784), np.uint8)
            file[f"y_{part}"] = np.arange(count)


@pytest.fixture
def here(template: Path, tmp_path: Path) -> Path:
    """A copy of the template for one case, with a FIFO that nobody writes to."""
    folder = tmp_path / "here"
    shutil.copytree(template, folder, symlinks=True)
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture
def check_refusal(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Fail unless two ranks refuse options, after the good ones, in one line with all the words."""
    monkeypatch.setattr(launching, "TIMEOUT", HANG)

    def check(*options: str, words: tuple[str, ...]) -> None:
        before = contents(here)
        cache = str(tmp_path / "cache")
        result = launching.run(2, *GOOD, *options, cwd=here, DPCNN_CACHE=cache)
        assert result.returncode == 2, result
        assert result.stdout == "", result
        assert result.stderr.startswith("dpcnn: error: "), result
        assert len(result.stderr.splitlines()) == 1, result
        assert "Traceback" not in result.stderr
        for each in words:
            assert each in result.stderr
        assert contents(here) == before

    return check


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return size and time of change of everything in a folder."""
    facts = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (fact.st_size, fact.st_mtime_ns) for path, fact in facts.items()}
