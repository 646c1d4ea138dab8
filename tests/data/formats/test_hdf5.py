"""HDF5 datasets: every documented form loads, anything else is refused in one clear line."""

from __future__ import annotations

import contextlib
import os
import resource
import tempfile
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import hdf5, pixels, registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.data.formats.roles import ROLES
from dpcnn.errors import DataError
from dpcnn.system import safe_hdf5
from dpcnn.system.files import UnsafeFileError

SHAPE = (2, 3, 5)  # (C, H, W)
COUNT = {"train": 7, "test": 4}
CLASSES = 10


def bytes_of(part: str, shape: tuple[int, ...]) -> Any:
    """Return images (N, *shape) uint8; the two sets together hold every byte."""
    start = 0 if part == "train" else 150
    count = COUNT[part] * int(np.prod(shape))
    return ((np.arange(count) + start) % 256).astype(np.uint8).reshape(-1, *shape)


def labels_of(part: str) -> Any:
    return np.arange(COUNT[part]) * 3 % CLASSES


def contents(shape: tuple[int, ...] = SHAPE, dtype: str = "u1", **replaced: Any) -> dict[str, Any]:
    """Return the arrays of a good file, some of them replaced; None leaves one out."""
    arrays: dict[str, Any] = {}
    for part in COUNT:
        x = bytes_of(part, shape)
        arrays[f"x_{part}"] = x if dtype == "u1" else (x / 255).astype(dtype)
        arrays[f"y_{part}"] = labels_of(part)
    return {key: value for key, value in (arrays | replaced).items() if value is not None}


def store(path: Path, arrays: dict[str, Any], **how: Any) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            if isinstance(array, np.ndarray):
                file.create_dataset(key, data=array, **how)
            else:
                file[key] = array
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.hdf5"


def load(path: Path, shape: tuple[int, int, int] = SHAPE, num_class: int = CLASSES) -> Dataset:
    return registry.read(path, Wanted(shape, num_class))


def batch(images: Images) -> Any:
    """Return all images as one batch (C, H, W, N)."""
    return images.load(np.arange(len(images)))


def streamed(path: Path, shape: tuple[int, int, int] = SHAPE, num_class: int = CLASSES) -> Dataset:
    """Return the dataset with its images on the disk; the folder they may be in is deleted."""
    with tempfile.TemporaryDirectory() as folder:
        return registry.read(path, Wanted(shape, num_class), Path(folder))


def refused(path: Path, *parts: str, num_class: int = CLASSES) -> None:
    """Assert that the file is refused in one line that names it and has these parts."""
    for read in (load, streamed):
        with pytest.raises(DataError) as caught:
            read(path, num_class=num_class)
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        assert all(part in message for part in [str(path), *parts]), message


FORMS = [((1, 3, 5), (15,)), ((1, 3, 5), (3, 5)), ((1, 3, 5), (1, 3, 5)), (SHAPE, (30,))]
FORMS += [(SHAPE, SHAPE)]


@pytest.mark.parametrize(("shape", "form"), FORMS)
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("how", [{}, {"compression": "gzip", "chunks": True}])
def test_every_form_loads_as_the_same_batch(
    shape: tuple[int, int, int], form: tuple[int, ...], dtype: str, how: Any, path: Path
) -> None:
    dataset = load(store(path, contents(form, dtype), **how), shape)
    for part, images in (("train", dataset.train), ("test", dataset.test)):
        k = bytes_of(part, shape).astype(np.float32)
        expected = (k / np.float32(255)).transpose(1, 2, 3, 0)
        np.testing.assert_array_equal(batch(images), expected, strict=True)
        np.testing.assert_array_equal(images.labels, labels_of(part))


@pytest.mark.parametrize(("shape", "form"), FORMS)
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("how", [{}, {"compression": "gzip", "chunks": True}, {"chunks": True}])
@pytest.mark.parametrize("k_255", [True, False])
def test_on_the_disk_every_form_is_the_same_as_in_memory(
    shape: tuple[int, int, int],
    form: tuple[int, ...],
    dtype: str,
    how: Any,
    k_255: bool,
    path: Path,
) -> None:
    arrays = contents(form, dtype)
    if dtype != "u1" and not k_255:
        arrays["x_train"].flat[-1] = 0.3
    store(path, arrays, **how)
    in_memory, on_disk = load(path, shape), streamed(path, shape)
    assert on_disk.fingerprint() == in_memory.fingerprint()
    for a, b in ((in_memory.train, on_disk.train), (in_memory.test, on_disk.test)):
        assert (len(a), a.shape) == (len(b), b.shape)
        np.testing.assert_array_equal(batch(a), batch(b), strict=True)
        np.testing.assert_array_equal(a.labels, b.labels, strict=True)
    limited = on_disk.limited(5, 2)
    assert limited.fingerprint() == in_memory.limited(5, 2).fingerprint()


