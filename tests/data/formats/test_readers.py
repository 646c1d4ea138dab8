"""Every format gives the dataset that its conversion to the plain HDF5 file gives, to the byte."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dpcnn.data.dataset import Dataset
from dpcnn.data.formats import csv_table, registry
from dpcnn.data.formats.raw import NOTHING, Wanted
from dpcnn.errors import DataError, OptionError

Arrays = dict[str, Any]
RNG = np.random.default_rng(0)
COUNT = {"train": 30, "test": 12}


def arrays(shape: tuple[int, ...] = (3, 8, 6), classes: int = 4) -> Arrays:
    """Return smooth images (N, *shape) uint8, and labels."""
    made = {}
    for part, count in COUNT.items():
        steps = RNG.integers(-9, 10, (count, *shape)).cumsum(axis=-1).cumsum(axis=-2)
        made[f"x_{part}"] = (steps % 256).astype(np.uint8)
        made[f"y_{part}"] = np.arange(count) % classes
    return made


def expected(source: Arrays, folder: Path) -> str:
    """Return the fingerprint of these arrays as the plain HDF5 file."""
    with h5py.File(folder / "expected.h5", "w") as file:
        for name, array in source.items():
            file[name] = array
    return registry.read(folder / "expected.h5").fingerprint()


def renamed(source: Arrays, *names: str) -> Arrays:
    return dict(zip(names, source.values(), strict=True))


def write_h5(path: Path, source: Arrays) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in source.items():
            file[name] = array
    return path


def write_idx(folder: Path, source: Arrays, zipped: bool) -> Path:
    folder.mkdir()
    for name, array in source.items():
        head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        content = head + array.astype("u1").tobytes()
        (folder / (name + ".gz" * zipped)).write_bytes(
            gzip.compress(content) if zipped else content
        )
    return folder


def last(source: Arrays) -> Arrays:
    """Return the images with the channels last."""
    return {
        name: array.transpose(0, 2, 3, 1) if name[0] == "x" else array
        for name, array in source.items()
    }


MNIST_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
MNIST_NAMES += ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def npz(folder: Path, source: Arrays) -> Path:
    np.savez_compressed(folder / "d.npz", **source)
    return folder / "d.npz"


def npz_last(folder: Path, source: Arrays) -> Path:
    return npz(folder, last(source))


def medmnist(folder: Path, source: Arrays) -> Path:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    made = renamed(last(source), *names) | {"val_images": source["x_test"][:2]}
    made |= {"val_labels": source["y_test"][:2, None], "train_labels": source["y_train"][:, None]}
    np.savez(folder / "bloodmnist.npz", **made)
    return folder / "bloodmnist.npz"


def npy(folder: Path, source: Arrays) -> Path:
    (folder / "npy").mkdir()
    for name, array in source.items():
        np.save(folder / "npy" / f"{name}.npy", np.asfortranarray(array))
    return folder / "npy"


def hdf5_groups(folder: Path, source: Arrays) -> Path:
    names = ("train/images", "train/labels", "test/images", "test/labels")
    return write_h5(folder / "g.h5", renamed(last(source), *names))


def hdf5_two_files(folder: Path, source: Arrays) -> Path:
    made = renamed(last(source), "train_set_x", "train_set_y", "test_set_x", "test_set_y")
    write_h5(folder / "test_cats.h5", {name: made[name] for name in made if "test" in name})
    return write_h5(
        folder / "train_cats.h5", {name: made[name] for name in made if "train" in name}
    )


def hdf5_integers(folder: Path, source: Arrays) -> Path:
    made = {name: array.astype(">i4") for name, array in source.items()}
    return write_h5(folder / "i.h5", made)


def hdf5_0_to_255(folder: Path, source: Arrays) -> Path:
    made = {name: array.astype(">f8") for name, array in source.items()}
    return write_h5(folder / "f.h5", made)


def hdf5_signed(folder: Path, source: Arrays) -> Path:
    made = {n: a / np.float32(127.5) - 1 if n[0] == "x" else a for n, a in source.items()}
    return write_h5(folder / "s.h5", made)


def hdf5_one_hot(folder: Path, source: Arrays) -> Path:
    made = {n: a if n[0] == "x" else np.eye(4)[a] for n, a in source.items()}
    return write_h5(folder / "o.h5", made)


def hdf5_from_one(folder: Path, source: Arrays) -> Path:
    return write_h5(folder / "1.h5", {n: a if n[0] == "x" else a + 1 for n, a in source.items()})


def hdf5_names(folder: Path, source: Arrays) -> Path:
    words = np.array(["ant", "bee", "cat", "dog"])
    made = {n: a if n[0] == "x" else words[a].astype("S") for n, a in source.items()}
    made["y_test"] = [str(word) for word in words[source["y_test"]]]
    return write_h5(folder / "n.h5", made)


FORMATS: list[Callable[[Path, Arrays], Path]] = [
    *(npz, npz_last, medmnist, npy, hdf5_groups, hdf5_two_files, hdf5_integers),
    *(hdf5_0_to_255, hdf5_signed, hdf5_one_hot, hdf5_from_one, hdf5_names),
]


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("on_disk", [False, True])
def test_it_is_the_dataset_of_the_converted_file(
    write: Callable[[Path, Arrays], Path], on_disk: bool, tmp_path: Path
) -> None:
    source = arrays()
    path = write(tmp_path, source)
    folder = tmp_path / "scratch"
    folder.mkdir()
    dataset = registry.read(path, NOTHING, folder if on_disk else None)
    assert dataset.fingerprint() == expected(source, tmp_path)
    assert dataset.warnings == ()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("names", [MNIST_NAMES, [f"emnist-letters-{n}" for n in MNIST_NAMES[:2]]])
def test_idx_files_are_read(zipped: bool, names: list[str], tmp_path: Path) -> None:
    source = arrays((8, 6), 10)
    if len(names) == 2:
        names = [*names, *(name.replace("train", "test") for name in names)]
    folder = write_idx(tmp_path / "idx", renamed(source, *names), zipped)
    assert registry.read(folder).fingerprint() == expected(source, tmp_path)
    write_idx(tmp_path / "other", renamed(source, *MNIST_NAMES), zipped)
    file = next(iter(sorted(folder.iterdir())))
    assert registry.read(file).fingerprint() == expected(source, tmp_path)


def of(source: Arrays, tmp_path: Path, wanted: Wanted = NOTHING) -> Dataset:
    return registry.read(write_h5(tmp_path / "a.h5", source), wanted)


def test_what_was_decided_is_said(tmp_path: Path) -> None:
    dataset = registry.read(hdf5_names(tmp_path, last(arrays())))
    assert dataset.class_names == ("ant", "bee", "cat", "dog")
    assert "channels last" in dataset.notes
    assert "labels ant, bee, cat, dog are classes 0 to 3" in dataset.notes
    dataset = registry.read(hdf5_from_one(tmp_path, arrays()))
    assert dataset.class_names == ("1", "2", "3", "4")
    dataset = registry.read(hdf5_groups(tmp_path, arrays()))
    assert dataset.notes[0].startswith("train/images as x_train, train/labels as y_train")
    assert of(arrays(), tmp_path).notes == ()


def test_flat_rows_in_colour_are_read_as_they_are_smooth_with_a_warning(tmp_path: Path) -> None:
    source = arrays((3, 8, 8))
    flat = {n: a.reshape(len(a), -1) if n[0] == "x" else a for n, a in source.items()}
    flat_last = {n: a.reshape(len(a), -1) if n[0] == "x" else a for n, a in last(source).items()}
    digest = expected(source, tmp_path)
    for rows, order in ((flat, "first"), (flat_last, "last")):
        dataset = of(rows, tmp_path)
        assert dataset.fingerprint() == digest
        [warning] = dataset.warnings
        assert f"rows of 192 values, read as channels {order}" in warning
        assert "--layout chw or hwc" in warning
        layout = "chw" if order == "first" else "hwc"
        certain = of(rows, tmp_path, Wanted(layout=layout))
        assert (certain.fingerprint(), certain.warnings) == (digest, ())


def test_keys_name_the_arrays(tmp_path: Path) -> None:
    source = arrays()
    named = renamed(source, "a", "b", "c/d", "c/e")
    keys = "x_train=a, y_train=b,x_test=c/d,y_test=c/e"
    assert of(named, tmp_path, Wanted(keys=keys)).fingerprint() == expected(source, tmp_path)
    with pytest.raises(
        DataError, match=r"a.h5: no array x_train, y_train; found a, b, c, c/d, c/e"
    ):
        of(named, tmp_path)
    for keys, message in (("x=a,y", "--keys has 'y'"), ("x=f", "expected one of a, b, c, c/d")):
        with pytest.raises(OptionError, match=message):
            of(named, tmp_path, Wanted(keys=keys))


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_test_set_is_set_apart_where_there_is_none(on_disk: bool, tmp_path: Path) -> None:
    source = arrays()
    path = write_h5(tmp_path / "x.h5", {"x": source["x_train"], "y": source["y_train"]})
    folder = tmp_path / "scratch"
    folder.mkdir()
    with pytest.raises(DataError, match=r"no test set, expected one: --test_fraction 0\.2"):
        registry.read(path)
    wanted = Wanted(test_fraction=0.2)
    dataset = registry.read(path, wanted, folder if on_disk else None)
    assert (len(dataset.train), len(dataset.test)) == (24, 6)
    assert sorted(np.bincount(dataset.test.labels)) == [1, 1, 2, 2]
    both = np.concatenate([dataset.train.rows(np.arange(24)), dataset.test.rows(np.arange(6))])
    assert sorted(map(bytes, both)) == sorted(map(bytes, source["x_train"]))
    assert dataset.fingerprint() == registry.read(path, wanted).fingerprint()
    other = Wanted(test_fraction=0.2, seed=1)
    assert dataset.fingerprint() != registry.read(path, other).fingerprint()
    with pytest.raises(OptionError, match="has a test set"):
        registry.read(npz(tmp_path, source), wanted)


def test_labels_get_the_numbers_that_a_trained_network_has_for_their_names(tmp_path: Path) -> None:
    names = ("dog", "cat", "bee", "ant")
    dataset = registry.read(hdf5_names(tmp_path, arrays()), Wanted(class_names=names))
    assert dataset.train.labels[:4].tolist() == [3, 2, 1, 0]
    assert dataset.class_names == names
    with pytest.raises(DataError, match="holds label 'ant', expected dog, cat"):
        registry.read(hdf5_names(tmp_path, arrays()), Wanted(class_names=names[:2]))


def bad_npz(folder: Path, **source: Any) -> Path:
    np.savez(folder / "bad.npz", **source)
    return folder / "bad.npz"


def test_what_is_wrong_with_an_archive_is_one_line(tmp_path: Path) -> None:
    source = arrays()
    pickled = bad_npz(tmp_path, **source | {"x_train": np.array([{}] * 3, object)})
    with pytest.raises(DataError, match=r"bad\.npz: x_train holds object, expected integers"):
        registry.read(pickled)
    whole = npz(tmp_path, source).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("cut.npz", "empty.npz"):
        with pytest.raises(DataError, match=rf"{name}: cannot be read as \.npz \("):
            registry.read(tmp_path / name)
    with pytest.raises(DataError, match="30 images in x_train, 29 labels in y_train"):
        registry.read(bad_npz(tmp_path, **source | {"y_train": source["y_train"][1:]}))


def test_what_is_wrong_with_idx_files_is_one_line(tmp_path: Path) -> None:
    source = renamed(arrays((8, 6)), *MNIST_NAMES)
    folder = write_idx(tmp_path / "idx", source, zipped=False)
    path = folder / MNIST_NAMES[0]
    whole = path.read_bytes()
    declares = whole[:4] + b"\xff" * 12
    for content, message in (
        (whole[:-1], "holds 1,439 bytes, expected 1,440"),
        (whole + b"x", "holds more bytes"),
        (b"", "begins with , expected the head"),
        (b"<html>", "begins with 3c68746d, expected the head"),
        (declares, "which 16 cannot hold"),
        (gzip.compress(whole)[:-20], "cannot be read"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            registry.read(folder)


def write_csv(
    path: Path, x: Any, y: Any, header: str = "", at: str = "first", end: str = "\n"
) -> Path:
    with path.open("w") as file:
        file.write(header)
        for pixels, label in zip(x.reshape(len(x), -1), y, strict=True):
            values = [str(value) for value in pixels.tolist()]
            file.write(",".join([str(label), *values] if at == "first" else [*values, str(label)]))
            file.write(end)
    return path


@pytest.mark.parametrize("at", ["first", "last"])
@pytest.mark.parametrize("header", ["", "label,p0,p1\n"])
@pytest.mark.parametrize("end", ["\n", ",\n", "\r\n"])
@pytest.mark.parametrize("names", [False, True])
def test_tables_are_read(at: str, header: str, end: str, names: bool, tmp_path: Path) -> None:
    source = arrays((6, 6))
    for name in ("x_train", "x_test"):
        source[name][:, 0, 0] = source[name][:, -1, -1] = 0
        source[name][3, 0, 0] = source[name][3, -1, -1] = 1
    if header:
        columns = [f"p{n}" for n in range(36)]
        columns.insert(0 if at == "first" else 36, "label")
        header = ",".join(columns) + "\n"
    words = np.array(["ant", "bee", "cat", "dog"])
    for part in ("train", "test"):
        y = words[source[f"y_{part}"]] if names else source[f"y_{part}"]
        write_csv(tmp_path / f"set_{part}.csv", source[f"x_{part}"], y, header, at, end)
    dataset = registry.read(tmp_path / "set_train.csv")
    assert dataset.fingerprint() == expected(source, tmp_path)
    assert f"label in the {at} column" in dataset.notes[0]
    assert dataset.class_names == (tuple(words) if names else ())


def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path) -> None:
    source = arrays((6, 6))
    x, y = source["x_train"], source["y_train"]
    x = x // 64
    x[:, -1, -1] = y
    x[5, 2, 2] = 3
    write_csv(tmp_path / "both.csv", x, y)
    with pytest.raises(DataError, match=r"first or the last column: --keys y=first or y=last"):
        registry.read(tmp_path / "both.csv")
    wanted = Wanted(test_fraction=0.5, keys="y=first")
    assert len(registry.read(tmp_path / "both.csv", wanted).train) == 15
    whole = (tmp_path / "both.csv").read_text()
    for text, message in (
        ("", "no columns"),
        ("label,x\n", "no line after the header"),
        (whole + "1,2\n", "lines of different lengths, expected 37"),
        (whole + whole * 9 + "1,2\n", "another number of values in a line than 37"),
        (whole.replace(",3,", ",x,", 1), "something else than 37 numbers in a line"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(DataError, match=message) as caught:
            registry.read(tmp_path / "bad.csv", Wanted(keys="y=first", test_fraction=0.5))
        assert "\n" not in str(caught.value)


def write_cifar(folder: Path, source: Arrays, hundred: bool) -> Path:
    folder.mkdir()
    records = {
        part: np.concatenate(
            [*[source[f"y_{part}"][:, None].astype("u1")] * (1 + hundred), flat], axis=1
        )
        for part in ("train", "test")
        for flat in [source[f"x_{part}"].reshape(COUNT[part], -1)]
    }
    if hundred:
        records["train"][:, 0] = 19  # the coarse label
        files = {"train.bin": records["train"], "test.bin": records["test"]}
        (folder / "fine_label_names.txt").write_text("a\nb\nc\nd\n")
    else:
        parts = np.split(records["train"], 5)
        files = {f"data_batch_{n}.bin": part for n, part in enumerate(parts, 1)}
        files |= {"test_batch.bin": records["test"]}
        (folder / "batches.meta.txt").write_text("a\nb\nc\nd\n\n")
    for name, content in files.items():
        content.tofile(folder / name)
    return folder


@pytest.mark.parametrize("hundred", [False, True])
def test_the_binary_batches_of_cifar_are_read(hundred: bool, tmp_path: Path) -> None:
    source = arrays((3, 32, 32))
    folder = write_cifar(tmp_path / "cifar", source, hundred)
    dataset = registry.read(folder)
    assert dataset.fingerprint() == expected(source, tmp_path)
    assert dataset.class_names == ("a", "b", "c", "d")
    first = next(folder.glob("*.bin"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"{first.name}: .* bytes, expected records of 3,07"):
        registry.read(folder)


def test_pickled_batches_are_refused_with_where_the_binary_ones_are(tmp_path: Path) -> None:
    (tmp_path / "py").mkdir()
    (tmp_path / "py" / "data_batch_1").write_bytes(b"\x80\x02cos\nsystem\n")
    with pytest.raises(DataError, match=r"is pickled.*cifar-10-binary\.tar\.gz from https"):
        registry.read(tmp_path / "py")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n<!DOCTYPE html><html>", "an HTML page: download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04" + b"x" * 100, "name it .npz"),
        (b"\x93NUMPY\x01\x00", "name it .npy"),
        (b"PAR1" + b"x" * 100, "Parquet"),
        (b"\0" * 16 + b"\xde\xc0\xef\xbe", "LMDB"),
        (b"\x80\x04\x95", "a pickle, which may run any program"),
        (b"\x1f\x8b\x08", "gunzip"),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "data.h5"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.h5: cannot be read as HDF5 \(") as caught:
        registry.read(path)
    assert words in str(caught.value)


def write_mat(path: Path, **source: Any) -> Path:
    """Write a file as MATLAB 7.3 does: a block of text first, the axes backwards."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in source.items():
            file[name] = array.T
        file.create_group("#refs#")
    with path.open("r+b") as opened:
        opened.write(b"MATLAB 7.3 MAT-file")
    return path


