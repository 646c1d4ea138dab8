"""Euclidean norms of vectors, and gradients clipped to one."""

from __future__ import annotations

import math

import numpy as np

from dpcnn.optim.optimizer import BLOCK, Array, blocks


def norm(vector: Array) -> float:
    """Return the Euclidean norm of a vector, summed in float64 in an order of its own.

    BLAS may add in another order where the vector lies otherwise in memory, which would change the
    bits from rank to rank.
    """
    squares = np.empty(min(vector.size, BLOCK))
    sums = []
    for part in blocks(0, vector.size):
        block = squares[: part.stop - part.start]
        np.copyto(block, vector[part])
        np.multiply(block, block, out=block)
        sums.append(float(np.add.reduce(block)))
    return math.sqrt(math.fsum(sums))


def clip_norm(gradient: Array, limit: float) -> float:
    """Scale a gradient (P,) in place to a norm of at most `limit`; return the norm it had.

    The formula of torch.nn.utils.clip_grad_norm_: times min(1, limit / (norm + 1e-6)). Pascanu,
    Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    found = norm(gradient)
    factor = limit / (found + 1e-6)
    if factor < 1:
        np.multiply(gradient, gradient.dtype.type(factor), out=gradient)
    return found
