"""Activation functions: ReLU."""

from __future__ import annotations

import math

import numpy as np

from dpcnn.nn.layer import Array, Layer, Shape


class ReLU(Layer):
    """max(x, 0), in place on its input: x times a gate of ones and zeros.

    The gate serves forward and backward, has no branches and keeps NaN (a diverged network shows
    it); np.maximum takes longer than all of it (tests/benchmarks/bench_layers.py).
    """

    def build(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        self.shape = input_shape
        return input_shape

    def forward(self, x: Array) -> Array:
        """Return x with its negative values set to 0, in place."""
        positive = self.buffer("positive", x.shape, bool)
        self.gate = self.buffer("gate", x.shape)
        np.greater(x, 0, out=positive)
        np.copyto(self.gate, positive)
        return np.multiply(x, self.gate, out=x)

    def backward(self, dy: Array) -> Array:
        """Return dy where x was positive and 0 elsewhere, in place."""
        return np.multiply(dy, self.gate, out=dy)

    def work_values(self, images: int) -> int:
        """Count the gate."""
        return math.prod(self.shape) * images
