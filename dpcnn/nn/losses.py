"""Softmax cross entropy: summed loss, gradient and number of correct predictions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.nn.layer import Array


class Loss(NamedTuple):
    """What a micro-batch contributes: sums, never means, since shards are uneven."""

    loss: float
    correct: int
    dlogits: Array  # (classes, N)


def softmax(logits: Array) -> Array:
    """Return the probabilities exp(logits)/sum(exp(logits)) over the classes, (classes, N).

    The largest logit is subtracted first, so that nothing overflows.
    """
    exponentials: Array = np.exp(logits - logits.max(axis=0))
    exponentials /= exponentials.sum(axis=0)
    return exponentials


def softmax_cross_entropy(
    logits: Array, labels: NDArray[np.integer[Any]], minibatch_size: int
) -> Loss:
    """Return the loss -log p[label] summed over N images, its gradient, and how many are correct.

    logits (classes, N), labels (N,). The gradient is (p - onehot)/minibatch_size, with the size of
    the *global* minibatch: sums over micro-batches and ranks are then the gradient of the mean. The
    loss is a float64 sum, not divided. A prediction is correct if its label has the largest logit,
    the first of equal ones.
    """
    images = np.arange(labels.size)
    shifted = logits - logits.max(axis=0)
    exponentials = np.exp(shifted)
    normalizer = exponentials.sum(axis=0)
    losses = np.log(normalizer) - shifted[labels, images]
    correct = int(np.count_nonzero(logits.argmax(axis=0) == labels))
    dlogits = exponentials / (normalizer * minibatch_size)
    dlogits[labels, images] -= logits.dtype.type(1 / minibatch_size)
    return Loss(float(losses.sum(dtype=np.float64)), correct, dlogits)
