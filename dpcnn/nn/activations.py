"""Activation functions: ReLU."""

from __future__ import annotations

import math

import numpy as np

from dpcnn.nn.layer import Array, Layer, Shape


class ReLU(Layer):
    """max(x, 0), in place: x times a mask of ones and zeros.

    The mask serves forward and backward, needs no branches and keeps NaN (a diverged network shows
    it); np.maximum takes longer than all of it (tests/benchmarks/bench_layers.py).
    """

    def build(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        self.shape = input_shape
        return input_shape

    def forward(self, x: Array) -> Array:
        """Return x with its negative values set to 0, in place."""
        positive = self.buffer("positive", x.shape, bool)
        self.mask = self.buffer("mask", x.shape)
        np.greater(x, 0, out=positive)
        np.copyto(self.mask, positive)
        return np.multiply(x, self.mask, out=x)

    def backward(self, dy: Array) -> Array:
        """Return dy where x was positive and 0 elsewhere, in place."""
        return np.multiply(dy, self.mask, out=dy)

    def workspace_size(self, images: int) -> int:
        """Count the mask."""
        return math.prod(self.shape) * images
