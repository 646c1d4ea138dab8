"""The gradient checker: an analytic gradient against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

STEP = 1e-5  # truncation ~ STEP^2, cancellation ~ 1e-16/STEP: both well below TOLERANCE
TOLERANCE = 1e-6
RANDOM_DIRECTIONS = 5
EACH_COORDINATE_UP_TO = 40


def check_gradient(value: Callable[[Array], float], x: Array, gradient: Array) -> None:
    """Raise AssertionError unless gradient (like x) is the gradient of value at x.

    Compares the derivative of value along random directions, and along each coordinate where x
    is small. Errors are relative to the derivative, or to the root mean square of the gradient's
    entries where the derivative is smaller than that (its own digits are lost by cancellation).
    value must be smooth around x: keep away from the kink of a ReLU.
    """
    assert x.dtype == gradient.dtype == np.float64
    assert x.shape == gradient.shape
    typical = np.sqrt(np.mean(np.square(gradient)))
    for name, direction in _directions(x.shape):
        analytic = float(np.sum(gradient * direction))
        ahead, behind = value(x + STEP * direction), value(x - STEP * direction)
        numeric = (ahead - behind) / (2 * STEP)
        error = abs(analytic - numeric)
        assert error <= TOLERANCE * max(abs(analytic), abs(numeric), typical), (
            f"along {name}: analytic {analytic!r}, numeric {numeric!r}, difference {error:.2e}"
        )


def _directions(shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Yield named unit vectors of this shape."""
    rng = np.random.default_rng(0)
    for number in range(RANDOM_DIRECTIONS):
        direction = rng.standard_normal(shape)
        yield f"random direction {number}", direction / np.linalg.norm(direction)
    if np.prod(shape) <= EACH_COORDINATE_UP_TO:
        for index in np.ndindex(shape):
            direction = np.zeros(shape)
            direction[index] = 1
            yield f"coordinate {index}", direction
