"""The loader: an epoch's minibatches, as micro-batches ready for the network.

The place for whatever happens to an image between the dataset and the network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, tee
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.data import sampler
from dpcnn.data.augment import (
    NOTHING,
    Augmentation,
    Augmenter,
    Mixture,
    generator,
    mirrored_first,
)
from dpcnn.data.dataset import Images, as_batch
from dpcnn.data.sampler import Indices, Order, StreamOrder
from dpcnn.data.streaming import read_ahead
from dpcnn.errors import OptionError

Array = NDArray[Any]


class Microbatch(NamedTuple):
    """Its number in the minibatch, x (C, H, W, N) float32, and labels (N,), mixed or not.

    The images are augmented, then normalised.
    """

    number: int
    x: Array
    labels: Array
    mixture: Mixture | None


class Minibatch(NamedTuple):
    """The images of one step.

    size: how many there are on all ranks together. microbatches: those of this rank, each loaded
    when it is asked for. They end when the next minibatch is asked for.
    """

    size: int
    microbatches: Iterator[Microbatch]


class Loader:
    """Yields the minibatches of any epoch, from any step on, for any rank.

    Images in memory are loaded one micro-batch at a time. Streamed images are read ahead in a
    thread (streaming.py), in an order of their own (sampler.StreamOrder).

    fewest: the smallest micro-batch that the network can be trained on. last_minibatch: `drop`
    leaves out an epoch's last minibatch where it is not full. visited: how many images an epoch
    visits. Raises OptionError if there is not even one minibatch.
    """

    def __init__(
        self,
        images: Images,
        minibatch_size: int,
        microbatch_size: int,
        seed: int = 0,
        shuffle: str = "epoch",
        augmentation: Augmentation = NOTHING,
        fewest: int = 1,
        last_minibatch: str = "scaled",
    ) -> None:
        self.images = images
        self.minibatch_size, self.microbatch_size = minibatch_size, microbatch_size
        self.seed, self.shuffle = seed, shuffle
        self._augmenter = None if augmentation == NOTHING else Augmenter(augmentation)
        self._mirrored = mirrored_first(seed, len(images)) if augmentation.alternate else None
        self.fewest = fewest
        smallest = minibatch_size if last_minibatch == "drop" else fewest
        self.visited = sampler.images_in_epoch(len(images), minibatch_size, smallest)
        if self.visited == 0:
            raise OptionError(
                f"{len(images)} images to train on, expected at least {smallest}:"
                f" {'a smaller --minibatch_size' if smallest > fewest else 'more images'}"
            )
        self.steps = sampler.steps_in_epoch(self.visited, minibatch_size)
        self._pool = ThreadPoolExecutor(1, "reader")  # has no thread until it is given work

    def order(self, epoch: int) -> Order:
        """Return the order in which an epoch, counted from 1, visits the images."""
        count, key = len(self.images), (self.seed, epoch, self.shuffle)
        if self.images.streamed:
            return sampler.stream_order(count, prod(self.images.shape), *key)
        return sampler.epoch_order(count, *key)

    def minibatches(
        self, epoch: int, first: int = 0, rank: int = 0, size: int = 1
    ) -> Iterator[Minibatch]:
        """Yield an epoch's minibatches from step `first` on, with the rank's micro-batches of each.

        An iterator may be abandoned at any point: others are independent of it. Raises ReadError
        where streamed images cannot be read.
        """
        # The steps and the reading, which may be two windows ahead of them, go by one sharding.
        shards, ahead = tee(self._shards(first, rank, size))
        positions = chain.from_iterable(shard for _, shard in ahead)
        read = self._read(self.order(epoch), positions)
        for step, (minibatch, shard) in enumerate(shards, (epoch - 1) * self.steps + first):
            start, images = minibatch.start, self.microbatch_size
            microbatches = (
                self._load(epoch, step, (part.start - start) // images, *next(read))
                for part in shard
            )
            yield Minibatch(len(minibatch), microbatches)
            deque(microbatches, maxlen=0)  # skip those that were not asked for

    def _shards(self, first: int, rank: int, size: int) -> Iterator[tuple[range, list[range]]]:
        """Yield each step's positions in the order, and those of the rank's micro-batches."""
        positions = range(self.visited)
        for step in range(first, self.steps):
            minibatch = sampler.minibatch(positions, step, self.minibatch_size)
            yield (
                minibatch,
                sampler.shard(minibatch, self.microbatch_size, rank, size, self.fewest),
            )

    def _read(self, order: Order, positions: Iterator[range]) -> Iterator[tuple[Indices, Array]]:
        """Return an iterator over the indices and images (n, C, H, W) at these positions."""
        if isinstance(order, StreamOrder):
            return read_ahead(self._pool, self.images, order, positions)
        chosen = (order[microbatch.start : microbatch.stop] for microbatch in positions)
        return ((indices, self.images.rows(indices)) for indices in chosen)

    def _load(
        self, epoch: int, step: int, number: int, indices: Indices, rows: Array
    ) -> Microbatch:
        """Return the micro-batch of this number in a step and an epoch of the run.

        rows: the images (N, C, H, W) of these indices, as they are kept.
        """
        labels = self.images.labels[indices]
        normalization = self.images.normalization
        if self._augmenter is None:
            return Microbatch(number, as_batch(rows, np.float32, normalization), labels, None)
        x = as_batch(rows, np.float32)
        rng = generator(self.seed, step, number)
        alternated = None
        if self._mirrored is not None:
            alternated = self._mirrored[indices] ^ (epoch % 2 == 0)
        mixture = self._augmenter.augment(x, labels, rng, alternated)
        normalization.apply(x)
        return Microbatch(number, x, labels, mixture)
