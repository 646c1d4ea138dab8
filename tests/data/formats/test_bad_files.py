"""Bad files of every format: one line that names the path, nothing run, no waiting."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dpcnn.data.formats import registry
from dpcnn.errors import DataError

RNG = np.random.default_rng(0)
ROLES = ("x_train", "y_train", "x_test", "y_test")
STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
Arrays = dict[str, Any]
Write = Callable[[Path, Arrays], Path]


def npz(root: Path, arrays: Arrays) -> Path:
    np.savez(root / "a.npz", **arrays)
    return root / "a.npz"


def npy(root: Path, arrays: Arrays) -> Path:
    for name, array in arrays.items():
        np.save(root / f"{name}.npy", array)
    return root


def hdf5(root: Path, arrays: Arrays) -> Path:
    with h5py.File(root / "a.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return root / "a.h5"


def mat(root: Path, arrays: Arrays) -> Path:
    savemat = pytest.importorskip("scipy.io", reason="SciPy is not installed").savemat
    turned = {n: a.transpose(2, 3, 1, 0) if a.ndim > 1 else a[:, None] for n, a in arrays.items()}
    savemat(root / "a.mat", turned)
    return root / "a.mat"


def idx(root: Path, arrays: Arrays) -> Path:
    for name, stem in zip(ROLES, STEMS, strict=True):
        array = arrays[name][:, 0] if arrays[name].ndim > 1 else arrays[name]
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (root / f"{stem}-idx{array.ndim}-ubyte").write_bytes(head + array.tobytes())
    return root


def csv(root: Path, arrays: Arrays) -> Path:
    for part in ("train", "test"):
        x, y = (arrays[f"{name}_{part}"] for name in "xy")
        rows = zip(y.tolist(), x.reshape(len(x), 64).tolist(), strict=False)
        lines = (",".join(map(str, (f"kind {label}", *row))) for label, row in rows)
        (root / f"{part}.csv").write_text("".join(f"{line}\n" for line in lines))
    return root / "train.csv"


def cifar(root: Path, arrays: Arrays) -> Path:
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        records = np.zeros((len(arrays["x_train"]), 3073), np.uint8)
        records[:, 0] = np.arange(len(records)) % 2
        records.tofile(root / f"{name}.bin")
    return root


WRITERS: tuple[Write, ...] = (npz, npy, hdf5, mat, idx, csv, cifar)


def sound(count: int = 20) -> Arrays:
    x = RNG.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8)
    y = np.arange(count, dtype=np.uint8) % 2
    return {"x_train": x, "y_train": y, "x_test": x[:6], "y_test": y[:6]}


class Touch:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        registry.read(path)
    line = str(caught.value)
    root = path if path.is_dir() else path.parent
    assert line.startswith(str(root))
    assert line.isprintable()
    return line


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", ["cut off", "a few bytes", "empty", "a page", "a pickle"])
def test_what_is_no_such_file_is_refused(kind: str, write: Write, tmp_path: Path) -> None:
    root, proof = tmp_path / "root", tmp_path / "run"
    root.mkdir()
    path = write(root, sound())
    for file in root.iterdir():
        content = file.read_bytes()
        half = content[: len(content) // 2 - 9]
        bad = {"cut off": half, "a few bytes": content[:3], "empty": b""}
        bad |= {"a page": b"<!DOCTYPE html><p>404", "a pickle": pickle.dumps(Touch(proof))}
        file.write_bytes(bad[kind])
    refused(path)
    assert not proof.exists()


@pytest.mark.parametrize("write", [write for write in WRITERS if write is not mat])
def test_an_empty_set_is_refused(write: Write, tmp_path: Path) -> None:
    """MATLAB keeps no shape of an empty array."""
    refused(write(tmp_path, sound(0)))


@pytest.mark.parametrize("write", [npz, npy, hdf5, mat, idx])
def test_labels_without_images_are_refused(write: Write, tmp_path: Path) -> None:
    arrays = sound()
    arrays["y_train"] = np.arange(30, dtype=np.uint8) % 2
    assert "20 images in" in (line := refused(write(tmp_path, arrays)))
    assert "30 labels in" in line


@pytest.mark.parametrize("write", [npz, npy, hdf5, mat, idx])
def test_images_of_other_shapes_are_read_as_they_are(write: Write, tmp_path: Path) -> None:
    """Five channels, where the format has channels, and rows of 70,000 pixels."""
    arrays = sound(4)
    shape = (1, 2, 70_000) if write is idx else (5, 2, 70_000)
    for part in ("train", "test"):
        arrays[f"x_{part}"] = np.zeros((len(arrays[f"y_{part}"]), *shape), np.uint8)
    assert registry.read(write(tmp_path, arrays)).train.shape == shape
