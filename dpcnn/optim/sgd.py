"""Stochastic gradient descent, on minibatches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class SGD:
    """parameters -= lr * gradient, in place.

    `slots` (name -> vector) is the state a checkpoint stores; plain descent has none.
    """

    def __init__(self) -> None:
        self.slots: dict[str, Array] = {}

    def step(self, parameters: Array, gradient: Array, lr: float) -> None:
        """Update parameters (P,) in place; overwrites gradient (P,)."""
        np.multiply(gradient, parameters.dtype.type(lr), out=gradient)
        np.subtract(parameters, gradient, out=parameters)
