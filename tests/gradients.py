"""The gradient check as an assertion: an analytic gradient against central differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.nn.gradient_check import compare, random_directions

Array = NDArray[Any]

RANDOM_DIRECTIONS = 5
EACH_COORDINATE_UP_TO = 40


def check_gradient(value: Callable[[Array], float], x: Array, gradient: Array) -> None:
    """Raise AssertionError unless gradient (like x) is the gradient of value at x.

    Compares the derivative of value along random directions, and along each coordinate where x
    is small. value must be smooth around x: keep away from the kink of a ReLU.
    """
    assert x.dtype == gradient.dtype == np.float64
    assert x.shape == gradient.shape
    comparison = compare("", value, x, gradient, _directions(x.shape))
    assert comparison.agrees, str(comparison)


def _directions(shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield unit vectors of this shape."""
    yield from random_directions(shape, RANDOM_DIRECTIONS)
    if np.prod(shape) <= EACH_COORDINATE_UP_TO:
        for index in np.ndindex(shape):
            direction = np.zeros(shape)
            direction[index] = 1
            yield direction
