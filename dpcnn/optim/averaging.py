"""An exponential moving average of the weights, which often classifies better than the weights."""

from __future__ import annotations

import numpy as np

from dpcnn.optim.optimizer import BLOCK, Array, blocks


class Average:
    """An average of vectors that change from step to step: Polyak and Juditsky, 1992.

    average += (1 - d) (values - average), with d = min(decay, (1 + step) / (10 + step)): the
    decay warms up, so that the first values, which are of chance, are forgotten soon.

    vector: the average; at first the values themselves.
    """

    def __init__(self, values: Array, decay: float) -> None:
        self.vector: Array = values.copy()
        self.decay = decay
        self._temporary = np.empty(min(values.size, BLOCK), values.dtype)

    def update(self, values: Array, step: int) -> None:
        """Take in the values after a step; step: how many there have been before it."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for part in blocks(0, values.size):
            temporary = self._temporary[: part.stop - part.start]
            np.subtract(values[part], self.vector[part], out=temporary)
            temporary *= 1 - decay
            self.vector[part] += temporary

    def swap(self, values: Array) -> None:
        """Exchange the average and the values, in place; once more to have them back."""
        for part in blocks(0, values.size):
            temporary = self._temporary[: part.stop - part.start]
            temporary[...] = values[part]
            values[part] = self.vector[part]
            self.vector[part] = temporary
