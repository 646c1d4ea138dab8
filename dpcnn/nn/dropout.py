"""Dropout, with a mask that is a pure function of the run, the step and the micro-batch."""

from __future__ import annotations

import math

import numpy as np

from dpcnn.errors import OptionError
from dpcnn.nn.checks import check_number
from dpcnn.nn.layer import Array, Layer, Shape

LEVELS = 2**16  # of the random numbers, 16 bits each: four from every 64 that are drawn
BLOCK = 2**16  # values at a time, divisible by four; the mask's block stays in the cache


class Dropout(Layer):
    """Set each value to 0 with probability `rate` in training, and divide the others by 1 - rate.

    In evaluation it does nothing. Source: Srivastava et al., "Dropout: a simple way to prevent
    neural networks from overfitting", JMLR 15, 2014.

    rate: from 0, below 1. It is rounded to a multiple of 2^-16, and the values that are kept are
    divided by 1 - the rounded one: their expectation is exact.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = check_number("Dropout's rate", rate, 0, 1)
        self.dropped = round(self.rate * LEVELS)  # levels below which a value is dropped
        if self.dropped == LEVELS:
            raise OptionError(f"Dropout's rate is {rate!r}, expected a number from 0, below 1")

    def build(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        self.shape = input_shape
        return input_shape

    def forward(self, x: Array) -> Array:
        """Return x, in training times a new mask, in place."""
        self.active = self.training and self.dropped > 0
        if not self.active:
            return x
        self.mask = self.buffer("mask", x.shape)
        self._draw(self.mask.reshape(-1))
        return np.multiply(x, self.mask, out=x)

    def _draw(self, mask: Array) -> None:
        """Fill the mask (values,): 0 or 1 / (1 - rate)."""
        source = self.generator().bit_generator
        factor = mask.dtype.type(LEVELS / (LEVELS - self.dropped))
        kept = self.buffer("kept", (min(BLOCK, mask.size),), bool)
        for start in range(0, mask.size, BLOCK):
            part = mask[start : start + BLOCK]
            words = source.random_raw(-(-part.size // 4))  # twice as fast as Generator.integers
            levels = words.view(np.uint16)[: part.size]
            np.greater_equal(levels, self.dropped, out=kept[: part.size])
            np.multiply(kept[: part.size], factor, out=part)

    def backward(self, dy: Array) -> Array:
        """Return dy times the same mask, in place."""
        return np.multiply(dy, self.mask, out=dy) if self.active else dy

    def workspace_size(self, images: int) -> int:
        """Count the mask."""
        return math.prod(self.shape) * images

    def __repr__(self) -> str:
        return f"Dropout({self.rate:g})"
