"""LARS: momentum with a learning rate for each layer, for large minibatches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import DTypeLike

from dpcnn.optim.norms import norm
from dpcnn.optim.optimizer import Array, Optimizer, blocks

TRUST = 0.001  # how far a step goes at lr = 1, as a share of the norm of the weights


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling: You, Gitman and Ginsburg, "Large batch training of
    convolutional networks", 2017 (arXiv:1708.03888), algorithm 1.

    For the parameters w of each of `parts`, with their gradient g and weight decay:
    rate = TRUST |w| / (|g| + weight_decay |w|); v = momentum v + lr rate (g + weight_decay w);
    w -= v. The rate is 1 where |w| or |g| is 0, and for the parameters that are in none of the
    parts, such as biases, whose norms say little. Slot: momentum (v).
    """

    def __init__(
        self,
        size: int,
        parts: Sequence[slice],
        momentum: float = 0.9,
        weight_decay: float | Array = 0.0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        """parts: in order, with one weight decay each."""
        super().__init__(size, ("momentum",), weight_decay, dtype)
        self.momentum = momentum
        self._runs = [*_cover(size, parts)]

    def update(self, parameters: Array, gradient: Array, lr: float, step: int) -> None:
        for run, scaled in self._runs:
            scale = self._scale(run, parameters[run], gradient[run]) if scaled else 1.0
            for part in blocks(run.start, run.stop):
                temporary = self._temporary[: part.stop - part.start]
                rate = self._rate_of(part, lr * scale)
                self._update_block(part, parameters[part], gradient[part], rate, step, temporary)

    def _scale(self, part: slice, w: Array, g: Array) -> float:
        of_weights, of_gradient = norm(w), norm(g)
        if of_weights == 0 or of_gradient == 0:
            return 1.0
        return TRUST * of_weights / (of_gradient + float(self.decay[part.start]) * of_weights)

    def _update_block(
        self, part: slice, p: Array, g: Array, lr: float | Array, step: int, temporary: Array
    ) -> None:
        v = self.slots["momentum"][part]
        self._add_decay(part, p, g, temporary)
        g *= lr
        v *= self.momentum
        v += g
        p -= v


def _cover(size: int, parts: Sequence[slice]) -> Iterator[tuple[slice, bool]]:
    """Yield the parts, and what lies between them; whether each is one of the parts."""
    place = 0
    for part in parts:
        if place < part.start:
            yield slice(place, part.start), False
        yield part, True
        place = part.stop
    if place < size:
        yield slice(place, size), False
