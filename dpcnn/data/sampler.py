"""Which image is trained on when, and by which rank: pure functions, the same on every rank.

An epoch's order is a permutation of the training images that depends on (seed, epoch) alone. Step
s takes the next `minibatch_size` images of it, cut into micro-batches of `microbatch_size`; each
rank takes a contiguous run of those, its shard. The last step and the last micro-batch may be
smaller, down to the fewest images that the network can be trained on: a rest of fewer goes with
the micro-batch before it, or is dropped where the step has no other.

Images streamed from a disk have an order of their own kind, a StreamOrder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Run = TypeVar("Run", range, Indices)  # images, or their positions in an order

SHUFFLES = ("epoch", "once", "none")
AUTO_MICROBATCH = 16
LARGE_MINIBATCH = 128  # from here on the micro-batch is large
LARGE_MICROBATCH = 32

# Values (C*H*W an image) in a chunk and in a window. A chunk is large enough to be worth a seek on
# a disk; twice a window's images are in memory, over all ranks. The bits depend on both.
CHUNK = 1 << 18
WINDOW = 1 << 25


def epoch_order(images: int, seed: int, epoch: int, shuffle: str = "epoch") -> Indices:
    """Return the order (images,) of one epoch; the first epoch is 1.

    shuffle: a new permutation every `epoch`, the same one in every epoch (`once`), or `none`.
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
    """The order of one epoch for images on a disk, computed a slice at a time.

    A chunk is a run of `chunk` images in the order of the file; the last one may be smaller. The
    chunks are permuted, every `window` of them in turn form a window, and the images of each window
    are permuted too. key: (seed, epoch), or None for the order of the file.
    """

    images: int
    chunk: int
    window: int
    key: tuple[int, int] | None

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, positions: slice) -> Indices:
        """Return the images (n,) at these positions of the order; do not write to them."""
        first, last, _ = positions.indices(self.images)
        if first >= last:
            return np.empty(0, np.int64)
        windows = range(self.window_at(first), self.window_at(last - 1) + 1)
        starts = self.bounds[windows.start : windows.stop]
        parts = [
            _window(self, window)[max(first - start, 0) : last - start]
            for window, start in zip(windows, starts, strict=True)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def window_at(self, position: int) -> int:
        """Return the number of the window that holds a position of the order."""
        return int(self.bounds.searchsorted(position, side="right")) - 1

    @cached_property
    def bounds(self) -> Indices:
        """The position at which each window begins, and the end of the order."""
        lengths = np.minimum(self.images - self.chunks * self.chunk, self.chunk)
        positions = np.concatenate([[0], np.cumsum(lengths)])
        return np.append(positions[: -1 : self.window], self.images)

    @cached_property
    def chunks(self) -> Indices:
        """The numbers of the chunks in their order."""
        count = math.ceil(self.images / self.chunk)
        return np.arange(count) if self.key is None else _generator(*self.key).permutation(count)


@lru_cache(maxsize=4)  # a piece may reach into the window after its own, and two are in use
def _window(order: StreamOrder, number: int) -> Indices:
    """Return the images of one window in their order."""
    chunks = order.chunks[number * order.window : (number + 1) * order.window]
    images = (chunks[:, None] * order.chunk + np.arange(order.chunk)).ravel()
    images = images[images < order.images]
    if order.key is None:
        return images
    # From 1: a seed's trailing zeros change nothing, so 0 would be the generator of the chunks.
    return _generator(*order.key, number + 1).permutation(images)


def stream_order(
    images: int, values: int, seed: int, epoch: int, shuffle: str = "epoch"
) -> StreamOrder:
    """Return the order of one epoch for streamed images of `values` = C*H*W values each.

    seed, epoch, shuffle: as for epoch_order.
    """
    chunk = max(1, CHUNK // values)
    window = max(1, WINDOW // (chunk * values))
    key = None if shuffle == "none" else _key(seed, epoch, shuffle)
    return StreamOrder(images, chunk, window, key)


Order = Indices | StreamOrder


def images_in_epoch(images: int, minibatch_size: int, fewest: int = 1) -> int:
    """Return how many of the images an epoch visits, once each.

    fewest: a last minibatch of fewer images than that is dropped.
    """
    rest = images % minibatch_size
    return images - rest if rest < fewest else images


def steps_in_epoch(images: int, minibatch_size: int) -> int:
    """Return how many steps visit every image once."""
    return math.ceil(images / minibatch_size)


def minibatch(images: Run, step: int, minibatch_size: int) -> Run:
    """Return the part of an epoch's images that a step takes; the epoch's first step is 0."""
    return images[step * minibatch_size : (step + 1) * minibatch_size]


def shard_bounds(count: int, rank: int = 0, size: int = 1) -> tuple[int, int]:
    """Return (first, last + 1) of the rank's run of `count` things.

    The runs cover everything in rank order and differ in length by at most one.
    """
    return count * rank // size, count * (rank + 1) // size


def shard(
    images: Run, microbatch_size: int, rank: int = 0, size: int = 1, fewest: int = 1
) -> list[Run]:
    """Return the rank's micro-batches of these images; there may be none.

    fewest: a last one of fewer images than that becomes part of the one before it.
    """
    count = math.ceil(len(images) / microbatch_size)
    if count > 1 and len(images) - (count - 1) * microbatch_size < fewest:
        count -= 1
    first, last = shard_bounds(count, rank, size)
    ends = [number * microbatch_size for number in range(first + 1, last + 1)]
    if ends and last == count:
        ends[-1] = len(images)
    return [
        images[number * microbatch_size : end]
        for number, end in zip(range(first, last), ends, strict=True)
    ]


def auto_microbatch_size(minibatch_size: int, size: int = 1) -> int:
    """Return the largest micro-batch, at most 16 or 32, that leaves no rank without work.

    16 images fill the GEMMs of a small network, and their activations stay in the cache. 32 suit
    deeper networks better, and minibatches from 128 on are for those: with micro-batches of 16, 32
    and 64, resnet20 took 4645, 4289 and 4344 us an image, forward + backward; vgg 2890, 2663 and
    2644; resnet8 1537, 1450 and 1673; lenet5 111, 100 and 104. A minibatch smaller than the number
    of ranks gives 1, and some ranks have no work.
    """
    largest = AUTO_MICROBATCH if minibatch_size < LARGE_MINIBATCH else LARGE_MICROBATCH
    sizes = range(min(largest, minibatch_size), 0, -1)
    return next((m for m in sizes if math.ceil(minibatch_size / m) >= size), 1)
