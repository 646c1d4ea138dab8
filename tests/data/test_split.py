"""The validation set: balanced, fixed, apart from what is trained on, in memory and on a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.loader import Loader
from dpcnn.data.split import shares, stratified, validation_count, with_validation
from dpcnn.errors import OptionError

Array = NDArray[Any]

sweep = settings(max_examples=50, deadline=None)
LABELS = st.lists(st.integers(0, 6), min_size=2, max_size=60).map(lambda x: np.array(x, np.uint8))


def images(labels: Array) -> Images:
    """Return images (N, 1, 2, 2) that can be told apart."""
    pixels = np.arange(4 * labels.size, dtype=np.float32).reshape(-1, 1, 2, 2)
    return Images(pixels / pixels.size, labels)


def dataset(labels: Array) -> Dataset:
    return Dataset(images(labels), images(np.zeros(3, np.uint8)), "drawn", 10)


@sweep
@given(LABELS, st.data(), st.integers(0, 2**63 - 1))
def test_the_choice_is_balanced(labels: Array, data: st.DataObject, seed: int) -> None:
    count = data.draw(st.integers(0, labels.size))
    chosen = stratified(labels, count, seed)
    assert chosen.size == count
    assert np.all(np.diff(chosen) > 0)
    of_class = np.bincount(labels[chosen], minlength=7)
    exact = np.bincount(labels, minlength=7) * count / labels.size
    assert np.all(np.abs(of_class - exact) < 1)
    np.testing.assert_array_equal(stratified(labels, count, seed), chosen)


@sweep
@given(st.lists(st.integers(0, 10**9), min_size=1), st.data())
def test_shares_are_exact_whatever_the_numbers(counts: list[int], data: st.DataObject) -> None:
    total = sum(counts) or counts.append(1) or 1
    count = data.draw(st.integers(0, total))
    found = shares(np.array(counts), count)
    assert found.sum() == count
    for share, images_of_class in zip(found.tolist(), counts, strict=True):
        assert share <= images_of_class
        assert abs(share * total - count * images_of_class) < total


@sweep
@given(LABELS, st.data(), st.integers(0, 9))
def test_both_parts_make_the_training_set(labels: Array, data: st.DataObject, seed: int) -> None:
    whole = dataset(labels)
    parts = with_validation(whole, data.draw(st.integers(1, labels.size - 1)), seed, 1)
    assert parts.validation is not None
    together = [
        (float(row[0, 0, 0]), int(label))
        for part in (parts.train, parts.validation)
        for row, label in zip(part.rows(np.arange(len(part))), part.labels, strict=True)
    ]
    rows = whole.train.images[:, 0, 0, 0].tolist()
    assert sorted(together) == sorted(zip(rows, labels.tolist(), strict=True))


@sweep
@given(LABELS, st.data())
def test_a_subset_of_a_subset_counts_within_it(labels: Array, data: st.DataObject) -> None:
    whole = images(labels)
    first = np.array(data.draw(st.lists(st.integers(0, labels.size - 1), min_size=1)))
    second = np.array(data.draw(st.lists(st.integers(0, first.size - 1), min_size=1)))
    twice = whole.subset(first).subset(second)
    every = np.arange(len(twice))
    np.testing.assert_array_equal(twice.rows(every), whole.images[first[second]])
    np.testing.assert_array_equal(twice.labels, labels[first[second]])
    np.testing.assert_array_equal(twice.first(1).rows(every[:1]), twice.rows(every[:1]))
    assert len(twice.first(1)) == 1


def test_the_seed_decides_which_images_are_chosen() -> None:
    labels = np.arange(100) % 10
    assert stratified(labels, 20, 0).tolist() != stratified(labels, 20, 1).tolist()


@pytest.mark.parametrize(
    ("size", "count"), [(0.1, 10), (0.5, 50), (0.994, 99), (1, 1), (1.0, 1), (30, 30), (30.0, 30)]
)
def test_a_share_or_a_number(size: float, count: int) -> None:
    assert validation_count(size, 100) == count


@pytest.mark.parametrize("size", [1.5, 0.004, 0.996, 97, 100, 1000])
def test_a_size_that_cannot_be_is_refused(size: float) -> None:
    with pytest.raises(OptionError, match="--validation is ") as caught:
        with_validation(dataset(np.zeros(100, np.uint8)), size, seed=0, world_size=4)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_validation_set_the_dataset_is_the_same() -> None:
    whole = dataset(np.zeros(5, np.uint8))
    assert with_validation(whole, None, 0, 1) is whole


def test_streamed_images_are_set_apart_too(tmp_path: Path) -> None:
    """The loader reads of the file what is trained on, each image once an epoch."""
    labels = np.arange(60, dtype=np.uint8) % 6
    in_memory = dataset(labels)
    streamed = Images(StoredArray.of(in_memory.train.images, tmp_path / "x_train"), labels)
    on_disk = Dataset(streamed, in_memory.test, "stored", 10)
    expected, parts = (with_validation(each, 0.2, 3, 1) for each in (in_memory, on_disk))
    assert expected.validation is not None
    assert parts.validation is not None
    every = np.arange(12)
    np.testing.assert_array_equal(parts.validation.rows(every), expected.validation.rows(every))
    loader = Loader(parts.train, 10, 4)
    seen = [
        (pixels[0, 0, 0], label)
        for minibatch in loader.minibatches(1)
        for _, x, labels_of_x, _ in minibatch.microbatches
        for pixels, label in zip(np.moveaxis(x, 3, 0), labels_of_x, strict=True)
    ]
    rows = expected.train.rows(np.arange(48))[:, 0, 0, 0]
    assert sorted(seen) == sorted(zip(rows, expected.train.labels, strict=True))
