"""Which image is trained on when, and by whom: pure functions, the same on every rank.

An epoch's order is a permutation of the training images that depends on (seed, epoch) alone. Step
s takes the next `minibatch_size` of it, cut into micro-batches of `microbatch_size`; a rank takes
a contiguous run of those. Nothing is dropped or padded: the last step and the last micro-batch
may be smaller.

Images that are read from a disk meanwhile have an order of their own, a StreamOrder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

SHUFFLES = ("epoch", "once", "none")
AUTO_MICROBATCH = 16

# Values (C*H*W an image) of a chunk and of a window: a chunk is worth the way to it on a disk, and
# twice the images of a window are in memory, on all ranks together. The bits depend on both.
CHUNK = 1 << 18
WINDOW = 1 << 25


def epoch_order(images: int, seed: int, epoch: int, shuffle: str = "epoch") -> Indices:
    """Return the order (images,) of one epoch, counted from 1.

    shuffle: a new permutation every `epoch`, the same one in all of them (`once`), or `none`.
    """
    if shuffle == "none":
        return np.arange(images)
    return _generator(*_key(seed, epoch, shuffle)).permutation(images)


def _key(seed: int, epoch: int, shuffle: str) -> tuple[int, int]:
    return seed, epoch if shuffle == "epoch" else 0


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


@dataclass(frozen=True)
class StreamOrder:
    """The order of one epoch for images on a disk; a slice of it is computed when it is asked for.

    A chunk is a run of `chunk` images as they lie in the file, fewer at its end. The chunks are
    permuted; each `window` of them in turn is one window, whose images are permuted too. key:
    (seed, epoch); None for the order of the file.
    """

    images: int
    chunk: int
    window: int
    key: tuple[int, int] | None

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, places: slice) -> Indices:
        """Return the images (n,) at these places of the order, not to be written to."""
        first, last, _ = places.indices(self.images)
        if first >= last:
            return np.empty(0, np.int64)
        windows = range(self.window_at(first), self.window_at(last - 1) + 1)
        starts = self.bounds[windows.start : windows.stop]
        parts = [
            _window(self, window)[max(first - start, 0) : last - start]
            for window, start in zip(windows, starts, strict=True)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def window_at(self, place: int) -> int:
        """Return the number of the window that a place of the order lies in."""
        return int(np.searchsorted(self.bounds, place, side="right")) - 1

    @cached_property
    def bounds(self) -> Indices:
        """The place where each window begins, and the end."""
        lengths = np.minimum(self.images - self.chunks * self.chunk, self.chunk)
        places = np.concatenate([[0], np.cumsum(lengths)])
        return np.append(places[: -1 : self.window], self.images)

    @cached_property
    def chunks(self) -> Indices:
        """The numbers of the chunks in their order."""
        count = math.ceil(self.images / self.chunk)
        return np.arange(count) if self.key is None else _generator(*self.key).permutation(count)


@lru_cache(maxsize=4)  # those that steps are in, and that are read ahead
def _window(order: StreamOrder, number: int) -> Indices:
    """Return the images of one window in their order."""
    chunks = order.chunks[number * order.window : (number + 1) * order.window]
    images = (chunks[:, None] * order.chunk + np.arange(order.chunk)).ravel()
    images = images[images < order.images]
    if order.key is None:
        return images
    # Not with number 0: trailing zeros change nothing, and it is the generator of the chunks.
    return _generator(*order.key, number + 1).permutation(images)


def stream_order(
    images: int, values: int, seed: int, epoch: int, shuffle: str = "epoch"
) -> StreamOrder:
    """Return the order of one epoch for images of so many values each; else as epoch_order."""
    chunk = max(1, CHUNK // values)
    window = max(1, WINDOW // (chunk * values))
    key = None if shuffle == "none" else _key(seed, epoch, shuffle)
    return StreamOrder(images, chunk, window, key)


Order = Indices | StreamOrder


def steps_in_epoch(images: int, minibatch_size: int) -> int:
    """Return how many steps visit every image once."""
    return math.ceil(images / minibatch_size)


def minibatch(order: Order, step: int, minibatch_size: int) -> Indices:
    """Return the images of one step of the epoch, counted from 0."""
    return order[step * minibatch_size : (step + 1) * minibatch_size]


def shard_bounds(count: int, rank: int = 0, size: int = 1) -> tuple[int, int]:
    """Return (first, last + 1) of the run of `count` things that is the rank's.

    The runs cover everything in rank order and differ in length by at most one.
    """
    return count * rank // size, count * (rank + 1) // size


def shard(images: Indices, microbatch_size: int, rank: int = 0, size: int = 1) -> list[Indices]:
    """Return the rank's micro-batches of these images; there may be none."""
    first, last = shard_bounds(math.ceil(images.size / microbatch_size), rank, size)
    return [
        images[number * microbatch_size : (number + 1) * microbatch_size]
        for number in range(first, last)
    ]


def coming(
    order: Order, step: int, minibatch_size: int, microbatch_size: int, rank: int = 0, size: int = 1
) -> Iterator[Indices]:
    """Yield the images that a rank loads from this step of the epoch on, piece by piece.

    A piece is all of its micro-batches that begin in one window; an order in memory has one.
    """

    def places() -> Iterator[Indices]:
        for number in range(step, steps_in_epoch(len(order), minibatch_size)):
            first, last = number * minibatch_size, (number + 1) * minibatch_size
            minibatch = np.arange(first, min(last, len(order)))
            yield from shard(minibatch, microbatch_size, rank, size)

    def window(places: Indices) -> int:
        return order.window_at(places[0]) if isinstance(order, StreamOrder) else 0

    for _, each in groupby(places(), window):
        own = np.concatenate(list(each))
        yield order[own[0] : own[-1] + 1][own - own[0]]


def auto_microbatch_size(minibatch_size: int, size: int = 1) -> int:
    """Return the largest micro-batch, at most 16, that leaves no rank without work.

    16 images fill the GEMMs and their activations stay in the cache. With fewer images than
    ranks it is 1, and some ranks have no work.
    """
    choices = range(min(AUTO_MICROBATCH, minibatch_size), 0, -1)
    enough = (m for m in choices if math.ceil(minibatch_size / m) >= size)
    return next(enough, 1)
