"""Files of images to classify: every kind gives the same pixels, what is left out is counted."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from dpcnn.data.formats.image_files import LeftOut, read, walk
from dpcnn.errors import DataError

SHAPE = (1, 3, 4)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), np.uint8)
ROWS = IMAGES.reshape(5, 12)


def found(
    path: Path,
    name: str | None = None,
    shape: tuple[int, int, int] = SHAPE,
    keys: str | None = None,
) -> np.ndarray:
    """Return all images of a file as floats in [0, 1]."""
    blocks = [np.asarray(block) for block in read(path, shape, name, "none", keys)]
    return np.concatenate([each / 255 if each.dtype == np.uint8 else each for each in blocks])


def check(path: Path, name: str | None = None) -> None:
    np.testing.assert_allclose(found(path, name), IMAGES / 255, atol=1e-6)


def refusal(path: Path, name: str | None = None) -> str:
    with pytest.raises(DataError) as raised:
        found(path, name)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    return message


def idx(path: Path, array: np.ndarray) -> Path:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(head + array.astype(np.uint8).tobytes())
    return path


def table(path: Path, rows: np.ndarray, header: str = "") -> Path:
    np.savetxt(path, rows, "%g", ",", header=header, comments="")
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, ">f4", np.float32])
def test_values_of_every_kind_are_those_of_the_training(dtype: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.astype(dtype))
    check(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", (ROWS / 255).astype(dtype) if np.dtype(dtype).kind == "f" else ROWS)
    check(tmp_path / "b.npy")


def test_one_image_and_channels_last_are_recognised(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", IMAGES[0, 0])
    assert found(tmp_path / "one.npy").shape == (1, *SHAPE)
    colours = np.random.default_rng(1).integers(0, 256, (2, 3, 8, 9), np.uint8)
    for name, array in (("many", colours), ("one", colours[:1])):
        last = array.transpose(0, 2, 3, 1)
        np.save(tmp_path / f"{name}.npy", last[0] if name == "one" else last)
        images = found(tmp_path / f"{name}.npy", shape=(3, 8, 9))
        np.testing.assert_array_equal(images, array / 255)


def test_idx_files_and_npz_archives(tmp_path: Path) -> None:
    check(idx(tmp_path / "t10k-images-idx3-ubyte", IMAGES[:, 0]))
    np.savez(tmp_path / "a.npz", x_test=IMAGES, x_train=IMAGES[:1], y_test=np.arange(5))
    check(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", digits=IMAGES, others=np.zeros((5, 7, 7)))
    check(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", one=IMAGES, two=IMAGES[:1])
    check(tmp_path / "c.npz", "one")
    for name, part in ((None, "which of them"), ("three", "no array three in it")):
        message = refusal(tmp_path / "c.npz", name)
        assert f"holds one (5, 1, 3, 4), two (1, 1, 3, 4), {part}: expected --array" in message


def test_arrays_in_the_groups_of_an_hdf5_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["test/images"] = IMAGES
        file["test/labels"] = np.arange(5)
        file["train/images"] = IMAGES[:1]
        file["elsewhere"] = h5py.ExternalLink("b.h5", "/x")
    check(tmp_path / "a.h5")
    check(tmp_path / "a.h5", "test/images")
    assert "holds test/images (5, 1, 3, 4), test/labels (5,)" in refusal(tmp_path / "a.h5", "none")
    assert "elsewhere is a link to another file" in refusal(tmp_path / "a.h5", "elsewhere")
    assert "test is a group, expected an array" in refusal(tmp_path / "a.h5", "test")


def test_tables_with_labels_and_without(tmp_path: Path) -> None:
    labels = np.arange(5)[:, None] % 2
    check(table(tmp_path / "a.csv", ROWS))
    check(table(tmp_path / "b.csv", ROWS, ",".join(f"p{n}" for n in range(12))))
    check(table(tmp_path / "c.csv", np.hstack([labels, ROWS]), "label" + ",p" * 12))
    last = found(table(tmp_path / "d.csv", np.hstack([ROWS, labels])), keys="y=last")
    np.testing.assert_array_equal(last, IMAGES / 255)
    assert "lines of 3 values, expected 12, or 13" in refusal(
        table(tmp_path / "e.csv", ROWS[:, :3])
    )
    assert "first or the last" in refusal(table(tmp_path / "f.csv", np.hstack([ROWS, ROWS[:, :1]])))


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.jpg", "a.dng", "a.svg"])
def test_pictures_of_other_kinds_are_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"\0\0\0\x18ftypheic" if name == "a.jpg" else b"anything")
    kind = {"svg": "SVG", "dng": "a raw photo"}.get(name[2:], "HEIC")
    assert f"{kind}, which is not read: save it as JPEG or PNG, expected PNG" in refusal(path)


def test_what_is_left_out_of_a_folder_is_counted_by_reason(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    names = ("a.txt", "b", "c.md", "d.doc", "photo.heic", "labels.csv", "inside/e.png")
    for name in (*names, "train-labels-idx1-ubyte", "\x1b]0;x.txt"):
        (tmp_path / name).touch()
    os.symlink("inside", tmp_path / "again")
    left_out = LeftOut()
    assert [*walk(tmp_path, left_out)] == [tmp_path / "inside/e.png"]
    assert str(left_out) == (
        "1 links to folders (again);"
        " 5 of no kind that is read (?]0;x.txt, a.txt, b, ...);"
        " 1 of tables, which are read if they are named (labels.csv);"
        " 1 of HEIC, which is not read: save it as JPEG or PNG (photo.heic);"
        " 1 of labels (train-labels-idx1-ubyte)"
    )
    (tmp_path / "inside/e.png").unlink()
    with pytest.raises(DataError, match=r"no images in this folder \(1 links"):
        [*walk(tmp_path, LeftOut())]
