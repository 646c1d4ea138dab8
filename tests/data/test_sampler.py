"""Orders are permutations, and steps and shards partition them, for any sizes and ranks."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.data.sampler import (
    SHUFFLES,
    StreamOrder,
    auto_microbatch_size,
    epoch_order,
    images_in_epoch,
    minibatch,
    shard,
    shard_bounds,
    steps_in_epoch,
    stream_order,
)

sweep = settings(derandomize=True, deadline=None, max_examples=100)
sizes = st.integers(1, 9)  # world sizes


@sweep
@given(
    st.integers(0, 300),
    st.integers(0, 2**63),
    st.integers(1, 99),
    st.sampled_from(("epoch", "once")),
)
def test_an_order_is_a_permutation(images: int, seed: int, epoch: int, shuffle: str) -> None:
    order = epoch_order(images, seed, epoch, shuffle)
    np.testing.assert_array_equal(np.sort(order), np.arange(images))


def test_an_order_depends_on_seed_and_epoch_only() -> None:
    first = epoch_order(100, seed=1, epoch=1)
    np.random.default_rng().permutation(100)
    np.testing.assert_array_equal(epoch_order(100, seed=1, epoch=1), first)
    assert not np.array_equal(epoch_order(100, seed=1, epoch=2), first)
    assert not np.array_equal(epoch_order(100, seed=2, epoch=1), first)


def test_shuffled_once_the_order_depends_on_the_seed_alone() -> None:
    first = epoch_order(100, seed=1, epoch=1, shuffle="once")
    np.testing.assert_array_equal(epoch_order(100, seed=1, epoch=2, shuffle="once"), first)
    assert not np.array_equal(epoch_order(100, seed=2, epoch=1, shuffle="once"), first)


def test_unshuffled_the_order_is_that_of_the_file() -> None:
    assert epoch_order(4, seed=1, epoch=3, shuffle="none").tolist() == [0, 1, 2, 3]


@sweep
@given(st.integers(0, 300), st.integers(1, 80))
def test_steps_drop_and_pad_nothing_and_only_the_last_is_smaller(images: int, size: int) -> None:
    order = epoch_order(images, seed=0, epoch=1)
    steps = [minibatch(order, step, size) for step in range(steps_in_epoch(images, size))]
    np.testing.assert_array_equal(np.concatenate([order[:0], *steps]), order)
    assert all(step.size == size for step in steps[:-1])
    assert all(step.size > 0 for step in steps)


@sweep
@given(st.integers(0, 130), st.integers(1, 20), sizes)
def test_shards_partition_the_minibatch_in_order(count: int, microbatch: int, size: int) -> None:
    images = epoch_order(count, seed=0, epoch=1)
    shards = [shard(images, microbatch, rank, size) for rank in range(size)]
    on_all_ranks = [micro.tolist() for run in shards for micro in run]
    assert on_all_ranks == [micro.tolist() for micro in shard(images, microbatch)]
    assert [image for micro in on_all_ranks for image in micro] == images.tolist()
    assert all(len(micro) == microbatch for micro in on_all_ranks[:-1])
    assert all(on_all_ranks)


@sweep
@given(st.integers(0, 130), st.integers(1, 60), st.integers(1, 20), sizes)
def test_positions_are_sharded_as_the_images_at_them(
    count: int, minibatch_size: int, microbatch: int, size: int
) -> None:
    order = epoch_order(count, seed=0, epoch=1)
    for step in range(steps_in_epoch(count, minibatch_size)):
        positions = minibatch(range(count), step, minibatch_size)
        images = minibatch(order, step, minibatch_size)
        for rank in range(size):
            at_positions = [
                order[p.start : p.stop] for p in shard(positions, microbatch, rank, size)
            ]
            by_images = shard(images, microbatch, rank, size)
            assert [*map(np.ndarray.tolist, at_positions)] == [*map(np.ndarray.tolist, by_images)]


@sweep
@given(st.integers(0, 130), st.integers(1, 20), sizes, st.integers(1, 3))
def test_a_rest_of_too_few_images_goes_with_the_micro_batch_before_it(
    count: int, microbatch: int, size: int, fewest: int
) -> None:
    images = epoch_order(count, seed=0, epoch=1)
    runs = [shard(images, microbatch, rank, size, fewest) for rank in range(size)]
    lengths = [len(micro) for run in runs for micro in run]
    together = np.concatenate([images[:0], *(micro for run in runs for micro in run)])
    np.testing.assert_array_equal(together, images)
    assert all(length == microbatch for length in lengths[:-1])
    if len(lengths) > 1:
        assert min(fewest, microbatch) <= lengths[-1] < microbatch + fewest


@pytest.mark.parametrize(
    ("images", "size", "fewest", "visited"),
    [(130, 64, 1, 130), (130, 64, 2, 130), (129, 64, 2, 128), (130, 64, 64, 128), (1, 64, 2, 0)],
)
def test_a_last_minibatch_of_too_few_images_is_dropped(
    images: int, size: int, fewest: int, visited: int
) -> None:
    assert images_in_epoch(images, size, fewest) == visited


@sweep
@given(st.integers(0, 200), sizes)
def test_runs_differ_by_at_most_one(count: int, size: int) -> None:
    bounds = [shard_bounds(count, rank, size) for rank in range(size)]
    lengths = [last - first for first, last in bounds]
    assert sum(lengths) == count
    assert max(lengths) - min(lengths) <= 1


def test_with_fewer_micro_batches_than_ranks_some_shards_are_empty() -> None:
    shards = [shard(np.arange(20), 16, rank, size=3) for rank in range(3)]
    assert sorted(map(len, shards)) == [0, 1, 1]


@pytest.mark.parametrize(
    ("minibatch_size", "size", "expected"),
    [
        (64, 1, 16),
        (64, 2, 16),
        (64, 3, 16),
        (64, 4, 16),
        (64, 5, 15),
        (64, 8, 9),
        (127, 1, 16),
        (128, 1, 32),
        (128, 4, 32),
        (128, 8, 18),
        (4096, 1, 32),
        (8, 1, 8),
        (3, 9, 1),
    ],
)
def test_auto_microbatch_size(minibatch_size: int, size: int, expected: int) -> None:
    assert auto_microbatch_size(minibatch_size, size) == expected


@sweep
@given(sizes, st.integers(0, 200))
def test_every_rank_has_work_if_there_are_enough_images(size: int, more: int) -> None:
    images = np.arange(size + more)
    microbatch = auto_microbatch_size(images.size, size)
    assert 1 <= microbatch <= auto_microbatch_size(images.size) <= 32
    assert all(shard(images, microbatch, rank, size) for rank in range(size))


orders = st.builds(
    StreamOrder,
    images=st.integers(0, 300),
    chunk=st.integers(1, 40),
    window=st.integers(1, 9),
    key=st.none() | st.tuples(st.integers(0, 2**63), st.integers(0, 99)),
)


@sweep
@given(orders)
def test_a_stream_order_is_a_permutation(order: StreamOrder) -> None:
    assert len(order) == order.images
    np.testing.assert_array_equal(np.sort(order[:]), np.arange(order.images))


@sweep
@given(orders, st.integers(0, 300), st.integers(0, 300))
def test_any_slice_of_a_stream_order_is_that_of_the_whole(
    order: StreamOrder, first: int, last: int
) -> None:
    np.testing.assert_array_equal(order[first:last], order[:][first:last])


@sweep
@given(orders)
def test_no_two_windows_of_a_stream_order_share_a_chunk(order: StreamOrder) -> None:
    windows = [order[first:last] // order.chunk for first, last in pairwise(order.bounds)]
    chunks = [np.unique(window) for window in windows]
    assert all(0 < window.size <= order.window for window in chunks)
    assert sum(window.size for window in chunks) == math.ceil(order.images / order.chunk)


@sweep
@given(
    st.integers(1, 300),
    st.integers(1, 2**20),
    st.integers(0, 2**63 - 1),
    st.integers(1, 99),
    st.sampled_from(SHUFFLES),
)
def test_a_stream_order_depends_on_seed_and_epoch_only(
    images: int, values: int, seed: int, epoch: int, shuffle: str
) -> None:
    def order(epoch: int) -> list[int]:
        return stream_order(images, values, seed, epoch, shuffle)[:].tolist()

    first = order(epoch)
    np.random.default_rng().permutation(100)
    assert order(epoch) == first
    if shuffle != "epoch":
        assert order(epoch + 1) == first
    if shuffle == "none":
        assert first == list(range(images))


def test_seed_epoch_and_window_each_change_a_stream_order() -> None:
    orders = [StreamOrder(90, 10, 3, key) for key in ((1, 1), (1, 2), (2, 1), (1, 0))]
    assert len({tuple(order[:]) for order in orders}) == 4
    whole = StreamOrder(90, 45, 1, (1, 1))
    within = [np.argsort(whole[:45]).tolist(), np.argsort(whole[45:]).tolist()]
    assert within[0] != within[1]


@pytest.mark.parametrize(
    ("values", "chunk", "window"),
    [
        (784, 334, 128),
        (3 * 32 * 32, 85, 128),
        (3 * 224 * 224, 1, 222),
        (1, 2**18, 128),
        (2**25, 1, 1),
        (2**36, 1, 1),
    ],
)
def test_chunks_and_windows_follow_from_the_size_of_an_image(
    values: int, chunk: int, window: int
) -> None:
    """Other sizes would give other bits."""
    assert stream_order(1000, values, 0, 1) == StreamOrder(1000, chunk, window, (0, 1))
