"""ReLU: values and gradient, in place."""

from __future__ import annotations

import numpy as np

from dpcnn.nn import ReLU
from tests.gradients import check_gradient
from tests.nn.layers import alone, draw


def test_relu_gradient() -> None:
    x = draw(2, 3, 3, 2)
    x += 0.1 * np.sign(x)
    network = alone(ReLU(), x.shape[:-1])
    dy = draw(*x.shape, seed=2)
    network.forward(x.copy())
    dx = network.layers[0].backward(dy.copy())
    assert dx is not None
    check_gradient(lambda x: float(np.sum(dy * network.forward(x.copy()))), x, dx)


def test_relu_gives_zero_for_negative_values_and_keeps_nan() -> None:
    network = alone(ReLU(), (6,), np.float32)
    x = np.array([[-2, -1e-30, 0, 1e-30, 3, np.nan]], np.float32).T
    y = network.forward(x)
    assert np.shares_memory(y, x)
    np.testing.assert_array_equal(y.T, np.array([[0, 0, 0, 1e-30, 3, np.nan]], np.float32))
