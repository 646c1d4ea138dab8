"""Plain gradient descent."""

from __future__ import annotations

import numpy as np

from dpcnn.optim.sgd import SGD


def test_a_step_is_parameters_minus_lr_times_gradient_in_place_in_float32() -> None:
    rng = np.random.default_rng(0)
    parameters, gradient = rng.standard_normal((2, 1000)).astype(np.float32)
    expected = parameters - np.float32(0.01) * gradient
    view = parameters[:]
    SGD().step(parameters, gradient, lr=0.01)
    assert view.dtype == np.float32
    np.testing.assert_array_equal(view, expected)


def test_plain_descent_has_no_state_to_save() -> None:
    optimizer = SGD()
    optimizer.step(np.ones(3, np.float32), np.ones(3, np.float32), lr=0.1)
    assert optimizer.slots == {}
