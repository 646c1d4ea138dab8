"""Data that tests share."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import dpcnn  # noqa: F401  (one BLAS thread, before NumPy)

import pytest  # isort: skip
from hypothesis import HealthCheck, settings

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import hdf5
from dpcnn.data.sources import synthetic
from tests.launching import run

# On a busy machine an example may take any time. The same examples in every run.
settings.register_profile(
    "busy", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")

# Tests start Python many hundred times; without bytecode each start would compile the package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# nohup has this process ignore SIGHUP, which jobs that tests start would inherit, but no handler.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# Two processes take files in turn: they end at about the same time if the longest come first.
LONGEST = (
    "test_readme.py",
    "test_chaos.py",
    "test_dying_ranks.py",
    "test_slurm.py",
    "test_same_bits.py",
    "test_bench.py",
    "test_cut_links.py",
    "test_restarts.py",
    "test_hosts.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first, the others after them in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


# The run directory of a run, and the SHA-256 of its weights.
Trained = tuple[Path, str]


def from_environment(variable: str, name: str) -> Path:
    """Return the file that an environment variable names; skips the test if there is none."""
    path = Path(os.environ.get(variable, ""))
    if not path.is_file():
        pytest.skip(f"{variable} does not name {name}")
    return path


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The real MNIST in the tutorial's file."""
    return from_environment("DPCNN_MNIST", "MNISTdata.hdf5")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 1,000 + 200 digits: 16 steps of 64 images, the last one of 40."""
    sets = [synthetic.draw(1000, seed=0), synthetic.draw(200, seed=1)]
    train, test = (Images(images[:, None], labels) for images, labels in sets)
    path = tmp_path_factory.mktemp("data") / "small.hdf5"
    hdf5.write(path, Dataset(train, test, "small", synthetic.CLASSES))
    return path


@pytest.fixture(scope="session")
def alone(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Trains on that file in one process; what is asked for again is not trained again."""

    @cache
    def train(*options: Any) -> Trained:
        cwd = tmp_path_factory.mktemp("alone")
        result = run(None, "--dataroot", small, *options, "--run_dir", "run", cwd=cwd)
        return cwd / "run", result.sha

    return train


@pytest.fixture(scope="module")
def work(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with that file, to be seen by several hosts."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copy(small, folder / "small.hdf5")
    return folder


@pytest.fixture(scope="session")
def fashion() -> Path:
    """The real Fashion-MNIST as an HDF5 file."""
    return from_environment("DPCNN_FASHION", "fashion-mnist.hdf5")


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The real CIFAR-10 as an HDF5 file."""
    return from_environment("DPCNN_CIFAR10", "cifar10.hdf5")
