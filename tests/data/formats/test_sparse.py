"""Sparse files, which are the larger the cheaper they are made: refused before they are read."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from dpcnn.data.formats.image_files import read
from dpcnn.errors import DataError
from dpcnn.system.files import content_size

SHAPE = (1, 28, 28)
IMAGES = 20_000_000  # 15 GB


def sparse_npy(path: Path) -> None:
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (IMAGES, 28, 28)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + IMAGES * 28 * 28)


def sparse_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((IMAGES, 28, 28))
        h5py.h5d.create(file.id, b"x_test", h5py.h5t.STD_U8LE, space, layout)


@pytest.mark.parametrize(("name", "make"), [("a.npy", sparse_npy), ("a.h5", sparse_hdf5)])
def test_a_sparse_file_is_refused_at_once(name: str, make: object, tmp_path: Path) -> None:
    path = tmp_path / name
    assert callable(make)
    make(path)
    assert path.stat().st_size > 15e9
    with pytest.raises(DataError, match="15,680,000,000 bytes"):
        list(read(path, SHAPE, "x_test", "none"))


def test_the_content_of_an_ordinary_file_is_its_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100_001))
    assert content_size(path) == 100_001
