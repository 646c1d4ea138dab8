"""A folder of sound and broken things, in which training is to refuse wrong options."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dpcnn.training.api import main
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
            file[f"y_{part}"] = np.arange(10 - count, 10)


@pytest.fixture
def here(template: Path, tmp_path: Path) -> Path:
    """A copy of the template for one case, with a FIFO that nobody writes to."""
    folder = tmp_path / "here"
    shutil.copytree(template, folder, symlinks=True)
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture
def check_refusal(
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., None]:
    """Fail unless training refuses options, after the good ones, in one line with all the parts.

    Without `ranks` it runs in this process: what one process refuses before it trains, several
    refuse by the same code, which a few cases of each kind show under mpirun.
    """
    cache = str(tmp_path / "cache")
    monkeypatch.setattr(launching, "TIMEOUT", HANG)
    monkeypatch.setenv("DPCNN_CACHE", cache)
    monkeypatch.chdir(here)

    def check(*options: str, parts: tuple[str, ...], ranks: int | None = None) -> None:
        before = contents(here)
        if ranks is None:
            result = run_here(*GOOD, *options, capfd=capfd)
        else:
            result = launching.run(ranks, *GOOD, *options, cwd=here, DPCNN_CACHE=cache)
        assert result.returncode == 2, result
        assert result.stdout == "", result
        assert result.stderr.startswith("dpcnn: error: "), result
        assert len(result.stderr.splitlines()) == 1, result
        assert "Traceback" not in result.stderr
        for part in parts:
            assert part in result.stderr
        assert contents(here) == before

    return check


@pytest.fixture
def check_refusals(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Fail unless two ranks, started once, refuse each of these lines of options with its parts."""
    cache = str(tmp_path / "cache")
    monkeypatch.setattr(launching, "TIMEOUT", HANG)

    def check(*cases: tuple[str, tuple[str, ...]]) -> None:
        before = contents(here)
        commands = [(*GOOD, *line.split()) for line, _ in cases]
        found = launching.refusals(2, "dpcnn.train", commands, cwd=here, DPCNN_CACHE=cache)
        for text, (_, parts) in zip(found, cases, strict=True):
            assert all(part in text for part in parts), text
        assert contents(here) == before

    return check


def run_here(*options: str, capfd: pytest.CaptureFixture[str]) -> launching.Result:
    """Run the command in this process, for at most HANG seconds."""

    def give_up(number: int, frame: object) -> None:
        pytest.fail(f"still running after {HANG} s: {options}")

    capfd.readouterr()
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HANG)
    try:
        code = main(options)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return launching.Result(code, *capfd.readouterr())


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return size and time of the last change of everything in a folder."""
    status = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (entry.st_size, entry.st_mtime_ns) for path, entry in status.items()}
