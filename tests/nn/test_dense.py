"""The dense layer: values, gradients, and the pieces its products are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.errors import OptionError
from dpcnn.nn import Dense
from dpcnn.nn.plan import Plan
from tests.nn.layers import alone, check_layer, draw

sweep = settings(derandomize=True, deadline=None, max_examples=60)


@sweep
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4))
def test_dense_gradients(inputs: int, outputs: int, images: int) -> None:
    check_layer(Dense(outputs), draw(inputs, images))


@pytest.mark.parametrize(("inputs", "pieces"), [(192, 2), (960, 10), (509, 1), (64, 1), (7, 1)])
def test_dense_in_pieces_equals_the_whole_products(inputs: int, pieces: int) -> None:
    layer = Dense(100)
    alone(layer, (inputs,))
    x, dy = draw(inputs, 40), draw(100, 40, seed=2)
    y = layer.forward(x)
    assert len(layer.x) == pieces
    np.testing.assert_allclose(y, layer.W.T @ x + layer.b[:, None], rtol=1e-11, atol=1e-11)
    dx = layer.backward(dy)
    assert dx is not None
    np.testing.assert_allclose(dx, layer.W @ dy, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(layer.dW, x @ dy.T, rtol=1e-11, atol=1e-11)


def test_dense_refuses_input_that_is_not_flat() -> None:
    with pytest.raises(OptionError, match=r"not \(2, 3, 4\): put Flatten first"):
        Plan([Dense(5)], (2, 3, 4))


@sweep
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4))
def test_dense_gradients_without_a_bias(inputs: int, outputs: int, images: int) -> None:
    layer = Dense(outputs, bias=False)
    check_layer(layer, draw(inputs, images))
    assert layer.parameter_shapes == {"W": (inputs, outputs)}
    assert repr(layer) == f"Dense({outputs}, no bias)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"bias": 1}, "bias is 1, expected True"), ({"initializer": "he"}, "is 'he', expected he_n")],
)
def test_wrong_arguments_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(OptionError, match=f"Dense's .*{message}"):
        Dense(3, **arguments)
