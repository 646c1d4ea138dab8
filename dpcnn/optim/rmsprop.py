"""RMSprop: the gradient divided by a running root of its mean square."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from dpcnn.optim.optimizer import Array, Optimizer


class RMSprop(Optimizer):
    """RMSprop: Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning", 2012.

    By the formulas and defaults of torch.optim.RMSprop, whose alpha is beta2 here. With
    g = gradient + weight_decay p: v = beta2 v + (1 - beta2) g^2; d = g / (sqrt(v) + eps);
    p -= lr d, or with momentum b = momentum b + d; p -= lr b. Slots: mean_square (v), and momentum
    (b) if there is any.
    """

    never_negative = ("mean_square",)

    def __init__(
        self,
        size: int,
        beta2: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float | Array = 0.0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        slots = ("mean_square", "momentum") if momentum else ("mean_square",)
        super().__init__(size, slots, weight_decay, dtype)
        self.beta2, self.eps, self.momentum = beta2, eps, momentum

    def _update_block(
        self, part: slice, p: Array, g: Array, lr: float | Array, step: int, temporary: Array
    ) -> None:
        v = self.slots["mean_square"][part]
        self._add_decay(part, p, g, temporary)
        np.multiply(g, g, out=temporary)
        temporary -= v
        temporary *= 1 - self.beta2
        v += temporary
        np.sqrt(v, out=temporary)
        temporary += self.eps
        g /= temporary
        if self.momentum:
            b = self.slots["momentum"][part]
            b *= self.momentum
            b += g
            np.multiply(b, lr, out=g)
        else:
            g *= lr
        p -= g