@pytest.mark.parametrize("rows", [False, True])
def test_matlab_s_files_are_read(rows: bool, tmp_path: Path) -> None:
    source = arrays((1, 8, 8) if rows else (3, 8, 6))
    for part in ("train", "test"):
        x, y = source[f"x_{part}"], source[f"y_{part}"][:, None] + 1.0
        x = x.swapaxes(2, 3).reshape(len(x), -1) if rows else x.transpose(2, 3, 1, 0)
        write_mat(tmp_path / f"{part}_32x32.mat", X=x, y=y)
    dataset = registry.read(tmp_path / "train_32x32.mat")
    assert dataset.fingerprint() == expected(source, tmp_path)
    assert dataset.class_names == ("1", "2", "3", "4")
    path = tmp_path / "train_32x32.mat"
    for content in (path.read_bytes()[:900], b"MATLAB 5.0 MAT-file" + bytes(200), b"", b"x" * 99):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"train_32x32\.mat: ") as caught:
            registry.read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_older_files_of_matlab_are_read_with_scipy(packed: bool, tmp_path: Path) -> None:
    """Their labels count from 1, as MATLAB does; what is no array of numbers stays unread."""
    savemat = pytest.importorskip("scipy.io", reason="SciPy is not installed").savemat
    source = arrays((3, 8, 6))
    for part in ("train", "test"):
        x, y = source[f"x_{part}"], source[f"y_{part}"][:, None] + 1
        cells = np.empty(1, object)
        cells[0] = np.arange(3)
        held = {"X": x.transpose(2, 3, 1, 0), "y": y, "cells": cells, "about": "the images"}
        savemat(tmp_path / f"{part}.mat", held, do_compression=packed)
    path = tmp_path / "train.mat"
    dataset = registry.read(path)
    assert dataset.fingerprint() == expected(source, tmp_path)
    assert dataset.class_names == ("1", "2", "3", "4")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:200], whole[:128] + b"x" * 900):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"train\.mat: ") as caught:
            registry.read(path)
        assert "\n" not in str(caught.value)


