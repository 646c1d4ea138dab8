"""Streaming: the images are the ones in memory; a thread reads ahead, two pieces at most."""

from __future__ import annotations

import pickle
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.data import sampler
from dpcnn.data.dataset import Images
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.sampler import Indices, StreamOrder
from dpcnn.data.streaming import read_ahead
from dpcnn.errors import ReadError

COUNT = 60
SHAPE = (2, 3, 5)
WAIT = 30  # seconds, for the thread to begin a piece
ORDER = StreamOrder(COUNT, chunk=5, window=3, key=(0, 1))  # windows of 15 images


@pytest.fixture
def in_memory() -> Images:
    x = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), np.uint8)
    return Images(x, np.arange(COUNT, dtype=np.uint8) % 7)


@pytest.fixture
def on_disk(in_memory: Images, tmp_path: Path) -> Images:
    return Images(StoredArray.of(in_memory.images, tmp_path / "images"), in_memory.labels)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def positions(first: int = 0, step: int = 4) -> Iterator[range]:
    """Yield the positions of micro-batches from the first on."""
    return (range(start, min(start + step, COUNT)) for start in range(first, COUNT, step))


def same(pairs: Any, images: Images, ranges: Iterator[range]) -> None:
    """Check that the pairs are the indices and images at these positions."""
    for (indices, rows), microbatch in zip(pairs, ranges, strict=True):
        expected = ORDER[microbatch.start : microbatch.stop]
        np.testing.assert_array_equal(indices, expected, strict=True)
        np.testing.assert_array_equal(rows, images.rows(expected), strict=True)


@pytest.fixture
def in_the_thread_alone(on_disk: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading in this thread fails."""
    main, read = threading.get_ident(), StoredArray._read_rows

    def chosen(self: StoredArray, rows: Any) -> Any:
        assert threading.get_ident() != main
        return read(self, rows)

    monkeypatch.setattr(StoredArray, "_read_rows", chosen)


@pytest.mark.usefixtures("in_the_thread_alone")
@pytest.mark.parametrize("step", [1, 4, 7, 40, 60])
def test_the_thread_reads_what_is_taken(
    step: int, on_disk: Images, in_memory: Images, thread: ThreadPoolExecutor
) -> None:
    pairs = read_ahead(thread, on_disk, ORDER, positions(0, step))
    same(pairs, in_memory, positions(0, step))


def test_other_images_can_be_loaded_before_between_and_after(
    on_disk: Images, in_memory: Images, thread: ThreadPoolExecutor
) -> None:
    def load(*indices: int) -> None:
        chosen = np.array(indices, np.int64)
        np.testing.assert_array_equal(on_disk.load(chosen), in_memory.load(chosen), strict=True)

    load(3, 1)
    pairs = read_ahead(thread, on_disk, ORDER, positions())
    for pair, microbatch in zip(pairs, positions(), strict=True):
        load(5, 5, 0)
        load()
        load(*ORDER[microbatch.start : microbatch.stop])
        same([pair], in_memory, iter([microbatch]))
    load(7)


@pytest.mark.usefixtures("in_the_thread_alone")
@pytest.mark.parametrize("taken", [0, 1, 4, 5, 14])
def test_reading_can_begin_anew_at_any_time(
    taken: int, on_disk: Images, in_memory: Images, thread: ThreadPoolExecutor
) -> None:
    """As after a death, when the ranks' shards have changed."""
    before = read_ahead(thread, on_disk, ORDER, positions())
    same([next(before) for _ in range(taken)], in_memory, iter([*positions()][:taken]))
    same(read_ahead(thread, on_disk, ORDER, positions(11, 6)), in_memory, positions(11, 6))
    same(before, in_memory, iter([*positions()][taken:]))


@dataclass(frozen=True)
class Watched(Images):
    """Images that record when a piece is begun and how many pieces are in memory then."""

    begun: list[threading.Event] = field(
        default_factory=lambda: [threading.Event() for _ in "abcd"]
    )
    pieces: list[Any] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)

    def rows(self, indices: Indices) -> Any:
        self.alive.append(sum(piece() is not None for piece in self.pieces))
        self.begun[len(self.pieces)].set()
        rows = super().rows(indices)
        self.pieces.append(weakref.ref(rows.base))  # rows is a view
        return rows


