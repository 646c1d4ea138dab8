"""Networks of users: of dpcnn's layers alone, and with a layer of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from dpcnn.nn import AveragePooling, Convolution, Dense, Flatten, Layer, MaxPooling, ReLU
from dpcnn.options import Options
from tests.reference import Array


def of_mnist(**options: Any) -> Options:
    """Return options as they are once a dataset like MNIST is open."""
    shapes = {"num_class": 10, "num_channel": 1, "img_height": 28, "img_width": 28}
    return Options(**shapes | options)


class Swish(Layer):
    """x * sigmoid(slope * x)."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def forward(self, x: Array) -> Array:
        self.x, self.sigmoid = x, 1 / (1 + np.exp(-self.slope * x))
        return x * self.sigmoid

    def backward(self, dy: Array) -> Array:
        slope = self.sigmoid * (1 + self.slope * self.x * (1 - self.sigmoid))
        return np.multiply(dy, slope, out=dy)


def two_convolutions() -> list[Layer]:
    return [
        *(Convolution(6, 5), ReLU(), MaxPooling(2)),
        *(Convolution(12, (3, 5), padding=1), ReLU(), AveragePooling((3, 2), 2)),
        *(Flatten(), Dense(20), ReLU(), Dense(10)),
    ]


def with_swish() -> list[Layer]:
    return [Convolution(4, 5, stride=1), Swish(1.5), MaxPooling(3, 3), Flatten(), Dense(10)]