def test_a_file_of_images_a_class_is_read(tmp_path: Path) -> None:
    cats, dogs = (RNG.integers(0, 256, (count, 8, 6, 3)).astype(np.uint8) for count in (6, 9))
    np.save(tmp_path / "dog.npy", dogs)
    np.save(tmp_path / "cat.npy", cats)
    dataset = registry.read(tmp_path, Wanted(test_fraction=0.2))
    assert dataset.class_names == ("cat", "dog")
    assert np.bincount(dataset.train.labels).tolist() == [5, 7]
    assert dataset.train.shape == (3, 8, 6)
    of_cats = dataset.train.images[dataset.train.labels == 0]
    assert all((cats.transpose(0, 3, 1, 2) == image).all((1, 2, 3)).any() for image in of_cats)
    np.save(tmp_path / "dog.npy", dogs[:, :7])
    with pytest.raises(DataError, match="expected images of one shape"):
        registry.read(tmp_path, Wanted(test_fraction=0.2))
    (tmp_path / "dog.npy").unlink()
    with pytest.raises(DataError, match=r"expected x_train\.npy and y_train\.npy"):
        registry.read(tmp_path, Wanted(test_fraction=0.2))


def test_libsvm_s_files_are_read(tmp_path: Path) -> None:
    source = arrays((6, 6))
    for part, name in (("train", "small"), ("test", "small.t")):
        source[f"x_{part}"][:, -1, -2:] = 0  # left out at the end: 34 of 36 values
        with (tmp_path / name).open("w") as file:
            pairs = zip(source[f"x_{part}"], source[f"y_{part}"], strict=True)
            for image, label in pairs:
                values = [f"{n}:{v}" for n, v in enumerate(image.ravel().tolist(), 1) if v]
                file.write(f"{label} {' '.join(values)}\n")
    dataset = registry.read(tmp_path / "small")
    assert dataset.fingerprint() == expected(source, tmp_path)
    assert "images of 6x6: the last index is 34" in dataset.notes
    whole = (tmp_path / "small").read_text()
    for text in ("1 2:3 1:4\n", "1 0:3\n", "1 99999999:1\n", "1 2:x\n"):
        (tmp_path / "small").write_text(whole + text)
        with pytest.raises(DataError, match=r"small: cannot be read \("):
            registry.read(tmp_path / "small")


