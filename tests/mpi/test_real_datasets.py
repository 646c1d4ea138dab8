"""The real Fashion-MNIST and CIFAR-10, by name and from the files that they are published as."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dpcnn.data.dataset import Dataset
from dpcnn.data.formats import registry
from dpcnn.data.sources import download
from tests.launching import run


def arrays(path: Path) -> list[Any]:
    with h5py.File(path) as file:
        return [file[name][()] for name in ("x_train", "y_train", "x_test", "y_test")]


def by_name(word: str, mirror: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Return what a mirror has, after its checksums have been compared with the real ones."""
    monkeypatch.setenv("DPCNN_CACHE", str(cache))
    return registry.read(download.fetch(word, mirror.as_uri()))


def check_equal(dataset: Dataset, expected: list[Any]) -> None:
    for found, array in zip(dataset.arrays(), expected, strict=True):
        assert np.array_equal(found, array)


def check_bits(folder: Path, plain: Path) -> None:
    """Assert that a folder and an HDF5 file train to the same bits."""
    limits = ("--max_steps", 3, "--train_limit", 999, "--test_limit", 99, "--progress", "none")
    cwd = folder.parent
    found = run(2, "--dataroot", folder.name, *limits, "--run_dir", "two", cwd=cwd)
    assert run(None, "--dataroot", plain, *limits, "--run_dir", "one", cwd=cwd).sha == found.sha


def test_fashion_mnist_from_its_four_files(
    fashion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = tmp_path / "files", arrays(fashion)
    folder.mkdir()
    stems = ("train-images", "train-labels", "t10k-images", "t10k-labels")
    for stem, array in zip(stems, found, strict=True):
        array = array.reshape(-1, 28, 28).astype(np.uint8) if array.ndim > 1 else array
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        content = gzip.compress(head + array.astype(np.uint8).tobytes(), 0)
        (folder / f"{stem}-idx{array.ndim}-ubyte.gz").write_bytes(content)
    dataset = by_name("fashion", folder, tmp_path / "cache", monkeypatch)
    assert dataset.class_names[:2] == ("T-shirt/top", "Trouser")
    check_equal(dataset, found)
    check_bits(folder, fashion)


def test_cifar10_from_its_binary_batches(
    cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = tmp_path / "files", arrays(cifar10)
    inside = folder / "cifar-10-batches-bin"
    inside.mkdir(parents=True)
    for stem, (x, y) in (("data_batch", found[:2]), ("test_batch", found[2:])):
        for first in range(0, len(x), 10_000):
            rows = slice(first, first + 10_000)
            labels, pixels = y[rows].astype(np.uint8)[:, None], x[rows].reshape(-1, 3072)
            number = f"_{first // 10_000 + 1}" if stem == "data_batch" else ""
            np.concatenate([labels, pixels], 1).tofile(inside / f"{stem}{number}.bin")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz", compresslevel=0) as archive:
        archive.add(inside, inside.name)
    dataset = by_name("cifar10", tmp_path, tmp_path / "cache", monkeypatch)
    with h5py.File(cifar10) as file:
        assert dataset.class_names == tuple(file.attrs["classes"])
    check_equal(dataset, found)
    check_bits(folder, cifar10)
