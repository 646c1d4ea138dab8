"""Loss, accuracy and predictions of a network on labelled images, and its probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.data import sampler
from dpcnn.data.dataset import Images
from dpcnn.nn.losses import softmax, softmax_cross_entropy
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.reduction import ExactReduction

Array = NDArray[Any]

# Images of a micro-batch where there are MANY, if training on as many took at most MOST bytes. VGG
# and resnet20 take 13 % and 16 % less time than with 16, which leave no rank without work.
LARGE_MICROBATCH = 64
MANY = 4 * LARGE_MICROBATCH
MOST = 2**30

COUNTS = ("loss", "correct", "images")


class Evaluation(NamedTuple):
    """The mean loss and the accuracy over N images, and the predicted class of each, (N,)."""

    loss: float
    accuracy: float
    predicted: Array


def evaluate(
    network: Network,
    images: Images,
    comm: Communicator,
    tta: str = "none",
    told: Callable[[int], None] = lambda images: None,
) -> Evaluation:
    """Return the network's loss, accuracy and predictions on the images; collective.

    tta: which copies of an image its logits are the mean of, as of --tta. told: called with how
    many images have been evaluated since the last time, by all ranks if they are as fast as this.
    Each rank takes a shard of them. The sums are exact, so that sharding does not change them.
    """
    sums = ExactReduction.allocate(comm, 0, COUNTS)
    predicted = [np.empty(0, np.int64)]
    for chosen, logits in _logits(network, images, comm.rank, comm.size, tta):
        loss = softmax_cross_entropy(logits, images.labels[chosen], len(images))
        sums.add_scalars(loss=loss.loss, correct=loss.correct, images=chosen.size)
        predicted.append(logits.argmax(axis=0))
        told(chosen.size * comm.size)
    total = sums.allreduce(np.empty(0))
    shards = comm.allgather(np.concatenate(predicted))  # contiguous runs, in rank order
    return Evaluation(
        total["loss"] / total["images"], total["correct"] / total["images"], np.concatenate(shards)
    )


def probabilities(
    network: Network, images: Images, rank: int = 0, size: int = 1, tta: str = "none"
) -> Array:
    """Return the probability of each class for the images of the rank's shard, (N, classes)."""
    parts = [softmax(logits).T for _, logits in _logits(network, images, rank, size, tta)]
    classes = network.plan.output_shape
    return np.concatenate(parts) if parts else np.empty((0, *classes), network.parameters.dtype)


def _logits(
    network: Network, images: Images, rank: int, size: int, tta: str
) -> Iterator[tuple[sampler.Indices, Array]]:
    """Yield the indices of each micro-batch of the rank's shard and its logits (classes, N)."""
    for chosen in shard(network.plan, len(images), rank, size):
        yield chosen, mean_logits(network, images.load(chosen), tta)


def shard(plan: Plan, images: int, rank: int, size: int) -> list[sampler.Indices]:
    """Return the indices of each micro-batch that the rank evaluates, of so many images."""
    return sampler.shard(np.arange(images), microbatch_size(plan, images), rank, size)


def mean_logits(network: Network, x: Array, tta: str) -> Array:
    """Return the mean of the logits (classes, N) of copies of the images x (C, H, W, N)."""
    if tta == "none":
        return network.forward(x)
    logits: Array = np.zeros((*network.plan.output_shape, x.shape[-1]), x.dtype)
    for views, share in _moved(x, tta):
        for copy in (views.copy(), np.ascontiguousarray(views[:, :, ::-1])):
            logits += share * network.forward(copy)
    return logits


def _moved(x: Array, tta: str) -> Iterator[tuple[Array, float]]:
    """Yield the images x (C, H, W, N) and moved ones, mirrored at the border; and their shares.

    Half of the logits is of the images as they are, as in airbench94 (Jordan, 2024).
    """
    if tta == "flip":
        yield x, 1 / 2
        return
    yield x, 1 / 4
    _, height, width, _ = x.shape
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    for first in (0, 2):
        yield padded[:, first : first + height, first : first + width], 1 / 8


def microbatch_size(plan: Plan, images: int) -> int:
    """Return how many of the images are computed together: the same on any number of ranks."""
    large = images >= MANY and plan.bytes_needed(LARGE_MICROBATCH) <= MOST
    return LARGE_MICROBATCH if large else sampler.AUTO_MICROBATCH