@pytest.mark.parametrize(
    ("arrays", "how", "unpacked"),
    [
        (contents(), {}, []),
        (contents(), {"chunks": True}, ["x_test", "x_train"]),
        (contents(dtype="f8"), {}, ["x_test", "x_train"]),
        (contents(dtype="f4"), {}, ["x_test", "x_train"]),
    ],
)
def test_on_the_disk_only_arrays_laid_out_differently_are_unpacked(
    arrays: Any, how: Any, unpacked: list[str], path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    registry.read(store(path, arrays, **how), Wanted(SHAPE, CLASSES), folder)
    assert sorted(file.name for file in folder.iterdir()) == unpacked


def test_floats_other_than_k_255_stay_in_the_file(path: Path) -> None:
    x = np.random.default_rng(0).random((COUNT["train"], *SHAPE), np.float32)
    train = streamed(store(path, contents(x_train=x))).train
    with h5py.File(path, "r+") as file:
        file["x_train"][2] = 0.5
    assert (train.load(np.array([2])) == 0.5).all()


def test_a_disk_too_full_to_unpack_is_one_line_with_the_cure(path: Path, tmp_path: Path) -> None:
    store(path, contents(), chunks=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(DataError, match=r"x_train cannot be unpacked .* set TMPDIR"):
            registry.read(path, Wanted(SHAPE, CLASSES), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("chunks", [(2, 1, 2, 5), (7, 1, 1, 1), (3, 2, 3, 5)])
def test_every_chunk_of_a_file_is_read_once(
    chunks: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "BLOCK", 2 * 30)  # bytes, of two images
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x_train", data=X, chunks=chunks)
        starts = [rows.start for rows in pixels.blocks(x, chunks[0])]
    assert all(start % chunks[0] == 0 for start in starts)


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_images_of_k_255_are_kept_as_bytes(dtype: str, path: Path) -> None:
    every = np.arange(256).repeat(30).reshape(-1, 30).astype(np.uint8)
    x = every if dtype == "u1" else (every / 255).astype(dtype)
    arrays = contents(x_train=x, y_train=np.zeros(256, int))
    images = load(store(path, arrays)).train.images
    np.testing.assert_array_equal(images, every.reshape(-1, *SHAPE), strict=True)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_other_floats_are_kept_as_float32(dtype: str, path: Path) -> None:
    x = np.random.default_rng(0).random((COUNT["train"], *SHAPE)).astype(dtype)
    x[0, 0, 0, :2] = 0, 1
    images = load(store(path, contents(x_train=x))).train
    np.testing.assert_array_equal(images.images, x.astype(np.float32), strict=True)
    np.testing.assert_array_equal(batch(images), x.astype(np.float32).transpose(1, 2, 3, 0))


def test_one_value_other_than_k_255_in_a_later_block_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "BLOCK", 3)
    x = (bytes_of("train", SHAPE) / 255).astype(np.float32)
    x[-1] = 0.3
    images = load(store(path, contents(x_train=x))).train.images
    np.testing.assert_array_equal(images, x, strict=True)


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("form", [(-1,), (-1, 1)])
def test_labels_of_any_integer_type_are_kept_small(
    dtype: str, form: tuple[int, ...], path: Path
) -> None:
    y = labels_of("train").astype(dtype).reshape(form)
    labels = load(store(path, contents(y_train=y))).train.labels
    np.testing.assert_array_equal(labels, labels_of("train").astype(np.uint8), strict=True)


@pytest.mark.parametrize(("largest", "classes"), [(0, 2), (1, 2), (9, 10), (255, 256), (256, 257)])
def test_the_number_of_classes_is_the_largest_training_label_and_one(
    largest: int, classes: int, path: Path
) -> None:
    y = {f"y_{part}": np.full(count, largest) for part, count in COUNT.items()}
    dataset = registry.read(store(path, contents(**y)))
    assert dataset.classes == dataset.limited(1, 1).classes == classes
    assert dataset.test.labels.dtype == np.min_scalar_type(largest)


def test_a_test_label_that_no_training_image_has_is_refused_unless_it_is_counted(
    path: Path,
) -> None:
    store(path, contents(y_train=labels_of("train") % 3, y_test=labels_of("test") * 0 + 3))
    with pytest.raises(DataError, match=r"y_test holds label 3, expected 0..2 \(--num_class 3\)"):
        registry.read(path)
    assert registry.read(path, Wanted(num_class=4)).classes == 4


@pytest.mark.parametrize("label", [65536, 2**63])
def test_more_classes_than_there_can_be_are_refused(label: int, path: Path) -> None:
    y = labels_of("train").astype("u8")
    y[2] = label
    with pytest.raises(DataError, match=rf"y_train holds label {label}, expected 0..65535"):
        registry.read(store(path, contents(y_train=y)))


def test_the_test_images_are_of_the_shape_of_the_training_images(path: Path) -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 12), np.uint8) for n in COUNT.values())
    dataset = registry.read(store(path, contents(x_train=train.reshape(-1, 3, 2, 2), x_test=test)))
    assert dataset.train.shape == dataset.test.shape == (3, 2, 2)
    test = test[:, :4]
    with pytest.raises(DataError, match=r"x_test has .*, expected \(N, 12\) or \(N, 3, 2, 2\)"):
        registry.read(store(path, contents(x_train=train.reshape(-1, 3, 2, 2), x_test=test)))


