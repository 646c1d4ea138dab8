"""Datasets: how images load, what a fingerprint covers, what the ranks of a node share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpcnn.data.dataset import Dataset, Images, check, write_mapped
from dpcnn.data.shapes import ANY
from dpcnn.errors import DataError

SHAPE = (2, 3, 5)


def images(count: int, dtype: str = "u1", labels: str = "u1") -> Images:
    x = np.arange(count * 30).reshape(count, *SHAPE) * 7 % 256
    pixels = x.astype("u1") if dtype == "u1" else (x / 256).astype(dtype)
    return Images(pixels, (np.arange(count) % 4).astype(labels))


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(images(5), images(3), "a test", 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_are_loaded_as_exactly_k_255(dtype: Any) -> None:
    every = Images(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), np.zeros(1, np.uint8))
    x = every.load(np.array([0]), dtype)
    np.testing.assert_array_equal(x.ravel(), np.arange(256).astype(dtype) / dtype(255), strict=True)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("chosen", [[3, 0, 3], [], [4]])
def test_the_chosen_images_are_loaded_batch_innermost(dtype: str, chosen: list[int]) -> None:
    source = images(5, dtype)
    x = source.load(np.array(chosen, np.int64))
    scale = np.float32(255 if dtype == "u1" else 1)
    expected = source.images[np.array(chosen, int)].astype("f4").transpose(1, 2, 3, 0) / scale
    np.testing.assert_array_equal(x, expected, strict=True)
    assert x.flags.c_contiguous


@pytest.mark.parametrize(
    ("limits", "lengths"), [((2, 1), (2, 1)), ((None, 1), (5, 1)), ((9, None), (5, 3))]
)
def test_limits_take_the_first_images(limits: Any, lengths: Any, dataset: Dataset) -> None:
    limited = dataset.limited(*limits)
    assert (len(limited.train), len(limited.test)) == lengths
    np.testing.assert_array_equal(limited.train.images, dataset.train.images[: lengths[0]])
    np.testing.assert_array_equal(limited.test.labels, dataset.test.labels[: lengths[1]])


def test_equal_content_has_an_equal_fingerprint(dataset: Dataset) -> None:
    again = Dataset(images(5), images(3), "from elsewhere", 4)
    assert again.fingerprint() == dataset.fingerprint()
    strided = Images(np.repeat(dataset.train.images, 2, axis=0)[::2], dataset.train.labels)
    assert Dataset(strided, dataset.test, "", 4).fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize("array", range(4))
def test_every_element_is_in_the_fingerprint(array: int, dataset: Dataset) -> None:
    before, seen = dataset.fingerprint(), set()
    values = dataset.arrays()[array].reshape(-1)
    for place in range(values.size):
        values[place] ^= 1
        seen.add(dataset.fingerprint())
        values[place] ^= 1
    assert len(seen) == values.size
    assert before not in seen
    assert dataset.fingerprint() == before


def test_shape_type_limit_and_order_are_in_the_fingerprint(dataset: Dataset) -> None:
    train, test = dataset.train, dataset.test
    others = [
        dataset,
        Dataset(Images(train.images.reshape(5, 3, 2, 5), train.labels), test, "", 4),
        Dataset(Images(train.images, train.labels.view("i1")), test, "", 4),
        Dataset(test, train, "", 4),
        dataset.limited(4, None),
        dataset.limited(None, 2),
        dataset.limited(4, 0),
    ]
    assert len({other.fingerprint() for other in others}) == len(others)


@pytest.mark.parametrize("types", [("u1", "u2"), ("f4", "u1"), ("f4", "u4"), ("u1", "u1")])
@pytest.mark.parametrize("counts", [(5, 3), (1, 1), (7, 2)])
def test_mapped_arrays_are_the_arrays(
    types: tuple[str, str], counts: tuple[int, int], tmp_path: Path
) -> None:
    dataset = Dataset(images(counts[0], *types), images(counts[1], "u1", types[1]), "a test", 4)
    path = tmp_path / "mapped"
    mapped = write_mapped(dataset, path).open()
    path.unlink()
    assert mapped.source == dataset.source
    assert mapped.fingerprint() == dataset.fingerprint()
    for array, expected in zip(mapped.arrays(), dataset.arrays(), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
        assert array.flags.aligned
        assert not array.flags.writeable
    every = np.arange(counts[0])
    np.testing.assert_array_equal(mapped.train.load(every), dataset.train.load(every))


@pytest.mark.parametrize("size", [1, 5])
def test_a_dataset_that_fits_passes(size: int, dataset: Dataset) -> None:
    for named in (SHAPE, ANY, (None, 3, None)):
        check(dataset, named, world_size=size)


@pytest.mark.parametrize(
    ("limits", "named", "classes", "size", "parts"),
    [
        ((0, 1), ANY, 4, 1, ["x_train is empty", "at least one image"]),
        ((1, 0), ANY, 4, 1, ["x_test is empty", "at least one image"]),
        ((5, 3), ANY, 3, 1, ["y_train holds label 3", "expected 0..2", "--num_class 3"]),
        ((1, 3), ANY, 2, 1, ["y_test holds label 2", "expected 0..1"]),
        ((5, 3), (1, 3, None), 4, 1, ["2x3x5", "expected --num_channel 1, --img_height 3"]),
        ((5, 3), SHAPE, 4, 6, ["5 training images for 6 ranks", "start fewer ranks"]),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(
    limits: Any, named: Any, classes: int, size: int, parts: list[str], dataset: Dataset
) -> None:
    with pytest.raises(DataError) as caught:
        check(replace(dataset.limited(*limits), classes=classes), named, size)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(part in message for part in ["a test", *parts])
