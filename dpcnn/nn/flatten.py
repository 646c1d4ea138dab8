"""Flatten, from maps to features."""

from __future__ import annotations

import math

from dpcnn.nn.layer import Array, Layer, Shape


class Flatten(Layer):
    """(C, H, W, N) to (C*H*W, N): a view."""

    def build(self, input_shape: Shape) -> Shape:
        """Return (C*H*W,)."""
        self.input_shape = input_shape
        return (math.prod(input_shape),)

    def forward(self, x: Array) -> Array:
        """Return x as (C*H*W, N)."""
        return x.reshape(-1, x.shape[-1])

    def backward(self, dy: Array) -> Array:
        """Return dy as (C, H, W, N)."""
        return dy.reshape(*self.input_shape, dy.shape[-1])
