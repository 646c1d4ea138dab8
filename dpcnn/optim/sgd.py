"""Stochastic gradient descent: plain, and with momentum and weight decay."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from dpcnn.optim.optimizer import Array, Optimizer


class SGD(Optimizer):
    """Gradient descent with momentum, by the formulas of torch.optim.SGD (dampening 0).

    g = gradient + weight_decay p; v = momentum v + g; p -= lr v, or with Nesterov's momentum
    p -= lr (g + momentum v): Sutskever et al., "On the importance of initialization and momentum in
    deep learning", 2013. Without momentum p -= lr g. Slot: momentum (v), if there is any.
    """

    def __init__(
        self,
        size: int,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | Array = 0.0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(size, ("momentum",) if momentum else (), weight_decay, dtype)
        self.momentum, self.nesterov = momentum, nesterov
        self.plain = not momentum and not self.decays

    def update(self, parameters: Array, gradient: Array, lr: float, step: int) -> None:
        if (
            self.plain and self.lr_factors is None
        ):  # two passes: whole vectors are as fast as blocks
            np.multiply(gradient, parameters.dtype.type(lr), out=gradient)
            np.subtract(parameters, gradient, out=parameters)
        else:
            super().update(parameters, gradient, lr, step)

    def _update_block(
        self, part: slice, p: Array, g: Array, lr: float | Array, step: int, temporary: Array
    ) -> None:
        self._add_decay(part, p, g, temporary)
        direction = self._add_momentum(part, g, temporary) if self.momentum else g
        np.multiply(direction, lr, out=temporary)
        p -= temporary

    def _add_momentum(self, part: slice, g: Array, temporary: Array) -> Array:
        """Move v by g; return the direction of descent, which may be g, overwritten."""
        v = self.slots["momentum"][part]
        v *= self.momentum
        v += g
        if not self.nesterov:
            return v
        np.multiply(v, self.momentum, out=temporary)
        g += temporary
        return g
