"""The loader: the same micro-batches in the same order for any ranks, first step and storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpcnn.data import sampler
from dpcnn.data.dataset import Images
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.loader import Loader, Minibatch
from dpcnn.data.sampler import StreamOrder
from dpcnn.errors import ReadError

COUNT = 90
SHAPE = (2, 3, 5)

sweep = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Case(NamedTuple):
    """How many images there are, the windows they are streamed in, and how they are sharded."""

    length: int = COUNT
    chunk: int = 7  # images
    window: int = 3  # chunks
    minibatch: int = 20
    microbatch: int = 4
    world: int = 1


USUAL = Case()
cases = st.builds(
    Case,
    length=st.integers(1, COUNT),
    chunk=st.integers(1, 12),
    window=st.integers(1, 5),
    minibatch=st.integers(1, 100),
    microbatch=st.integers(1, 20),
    world=st.integers(1, 8),
)


@pytest.fixture(scope="module")
def in_memory() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), np.uint8)
    return Images(pixels, np.arange(COUNT, dtype=np.uint8))


@pytest.fixture(scope="module")
def streamed(in_memory: Images, tmp_path_factory: pytest.TempPathFactory) -> Images:
    path = tmp_path_factory.mktemp("streamed") / "images"
    return Images(StoredArray.of(in_memory.images, path), in_memory.labels)


@pytest.fixture(params=["in memory", "streamed"])
def images(request: pytest.FixtureRequest, in_memory: Images, streamed: Images) -> Images:
    return in_memory if request.param == "in memory" else streamed


def loader(images: Images, case: Case = USUAL, **shuffling: Any) -> Loader:
    class SmallWindows(Loader):
        def order(self, epoch: int) -> sampler.Order:
            order = super().order(epoch)
            if isinstance(order, StreamOrder):
                return replace(order, chunk=case.chunk, window=case.window)
            return order

    return SmallWindows(images.first(case.length), case.minibatch, case.microbatch, **shuffling)


def contents(minibatches: Iterator[Minibatch]) -> list[Any]:
    """Return the size of each minibatch and its micro-batches as bytes and labels."""
    return [
        (size, [(number, x.tobytes(), labels.tolist()) for number, x, labels, _ in microbatches])
        for size, microbatches in minibatches
    ]


@sweep
@given(cases, st.sampled_from(sampler.SHUFFLES))
def test_micro_batches_are_the_order_s_images_batch_innermost(
    images: Images, case: Case, shuffle: str
) -> None:
    made = loader(images, case, seed=3, shuffle=shuffle)
    order = made.order(2)
    position = 0
    for size, microbatches in made.minibatches(2):
        assert size == min(case.minibatch, case.length - position)
        end = position + size
        for expected_number, (number, x, labels, _) in enumerate(microbatches):
            assert number == expected_number
            indices = order[position : min(position + case.microbatch, end)]
            np.testing.assert_array_equal(x, images.load(indices), strict=True)
            np.testing.assert_array_equal(labels, images.labels[indices], strict=True)
            assert (x.shape, x.dtype) == ((*SHAPE, len(indices)), np.float32)
            assert x.flags.c_contiguous
            position += len(indices)
        assert position == end
    assert position == case.length


@sweep
@given(cases)
def test_the_ranks_micro_batches_together_are_those_of_one_rank(images: Images, case: Case) -> None:
    made = loader(images, case)
    ranks = [contents(made.minibatches(1, 0, rank, case.world)) for rank in range(case.world)]
    alone = contents(made.minibatches(1))
    assert len(alone) == made.steps
    for (size, microbatches), *shards in zip(alone, *ranks, strict=True):
        assert [shard_size for shard_size, _ in shards] == [size] * case.world
        assert list(chain(*(shard for _, shard in shards))) == microbatches


@sweep
@given(cases, st.data())
def test_from_any_step_on_it_yields_the_rest_of_the_epoch(
    images: Images, case: Case, data: st.DataObject
) -> None:
    made = loader(images, case)
    first = data.draw(st.integers(0, made.steps))
    rank = data.draw(st.integers(0, case.world - 1))
    whole = contents(made.minibatches(1, 0, rank, case.world))
    assert contents(made.minibatches(1, first, rank, case.world)) == whole[first:]


@sweep
@given(cases, st.data())
def test_an_abandoned_iterator_changes_nothing_for_the_next(
    images: Images, case: Case, data: st.DataObject
) -> None:
    """As after a death, when the survivors shard the rest of the epoch anew."""
    made, undisturbed = loader(images, case), loader(images, case)
    step = data.draw(st.integers(0, made.steps - 1))
    abandoned = made.minibatches(1, 0, case.world - 1, case.world)
    next(next(islice(abandoned, step, None)).microbatches, None)
    assert contents(made.minibatches(1, step)) == contents(undisturbed.minibatches(1))[step:]
    del abandoned
    assert contents(made.minibatches(2)) == contents(undisturbed.minibatches(2))


@sweep
@given(cases)
def test_iterators_can_be_used_in_turn(images: Images, case: Case) -> None:
    made = loader(images, case)
    whole = contents(made.minibatches(1))
    one, other = made.minibatches(1), made.minibatches(1)
    for minibatch in whole:
        assert contents(islice(one, 1)) == contents(islice(other, 1)) == [minibatch]


def test_micro_batches_that_are_not_asked_for_are_skipped(images: Images) -> None:
    made = loader(images)
    first_ones = [next(microbatches).labels.tolist() for _, microbatches in made.minibatches(1)]
    order = made.order(1)
    assert first_ones == [order[start : start + 4].tolist() for start in range(0, COUNT, 20)]


def test_after_an_error_no_minibatch_is_silently_smaller(in_memory: Images, tmp_path: Path) -> None:
    on_disk = Images(StoredArray.of(in_memory.images, tmp_path / "images"), in_memory.labels)
    made = loader(on_disk, Case(chunk=15, window=1, minibatch=15, microbatch=5), shuffle="none")
    os.truncate(tmp_path / "images", 25 * 30)
    minibatches = made.minibatches(1)
    assert len(contents(islice(minibatches, 1))[0][1]) == 3
    with pytest.raises(ReadError):
        next(next(minibatches).microbatches)
    with pytest.raises(RuntimeError):
        contents(minibatches)


class Recorded(Images):
    """Images that count the rows read from them."""

    def rows(self, indices: Any) -> Any:
        counted.append(len(indices))
        return super().rows(indices)


counted: list[int] = []


def test_images_in_memory_are_loaded_a_micro_batch_at_a_time(in_memory: Images) -> None:
    counted.clear()
    made = Loader(Recorded(in_memory.images, in_memory.labels), 20, 8)
    for step, (_, microbatches) in enumerate(islice(made.minibatches(1), 3)):
        assert sum(counted) == 20 * step
        for number, _, labels, _ in microbatches:
            assert sum(counted) == 20 * step + 8 * number + len(labels)


def test_an_order_depends_on_seed_epoch_and_shuffle(images: Images) -> None:
    def order(epoch: int, **how: Any) -> list[int]:
        return Loader(images, 10, 5, **how).order(epoch)[:].tolist()

    orders = [order(1), order(2), order(1, seed=1), order(1, shuffle="none")]
    assert len({tuple(images) for images in orders}) == 4
    assert order(1, shuffle="once") == order(2, shuffle="once")
    assert all(sorted(images) == list(range(COUNT)) for images in orders)