def test_two_pieces_are_in_memory_and_no_more(on_disk: Images, thread: ThreadPoolExecutor) -> None:
    watched = Watched(on_disk.images, on_disk.labels)
    pairs = read_ahead(thread, watched, ORDER, positions(0, 5))
    assert not watched.begun[0].is_set()
    for number in range(4):
        for _ in range(3):
            next(pairs)
            assert all(event.wait(WAIT) for event in watched.begun[: number + 2])
            assert not any(event.is_set() for event in watched.begun[number + 2 :])
    assert next(pairs, None) is None
    assert watched.alive == [0, 1, 1, 1]  # at the start of each read, only the piece before it
    assert not any(piece() is not None for piece in watched.pieces)


def test_an_error_in_the_thread_is_raised_where_its_piece_is_needed(
    on_disk: Images, in_memory: Images, tmp_path: Path, thread: ThreadPoolExecutor
) -> None:
    in_order = StreamOrder(COUNT, chunk=5, window=3, key=None)
    with (tmp_path / "images").open("r+b") as file:
        file.truncate(40 * 30)
    pairs = read_ahead(thread, on_disk, in_order, positions(0, 5))
    for first in range(0, 30, 5):  # the two windows before the cut
        np.testing.assert_array_equal(next(pairs)[1], in_memory.images[first : first + 5])
    with pytest.raises(ReadError, match="ends at byte"):
        next(pairs)


def test_in_another_process_they_are_read_from_the_same_file(
    on_disk: Images, in_memory: Images, thread: ThreadPoolExecutor
) -> None:
    next(read_ahead(thread, on_disk, ORDER, positions()))
    other = pickle.loads(pickle.dumps(on_disk.first(30)))
    assert other.streamed
    assert len(other) == 30
    every = np.arange(30)
    np.testing.assert_array_equal(other.load(every), in_memory.load(every), strict=True)
    np.testing.assert_array_equal(other.labels, in_memory.labels[:30])


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.builds(
        StreamOrder,
        images=st.integers(0, 300),
        chunk=st.integers(1, 40),
        window=st.integers(1, 9),
        key=st.none() | st.tuples(st.integers(0, 2**63), st.integers(0, 99)),
    ),
    st.integers(1, 80),
    st.integers(1, 20),
    st.integers(1, 9),
    st.data(),
)
def test_a_piece_is_the_rank_s_micro_batches_that_begin_in_one_window(
    order: StreamOrder, minibatch: int, microbatch: int, size: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, size - 1))
    shards = [
        part
        for step in range(sampler.steps_in_epoch(len(order), minibatch))
        for part in sampler.shard(
            sampler.minibatch(range(len(order)), step, minibatch), microbatch, rank, size
        )
    ]
    pieces: list[list[int]] = []

    class Recorded(Images):
        def rows(self, indices: Indices) -> Any:
            pieces.append(indices.tolist())
            return super().rows(indices)

    every = np.arange(len(order))
    images = Recorded(every.reshape(-1, 1, 1, 1).astype("f4"), every)
    with ThreadPoolExecutor(1) as pool:
        pairs = list(read_ahead(pool, images, order, iter(shards)))
    taken = [indices.tolist() for indices, _ in pairs]
    assert taken == [order[part.start : part.stop].tolist() for part in shards]
    assert taken == [rows.ravel().tolist() for _, rows in pairs]
    begin = [order.window_at(part.start) for part in shards]
    in_windows = [
        [image for at, part in zip(begin, taken, strict=True) if at == window for image in part]
        for window in sorted(set(begin))
    ]
    assert pieces == in_windows