def table(path: Path, x: Any, y: Any) -> Path:
    rows = zip(y, x.reshape(len(x), -1).tolist(), strict=True)
    path.write_text("".join(",".join(map(str, (label, *row))) + "\n" for label, row in rows))
    return path


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("kind", ["numbers", "names", "two numbers"])
def test_the_label_of_a_table_is_no_pixel_of_a_photo(kind: str, sort: bool, tmp_path: Path) -> None:
    """The last column is a pixel with nearly as many values as there are images."""
    x = RNG.integers(0, 256, (120, 1, 6, 6)).astype(np.uint8)
    y = np.arange(120) % (2 if kind == "two numbers" else 10)
    y = np.sort(y) if sort else y
    words = [f"kind {each}" for each in y] if kind == "names" else y.tolist()
    dataset = registry.read(table(tmp_path / "a.csv", x, words), Wanted(test_fraction=0.1))
    assert dataset.classes == len(set(words))
    assert len(dataset.train) == 108


def test_a_large_table_that_is_sorted_is_sampled_all_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_table, "BLOCK", 4000)
    x = RNG.integers(0, 256, (600, 1, 6, 6)).astype(np.uint8)
    path = table(tmp_path / "a.csv", x, np.repeat(np.arange(3), 200))
    assert registry.read(path, Wanted(test_fraction=0.1)).classes == 3


def test_what_may_be_a_label_or_a_pixel_is_asked(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (60, 1, 6, 6)).astype(np.uint8)
    path = table(tmp_path / "a.csv", x, np.zeros(60, int))  # no label can be told
    with pytest.raises(DataError, match="first or the last column: --keys y=first"):
        registry.read(path, Wanted(test_fraction=0.1))
