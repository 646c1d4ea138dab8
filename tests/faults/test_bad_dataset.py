"""Whatever is wrong with a dataset is one line, which names the file, and exit code 2.

Nothing is left behind: see conftest.py for what is checked of each case.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

Check = Callable[..., None]


def put(key: str, value: Any, dtype: Any = None) -> Callable[[h5py.File], None]:
    """Return what replaces an array of a dataset by another; None only removes it."""

    def change(file: h5py.File) -> None:
        del file[key]
        if value is not None:
            file.create_dataset(key, data=value, dtype=dtype)

    return change


def at(key: str, place: int, value: Any, dtype: Any) -> Callable[[h5py.File], None]:
    """Return what replaces one value of an array, after making it float or integer."""

    def change(file: h5py.File) -> None:
        array = (file[key][()] / (255 if key[0] == "x" else 1)).astype(dtype)
        array.flat[place] = value
        put(key, array)(file)

    return change


UNIT = "expected floats in [0, 1] or uint8"
NUMBERS = "expected integers or floats"
INTEGERS = "expected integers"
ANY = "expected (N, C*H*W) or (N, C, H, W) or (N, H, W)"
ROWS = "expected rows of square images of 1 or 3 channels: name --num_channel, --img_height, --img"
IMAGE = "expected (N, 784) or (N, 1, 28, 28) or (N, 28, 28)"
LABEL = "expected (N,) or (N, 1)"
FILE = "expected a dataset like MNISTdata.hdf5"
TEXT = h5py.string_dtype()
PAIR = np.dtype([("a", "f4"), ("b", "f4")])
ONES = np.ones((8, 784))

# What is done to the arrays of a sound dataset, and what the line must say besides its name.
ARRAYS: dict[str, tuple[Callable[[h5py.File], Any], tuple[str, ...]]] = {
    "no key": (put("y_test", None), ("no array y_test; found ", "expected x_train, y_train")),
    "no keys at all": (lambda file: file.clear(), ("no array x_train, y_train", "found nothing")),
    "group": (
        lambda file: (put("x_test", None)(file), file.create_group("x_test")),
        ("x_test is a group", "expected an array"),
    ),
    "flat image of another size": (put("x_train", ONES[:, 1:]), ("x_train has shape", ROWS)),
    "width": (put("x_test", np.ones((4, 28, 27))), ("x_test has shape (4, 28, 27)", IMAGE)),
    "five axes": (put("x_train", np.ones((8, 1, 1, 28, 28))), ("(8, 1, 1, 28, 28)", ANY)),
    "one axis": (put("x_train", np.ones(8)), ("x_train has shape (8,)", ANY)),
    "one number": (put("x_train", 0.5), ("x_train has shape ()", ANY)),
    "null": (
        put("x_train", h5py.Empty("f4")),
        ("x_train has shape None", "expected an array of images"),
    ),
    "no images": (put("x_train", ONES[:0]), ("x_train is empty, expected at least one",)),
    "fewer labels": (put("y_train", [1] * 7), ("8 images in x_train, 7 labels in y_train",)),
    "more labels": (put("y_test", [1] * 5), ("4 images in x_test, 5 labels", "a label for each")),
    "strings": (put("x_train", [["a"] * 784] * 8, TEXT), ("x_train holds object", NUMBERS)),
    "complex": (put("x_train", ONES + 0j), ("x_train holds complex128", NUMBERS)),
    "compound": (put("x_train", np.zeros((8, 784), PAIR)), ("x_train holds [('a'", NUMBERS)),
    "int64": (put("x_train", -np.ones((8, 784), int)), ("values from -1 to -1", UNIT)),
    "NaN": (at("x_train", 9, np.nan, "f4"), ("x_train holds NaN", UNIT)),
    "inf": (at("x_test", 9, np.inf, "f8"), ("x_test holds values from 0 to inf", UNIT)),
    "minus inf": (at("x_test", 9, -np.inf, "f4"), ("x_test holds values from -inf to 1", UNIT)),
    "past 255": (put("x_train", ONES * 256), ("x_train holds values from 256 to 256", UNIT)),
    "negative": (at("x_train", 0, -0.1, "f2"), ("x_train holds values from -0.0", UNIT)),
    "float labels": (put("y_train", ONES[:, 0] / 2), ("numbers with a fraction", INTEGERS)),
    "text labels": (put("y_test", ["one"] * 4, TEXT), ("y_test holds text", INTEGERS)),
    "negative label": (at("y_train", 3, -1, "i8"), ("y_train holds label -1", "0..9")),
    "label too large": (at("y_test", 3, 10, "u1"), ("y_test holds label 10", "--num_class 10")),
    "label past 32 bits": (at("y_test", 3, 2**63, "u8"), ("holds label 9223372036854775808",)),
    "one-hot labels": (
        put("y_train", 2 * np.eye(8, dtype=int)),
        ("y_train has shape (8, 8)", LABEL),
    ),
    "two labels": (put("y_train", np.ones((8, 2), int)), ("y_train has shape (8, 2)", LABEL)),
    "one class": (
        put("y_train", [9] * 8),
        ("images to train on are of class 9", "least 2 classes"),
    ),
    "one label": (put("y_test", 3), ("y_test has shape ()", LABEL)),
    "no label": (put("y_test", np.zeros(0, int)), ("4 images in x_test, 0 labels",)),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_a_bad_array_is_refused(case: str, here: Path, check_refusal: Check) -> None:
    change, parts = ARRAYS[case]
    with h5py.File(here / "data.hdf5", "r+") as file:
        change(file)
    check_refusal(parts=("data.hdf5: ", *parts))


@pytest.mark.parametrize("case", ["no key", "label too large"])
def test_two_ranks_refuse_a_bad_array_in_one_line(
    case: str, here: Path, check_refusal: Check
) -> None:
    change, parts = ARRAYS[case]
    with h5py.File(here / "data.hdf5", "r+") as file:
        change(file)
    check_refusal(parts=("data.hdf5: ", *parts), ranks=2)


def flip(content: bytes, *places: int) -> bytes:
    """Return the bytes with all bits of some of them turned."""
    return bytes(byte ^ 0xFF if place in places else byte for place, byte in enumerate(content))


# What becomes of the bytes of a sound dataset.
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "text": lambda content: b"x_train = 1\n" * 100,
    "gzip": gzip.compress,
    "gzip cut off": lambda content: gzip.compress(content)[:1000],
    "signature alone": lambda content: content[:8],
    "cut in the header": lambda content: content[:64],
    "cut in the data": lambda content: content[: len(content) // 2],
    "cut by a byte": lambda content: content[:-1],
    "signature flipped": lambda content: flip(content, 0),
    "version flipped": lambda content: flip(content, 8),
    "sizes flipped": lambda content: flip(content, 13, 14),
    "root flipped": lambda content: flip(content, *range(64, 72)),
    "zeros": lambda content: bytes(len(content)),
    "line ends converted": lambda content: content.replace(b"\r\n", b"\n"),
}


@pytest.mark.parametrize("case", BYTES)
def test_a_bad_file_is_refused(case: str, here: Path, check_refusal: Check) -> None:
    path = here / "data.hdf5"
    path.write_bytes(BYTES[case](path.read_bytes()))
    check_refusal(parts=("data.hdf5: cannot be read as HDF5 (", FILE))


def test_two_ranks_refuse_a_bad_file_in_one_line(here: Path, check_refusal: Check) -> None:
    path = here / "data.hdf5"
    path.write_bytes(BYTES["cut in the data"](path.read_bytes()))
    check_refusal(parts=("data.hdf5: cannot be read as HDF5 (", FILE), ranks=2)


def test_a_folder_of_no_known_kind_says_what_it_holds(here: Path, check_refusal: Check) -> None:
    found = "folder: a directory with nothing, expected a folder of pictures for each class"
    check_refusal("--dataroot", "folder", parts=(found,))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("fifo", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("dangling", "no such file or directory"),
        ("garbage/data.hdf5", "not a directory"),
        ("n" * 300, "file name too long"),
    ],
)
def test_what_is_no_file_is_refused(name: str, found: str, check_refusal: Check) -> None:
    check_refusal("--dataroot", name, parts=(f"{name}: {found}, expected an HDF5 dataset",))
