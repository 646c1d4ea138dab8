"""Which image is trained on when, and by whom: pure functions, the same on every rank.

An epoch's order is a permutation of the training images that depends on (seed, epoch) alone. Step
s takes the next `minibatch_size` of it, cut into micro-batches of `microbatch_size`; a rank takes
a contiguous run of those. Nothing is dropped or padded: the last step and the last micro-batch
may be smaller.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

SHUFFLES = ("epoch", "once", "none")
AUTO_MICROBATCH = 16


def epoch_order(images: int, seed: int, epoch: int, shuffle: str = "epoch") -> Indices:
    """Return the order (images,) of one epoch, counted from 1.

    shuffle: a new permutation every `epoch`, the same one in all of them (`once`), or `none`.
    """
    if shuffle == "none":
        return np.arange(images)
    key = epoch if shuffle == "epoch" else 0
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, key))))
    return rng.permutation(images)


def steps_in_epoch(images: int, minibatch_size: int) -> int:
    """Return how many steps visit every image once."""
    return math.ceil(images / minibatch_size)


def minibatch(order: Indices, step: int, minibatch_size: int) -> Indices:
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


def auto_microbatch_size(minibatch_size: int, size: int = 1) -> int:
    """Return the largest micro-batch, at most 16, that leaves no rank without work.

    16 images fill the GEMMs and their activations stay in the cache. With fewer images than
    ranks it is 1, and some ranks have no work.
    """
    choices = range(min(AUTO_MICROBATCH, minibatch_size), 0, -1)
    enough = (m for m in choices if math.ceil(minibatch_size / m) >= size)
    return next(enough, 1)
