"""Images that stay on the disk are those in memory, whatever is read ahead and asked for."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpcnn.data import streaming
from dpcnn.data.dataset import Images
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.sampler import Indices
from dpcnn.data.streaming import StreamedImages
from dpcnn.errors import ReadError

COUNT = 60
SHAPE = (2, 3, 5)
WAIT = 30  # seconds; a thread that does not come is an error


@pytest.fixture
def in_memory() -> Images:
    x = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), np.uint8)
    return Images(x, np.arange(COUNT, dtype=np.uint8) % 7)


@pytest.fixture
def on_disk(in_memory: Images, tmp_path: Path) -> StreamedImages:
    return streaming.on_disk(in_memory, tmp_path / "images")


def pieces(*lengths: int) -> list[Indices]:
    """Return a random order of the images, cut into pieces."""
    order = np.random.default_rng(1).permutation(COUNT)
    return np.split(order, np.cumsum(lengths))[: len(lengths)]


def same(images: Images, others: Images, indices: Any) -> None:
    found = images.load(np.array(indices, np.int64))
    np.testing.assert_array_equal(found, others.load(np.array(indices, np.int64)), strict=True)


@pytest.fixture
def in_the_thread_alone(on_disk: StreamedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading by this thread fails."""
    main, read = threading.get_ident(), StoredArray._chosen

    def chosen(self: StoredArray, rows: Any) -> Any:
        assert threading.get_ident() != main
        return read(self, rows)

    monkeypatch.setattr(StoredArray, "_chosen", chosen)


@pytest.mark.usefixtures("in_the_thread_alone")
def test_what_was_read_ahead_is_loaded_in_micro_batches(
    on_disk: StreamedImages, in_memory: Images
) -> None:
    ahead = pieces(20, 7, 16)
    on_disk.read_ahead(iter(ahead))
    for piece in ahead:
        for first in range(0, len(piece), 4):
            same(on_disk, in_memory, piece[first : first + 4])


def test_others_can_be_loaded_before_between_and_after(
    on_disk: StreamedImages, in_memory: Images
) -> None:
    same(on_disk, in_memory, [3, 1])
    first, second = pieces(8, 8)
    on_disk.read_ahead(iter([first, second]))
    same(on_disk, in_memory, [])
    same(on_disk, in_memory, first[:4])
    same(on_disk, in_memory, [5, 5, 0])
    same(on_disk, in_memory, first[4:])
    same(on_disk, in_memory, second[::-1])
    same(on_disk, in_memory, second)
    same(on_disk, in_memory, [7])


@pytest.mark.usefixtures("in_the_thread_alone")
@pytest.mark.parametrize("loaded", [0, 4, 20, 22])
def test_reading_can_begin_anew_at_any_time(
    loaded: int, on_disk: StreamedImages, in_memory: Images
) -> None:
    """As after a death, when a rank's share of the steps has changed."""
    before, after = pieces(20, 20), pieces(11, 30)
    on_disk.read_ahead(iter(before))
    for first in range(0, loaded, 2):
        same(on_disk, in_memory, np.concatenate(before)[first : first + 2])
    on_disk.read_ahead(iter(after))
    for piece in after:
        for first in range(0, len(piece), 6):
            same(on_disk, in_memory, piece[first : first + 6])


def test_two_pieces_are_in_memory_and_no_more(on_disk: StreamedImages) -> None:
    asked: list[int] = []
    read = [threading.Event() for _ in range(4)]

    def ahead() -> Iterator[Indices]:
        for number, piece in enumerate(pieces(15, 15, 15, 15)):
            asked.append(number)
            read[number].set()
            yield piece

    on_disk.read_ahead(ahead())
    for number, piece in enumerate(pieces(15, 15, 15, 15)):
        on_disk.load(piece[:7])
        if number < 3:
            assert read[number + 1].wait(WAIT)
        assert asked == [0, 1, 2, 3][: number + 2]
        on_disk.load(piece[7:])
        assert asked == [0, 1, 2, 3][: number + 2]


def test_what_the_thread_meets_is_raised_where_its_piece_is_loaded(
    on_disk: StreamedImages, in_memory: Images, tmp_path: Path
) -> None:
    first, second = np.arange(10), np.arange(50, 60)
    with (tmp_path / "images").open("r+b") as file:
        file.truncate(40 * 30)
    on_disk.read_ahead(iter([first, second]))
    same(on_disk, in_memory, first)
    for _ in range(2):
        with pytest.raises(ReadError, match="ends at byte"):
            on_disk.load(second)


def test_in_another_process_they_have_a_reader_of_their_own(
    on_disk: StreamedImages, in_memory: Images
) -> None:
    on_disk.read_ahead(iter(pieces(20, 20)))
    other = pickle.loads(pickle.dumps(on_disk.first(30)))
    assert len(other) == 30
    same(other, in_memory, np.arange(30))
    np.testing.assert_array_equal(other.labels, in_memory.labels[:30])