def test_more_classes_than_a_byte_holds_have_wider_labels(path: Path) -> None:
    y = np.full(COUNT["train"], 299)
    labels = load(store(path, contents(y_train=y)), num_class=300).train.labels
    np.testing.assert_array_equal(labels, y.astype(np.uint16), strict=True)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_what_is_written_is_read(dtype: str, tmp_path: Path) -> None:
    first = load(store(tmp_path / "first", contents(dtype=dtype)))
    hdf5.write(tmp_path / "second", first)
    second = load(tmp_path / "second")
    for a, b in zip(first.arrays(), second.arrays(), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    assert first.fingerprint() == second.fingerprint()


def test_reading_leaves_the_file_as_it_is(path: Path) -> None:
    store(path, contents())
    os.utime(path, (1, 1))
    before = path.read_bytes()
    path.chmod(0o444)
    load(path)
    assert path.read_bytes() == before
    assert path.stat().st_mtime == 1
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_opened_read_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(path, contents())
    modes = []
    real = h5py.File

    def spy(name: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        modes.append(mode)
        return real(name, mode, *rest, **more)

    monkeypatch.setattr(h5py, "File", spy)
    load(path)
    assert modes == ["r"]


def test_a_missing_file_is_named(path: Path) -> None:
    refused(path, "no such file", "--dataroot")


def test_a_name_no_file_can_have_is_named(tmp_path: Path) -> None:
    refused(tmp_path / ("x" * 300), "file name too long")


def test_a_directory_is_no_dataset(tmp_path: Path) -> None:
    refused(tmp_path, "a directory with nothing", "expected a folder of pictures")


@pytest.mark.parametrize("content", [b"", b"x_train,y_train\n", b"\x89HDF\r\n\x1a\n", b"\0" * 5000])
def test_another_kind_of_file_is_named(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    refused(path, "cannot be read as HDF5")


def test_a_file_cut_off_anywhere_is_refused(path: Path) -> None:
    whole = store(path, contents()).read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refused(path)


@pytest.mark.parametrize("seed", range(3))
def test_a_file_with_a_changed_byte_is_read_or_refused(seed: int, path: Path) -> None:
    whole = store(path, contents()).read_bytes()
    rng = np.random.default_rng(seed)
    for place, value in zip(rng.integers(0, len(whole), 150), rng.bytes(150), strict=True):
        path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        with contextlib.suppress(DataError):
            load(path)


@pytest.mark.parametrize("key", ROLES)
def test_a_missing_array_is_named_with_those_found(key: str, path: Path) -> None:
    store(path, contents(**{key: None}))
    refused(path, f"no array {key}", "expected x_train, y_train, x_test, y_test")


@pytest.mark.parametrize("link", [h5py.SoftLink("/gone"), h5py.ExternalLink("gone.h5", "/x")])
def test_a_link_to_nothing_is_no_array(link: Any, path: Path) -> None:
    refused(store(path, contents(y_test=link)), "y_test is a", "link", "expected an array")


def test_a_group_is_no_array(path: Path) -> None:
    store(path, contents(x_test=None))
    with h5py.File(path, "a") as file:
        file.create_group("x_test")
    refused(path, "x_test is a group, expected an array")


def test_an_empty_file_holds_nothing(path: Path) -> None:
    refused(store(path, {}), "no array", "found nothing")


X, Y = bytes_of("train", SHAPE), labels_of("train")
FLOATS = (X / 255).astype(np.float32)


def with_value(value: float, dtype: str = "f4") -> Any:
    x = FLOATS.astype(dtype)
    x[-1, -1, -1, -1] = value
    return x


IN_RANGE = "expected floats in [0, 1] or uint8"


@pytest.mark.parametrize(
    ("x", "parts"),
    [
        (X.reshape(7, 2, 15), ["shape (7, 2, 15)", "expected (N, 30) or (N, 2, 3, 5)"]),
        (X.reshape(7, 3, 2, 5), ["shape (7, 3, 2, 5)"]),
        (X[:, :, :, :4], ["shape (7, 2, 3, 4)"]),
        (X.reshape(-1), ["shape (210,)"]),
        (np.uint8(3), ["shape ()"]),
        (h5py.Empty("u1"), ["shape None"]),
        (X[:0], ["is empty", "expected at least one image"]),
        (X[:6], ["6 images in x_train", "7 labels in y_train"]),
        (with_value(np.nan), ["NaN", IN_RANGE]),
        (with_value(np.inf), ["inf", IN_RANGE]),
        (with_value(-np.inf), ["-inf", IN_RANGE]),
        (with_value(1e300, "f8"), ["1e+300", IN_RANGE]),
        (with_value(1.001), ["values from 0 to 1.001", IN_RANGE]),
        (with_value(-0.001), ["values from -0.001 to", IN_RANGE]),
        (FLOATS * 400, ["values from 0 to", IN_RANGE]),
        (FLOATS * 2.5, ["values from 0 to", IN_RANGE]),
        (X.astype("i4") - 1, ["values from -1 to 208", IN_RANGE]),
        (X.astype("i4") * 2, ["values from 0 to 418", IN_RANGE]),
        (X.astype("c8"), ["holds complex64"]),
        (X.astype("S3"), ["holds |S3"]),
    ],
)
def test_unusable_images_are_refused(x: Any, parts: list[str], path: Path) -> None:
    store(path, contents(x_train=x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(path, "x_train", *parts)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("label", [-1, 10, 255, 2**40])
def test_a_label_that_is_no_class_is_refused(part: str, label: int, path: Path) -> None:
    y = labels_of(part)
    y[-1] = label
    store(path, contents(**{f"y_{part}": y}))
    refused(path, f"y_{part} holds label {label}", "expected 0..9", "--num_class 10")


def test_fewer_classes_than_labels_are_refused(path: Path) -> None:
    refused(store(path, contents()), "label", "expected 0..2", num_class=3)


@pytest.mark.parametrize(
    ("y", "parts"),
    [
        (Y + np.float32(0.5), ["holds numbers with a fraction", "expected integers"]),
        (Y * np.nan, ["holds numbers with a fraction", "expected integers"]),
        (Y.astype("c8"), ["holds complex64", "expected integers"]),
        (np.eye(10, dtype=int)[Y] * 2, ["shape (7, 10)", "expected (N,) or (N, 1), or one-hot"]),
        (Y.reshape(7, 1, 1), ["shape (7, 1, 1)"]),
        (np.int64(3), ["shape ()"]),
        (h5py.Empty("i4"), ["shape None"]),
    ],
)
def test_unusable_labels_are_refused(y: Any, parts: list[str], path: Path) -> None:
    refused(store(path, contents(y_train=y)), "y_train", *parts)


@pytest.mark.parametrize("key", ["x_train", "y_train"])
def test_an_array_much_larger_than_its_file_is_refused(key: str, path: Path) -> None:
    store(path, contents(**{key: None}))
    shape = (2**45, 30) if key == "x_train" else (2**50,)
    with h5py.File(path, "a") as file:
        file.create_dataset(key, shape, np.uint8, chunks=True)
    refused(path, f"{key} takes", "bytes, expected at most")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("encoding", [pixels.UNIT, pixels.BYTES, pixels.SIGNED])
def test_a_rounding_beyond_black_and_white_is_clipped(
    dtype: str, encoding: pixels.Encoding, path: Path
) -> None:
    """Such as of (x - min) / (max - min); streamed it is as in memory."""
    x = np.linspace(encoding.low, encoding.high, 7 * 15).reshape(7, 15).astype(dtype)
    x.flat[0], x.flat[-1] = (np.nextafter(x.flat[at], end) for at, end in ((0, -9), (-1, 999)))
    store(path, contents((1, 3, 5), x_train=x, x_test=x[:4]))
    in_memory, on_disk = load(path, (1, 3, 5)), streamed(path, (1, 3, 5))
    assert (batch(in_memory.train).min(), batch(in_memory.train).max()) == (0, 1)
    np.testing.assert_array_equal(batch(in_memory.train), batch(on_disk.train))
    assert in_memory.fingerprint() == on_disk.fingerprint()


def test_values_further_beyond_are_named_as_they_are(path: Path) -> None:
    x = np.full((7, *SHAPE), 0.5)
    x.flat[-1] = 1.00001
    store(path, contents(x_train=x))
    refused(path, "x_train holds values from 0.5 to 1.00001, expected floats in [0, 1] or uint8")


def test_bytes_of_only_0_and_1_are_warned_of(path: Path) -> None:
    x = np.arange(7 * 30).reshape(7, *SHAPE) % 2
    store(path, contents(x_train=x.astype(np.uint8)))
    [warning] = load(path).warnings
    assert warning.startswith(f"{path}: x_train holds only the bytes 0 and 1, which are read as 0/")
    store(path, contents(x_train=x.astype(bool), x_test=x[:4].astype(bool)))
    assert load(path).warnings == ()
    assert batch(load(path).train).max() == 1


def test_a_virtual_array_of_the_own_file_is_read(path: Path) -> None:
    arrays = contents()
    x, other = arrays.pop("x_train"), arrays.pop("x_test")
    with h5py.File(store(path, arrays), "a") as file:
        layout = h5py.VirtualLayout(x.shape, x.dtype)
        for half, rows in (("a", slice(0, 5)), ("b", slice(5, len(x)))):
            stored = file.create_dataset(f"parts/{half}", data=x[rows], compression="gzip")
            layout[rows] = h5py.VirtualSource(stored)
        file.create_virtual_dataset("x_train", layout)
        file["x_test"] = other
    np.testing.assert_array_equal(load(path).train.images, x)
    np.testing.assert_array_equal(streamed(path).train.images[:], x)
    with h5py.File(path, "a") as file:  # one virtual array of another
        del file["x_test"]
        layout = h5py.VirtualLayout(other.shape, x.dtype)
        layout[...] = h5py.VirtualSource(file["x_train"])[: len(other)]
        file.create_virtual_dataset("x_test", layout)
    refused(path, "x_test is made of the virtual x_train, expected stored arrays")


def test_one_large_chunk_is_read_if_the_memory_holds_it(tmp_path: Path) -> None:
    """Nothing of it is stored here: how much it takes is known before."""
    with h5py.File(tmp_path / "large.h5", "w") as file:
        for name, images in (("large", 50_000), ("huge", 500_000)):
            shape = (images, 28, 28)
            file.create_dataset(name, shape, "f8", chunks=shape, maxshape=(None, 28, 28))
        if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") > 3 << 30:
            assert safe_hdf5.array(file, "large", 1 << 40).chunks == (50_000, 28, 28)
        with pytest.raises(UnsafeFileError, match="huge takes 3,136,000,000 bytes"):
            safe_hdf5.array(file, "huge", 2 << 30)


def test_a_large_chunk_is_one_block() -> None:
    x = np.lib.stride_tricks.as_strided(np.zeros(1), (90_000, 28, 28), (0, 0, 0))
    assert [*pixels.blocks(x, chunk=60_000)] == [slice(0, 60_000), slice(60_000, 90_000)]
