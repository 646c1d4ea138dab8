"""From a word of --dataroot to a dataset: named, nearby, downloaded or built in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import hdf5
from dpcnn.data.sources import download, find
from dpcnn.data.sources.__main__ import main
from dpcnn.data.sources.catalog import SOURCES
from dpcnn.errors import DataError
from tests.launching import ROOT


class Fetch:
    """Replaces the download: records the calls, returns a path or fails."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.fails = False

    def __call__(self, word: str, mirror: str | None = None, progress: bool = False) -> Path:
        self.calls.append((word, mirror, progress))
        if self.fails:
            raise DataError("no network")
        return Path(f"/cache/{word}.hdf5")


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> Fetch:
    fetch = Fetch()
    monkeypatch.setattr(download, "fetch", fetch)
    return fetch


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory in an empty directory, to which this changes."""
    path = tmp_path / "inside"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def resolve(dataroot: str, mirror: str | None = None) -> tuple[str, list[str]]:
    """Return the root that dataroot stands for, and the warnings."""
    warnings: list[str] = []
    return find.resolve(dataroot, mirror, False, warnings.append, fall_back=True), warnings


@pytest.mark.parametrize("dataroot", ["x.hdf5", "/no/such/file", "digits"])
def test_a_named_dataset_is_taken(dataroot: str, inside: Path, fetch: Fetch) -> None:
    (inside / "MNISTdata.hdf5").touch()
    assert resolve(dataroot) == (dataroot, [])
    assert fetch.calls == []


def test_auto_prefers_the_file_here(inside: Path, fetch: Fetch) -> None:
    (inside / "MNISTdata.hdf5").touch()
    (inside.parent / "MNISTdata.hdf5").touch()
    root, warnings = resolve("auto")
    assert Path(root).resolve() == inside / "MNISTdata.hdf5"
    assert warnings == []
    assert fetch.calls == []


def test_auto_then_takes_the_file_above(inside: Path, fetch: Fetch) -> None:
    (inside / "MNISTdata.hdf5").mkdir()
    (inside.parent / "MNISTdata.hdf5").touch()
    assert Path(resolve("auto")[0]).resolve() == inside.parent / "MNISTdata.hdf5"
    assert fetch.calls == []


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("dataroot", ["auto", "mnist"])
def test_mnist_is_fetched_from_the_cache_or_the_mirror(dataroot: str, fetch: Fetch) -> None:
    assert resolve(dataroot, "http://mirror") == ("/cache/mnist.hdf5", [])
    assert fetch.calls == [("mnist", "http://mirror", False)]


@pytest.mark.usefixtures("inside")
def test_auto_falls_back_to_the_digits_with_a_warning(fetch: Fetch) -> None:
    fetch.fails = True
    root, warnings = resolve("auto")
    assert root == find.DIGITS
    assert len(warnings) == 1
    assert "BUILT-IN DIGITS" in warnings[0]
    assert "no network" in warnings[0]


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("word", SOURCES)
def test_only_auto_falls_back_when_nothing_can_be_downloaded(word: str, fetch: Fetch) -> None:
    fetch.fails = True
    with pytest.raises(DataError, match="no network"):
        resolve(word)
    with pytest.raises(DataError, match="no network"):
        find.resolve("auto", None, False, pytest.fail, fall_back=False)


def test_a_word_is_the_dataset_of_that_name_and_says_so_beside_a_folder_so_named(
    inside: Path, fetch: Fetch
) -> None:
    assert resolve("cifar10") == ("/cache/cifar10.hdf5", [])
    (inside / "cifar10").mkdir()
    root, warnings = resolve("cifar10")
    assert root == "/cache/cifar10.hdf5"
    assert "./cifar10 is what is here" in warnings[0]
    assert resolve("./cifar10") == ("./cifar10", [])


def test_there_are_12000_and_2000_digits_balanced_over_the_classes() -> None:
    dataset = find.load("digits")
    assert (len(dataset.train), len(dataset.test)) == (12_000, 2_000)
    assert dataset.train.shape == dataset.test.shape == (1, 28, 28)
    assert dataset.train.images.dtype == np.uint8
    assert set(np.bincount(dataset.train.labels)) == {1200}
    assert "built-in digits" in dataset.source
    assert dataset.classes == 10


def test_a_file_is_loaded_and_named(tmp_path: Path) -> None:
    part = Images(np.zeros((2, 1, 3, 3), np.uint8), np.array([0, 1], np.uint8))
    path = tmp_path / "set.hdf5"
    hdf5.write(path, Dataset(part, part, "", 2))
    dataset = find.load(str(path))
    assert dataset.source == str(path)
    assert (dataset.classes, dataset.train.shape) == (2, (1, 3, 3))
    assert len(dataset.train) == 2


def test_a_path_recorded_under_another_locale_is_found(tmp_path: Path) -> None:
    (tmp_path / "\u00e9t\u00e9.h5").touch()
    code = "import os; from dpcnn.data.sources.find import locate"
    code += "; print(os.path.exists(locate('\\u00e9t\\u00e9.h5')))"
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | ascii_only | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("digits", 0, "digits are built in"),
        ("mnist", 0, "mnist is in "),
        ("data.npz", 2, "found the dataset 'data.npz', expected one of mnist, "),
        ("fashion", 2, "Fashion-MNIST cannot be downloaded ("),
    ],
)
def test_a_dataset_is_fetched_by_its_name(
    name: str,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DPCNN_CACHE", str(tmp_path))
    (tmp_path / "mnist.hdf5").touch()
    assert main([name, "--mirror", (tmp_path / "no-mirror").as_uri()]) == code
    out, err = capsys.readouterr()
    assert said in (err if code else out)
    assert (out + err).count("\n") == 1
