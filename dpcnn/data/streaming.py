"""Images that stay on a disk while a network trains on them, and are read ahead in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data import sampler
from dpcnn.data.dataset import Images
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.sampler import Indices

Array = NDArray[Any]

NOTHING: Indices = np.empty(0, np.int64)


class Reader:
    """Reads pieces of images in a thread: the next one while that before is taken.

    So two pieces are in memory. An error of the thread is raised where its piece is taken.
    """

    def __init__(self, images: StoredArray) -> None:
        self._images = images
        self._pool = ThreadPoolExecutor(1, "reader")
        self._pieces: Iterator[Indices] = iter(())
        self._next: Future[tuple[Indices, Array]] | None = None
        self._indices, self._rows = NOTHING, images[NOTHING]  # of the piece, those not taken yet

    def start(self, pieces: Iterator[Indices]) -> None:
        """Begin to read these pieces, and forget those before."""
        self._pieces = pieces
        self._indices = NOTHING
        self._next = self._pool.submit(self._read, pieces)

    def _read(self, pieces: Iterator[Indices]) -> tuple[Indices, Array]:
        indices = next(pieces, NOTHING)
        return indices, self._images[indices]

    def take(self, indices: Indices) -> Array | None:
        """Return images (n, C, H, W) if they are the next ones, else None; raises ReadError."""
        if not self._indices.size and self._next is not None:
            self._indices, self._rows = self._next.result()
            more = self._indices.size > 0
            self._next = self._pool.submit(self._read, self._pieces) if more else None
        count = len(indices)
        if not np.array_equal(self._indices[:count], indices):
            return None
        rows: Array = self._rows[:count]
        self._indices, self._rows = self._indices[count:], self._rows[count:]
        return rows


@dataclass(frozen=True)
class StreamedImages(Images):
    """Images of which those that a rank is about to train on are in memory, and all labels.

    Others are read when they are asked for.
    """

    images: StoredArray
    reader: Reader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", Reader(self.images))

    def __reduce__(self) -> Any:
        """Have a reader of its own in every process."""
        return StreamedImages, (self.images, self.labels)

    def order(self, seed: int, epoch: int, shuffle: str) -> sampler.StreamOrder:
        """Return an order of chunks and windows, which a disk is read in."""
        values = int(np.prod(self.shape))
        return sampler.stream_order(len(self), values, seed, epoch, shuffle)

    def read_ahead(self, pieces: Iterator[Indices]) -> None:
        """Begin to read what `load` will be asked for."""
        self.reader.start(pieces)

    def rows(self, indices: Indices) -> Array:
        """Return the chosen images as they are stored (n, C, H, W)."""
        rows = self.reader.take(indices)
        return self.images[indices] if rows is None else rows


def on_disk(images: Images, path: Path) -> StreamedImages:
    """Return images that are in memory as those of a new file; raises DataError."""
    stored = StoredArray.create(path, images.images.shape, images.images.dtype)
    stored[:] = np.asarray(images.images)
    return StreamedImages(stored, images.labels)
