"""convert and look: any dataset as one HDF5 file of the same bytes, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dpcnn.convert import main as convert
from dpcnn.data.formats import registry
from dpcnn.look import main as look

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (20, 8, 6, 3)).astype(np.uint8)
WORDS = np.array(["ant", "bee"])[np.arange(20) % 2]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Images with the channels last, labels that are words, and no test set but two copies."""
    np.savez(tmp_path / "a.npz", X=np.concatenate([X, X[:2]]), y=np.concatenate([WORDS, WORDS[:2]]))
    return tmp_path / "a.npz"


def test_what_is_converted_is_the_same_dataset(archive: Path, capsys: Any) -> None:
    out = archive.with_name("out.hdf5")
    assert convert([str(archive), str(out), "--test-fraction", "0.25"]) == 0
    printed = capsys.readouterr().out
    assert "16 images to train on, 6 to test on, 3 x 8 x 6" in printed
    assert "channels last" in printed
    made = registry.read(out)
    assert made.class_names == ("ant", "bee")
    assert made.train.images.dtype == np.uint8
    with h5py.File(out) as file:
        assert file.attrs["source"].decode() == str(archive)
        assert "channels last" in file.attrs["read_as"].decode()
        assert file["x_train"].chunks == (16, 3, 8, 6)
        assert file["x_train"].compression == "gzip"
    again = archive.with_name("again.hdf5")
    assert convert([str(out), str(again)]) == 0
    assert registry.read(again).fingerprint() == made.fingerprint()


def test_nothing_is_written_over(archive: Path, capsys: Any) -> None:
    for out in (archive, archive.with_name("none") / "out.hdf5"):
        before = sorted(archive.parent.iterdir())
        assert convert([str(archive), str(out), "--test_fraction", "0.5"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"dpcnn: error: {out}: ")
        assert error.count("\n") == 1
        assert sorted(archive.parent.iterdir()) == before
    assert convert([str(archive), "new.h5", "--layout", "x"]) == 2
    assert "--layout is 'x', expected auto, chw or hwc" in capsys.readouterr().err


def test_a_look_says_what_there_is(archive: Path, capsys: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    sheet = archive.with_name("sheet.png")
    options = ("--test_fraction", "0.5", "--seed", "1", "--sheet", str(sheet))
    assert look([str(archive), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "images      11 to train on, 11 to test on, 3 x 8 x 6" in lines
    [counts] = [line.split() for line in lines if line.startswith("ant  ")]
    assert sum(map(int, counts[1:])) == 11
    mean = float(next(line for line in lines if line.startswith("channel 0")).split()[3].strip(","))
    assert abs(mean - X[..., 0].mean() / 255) < 0.1
    [found] = [line for line in lines if line.startswith("duplicates")]
    assert found.split()[1] in ("0", "1", "2")
    assert image.open(sheet).size == (10 * 7, 2 * 9)
