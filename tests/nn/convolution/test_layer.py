"""The convolution by its general algorithms: values, gradients, and what happens to the buffers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from dpcnn.nn import Convolution
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests import reference
from tests.nn.layers import alone, check_layer, draw
from tests.reference import Array, Case, cases

sweep = settings(derandomize=True, deadline=None, max_examples=60)
algorithms = pytest.mark.parametrize("algorithm", ["mec", "im2col"])
NAMES = ("z", "dW", "db", "dx")


def results(
    algorithm: str, case: Case, filters: int, dtype: DTypeLike = np.float64
) -> tuple[list[Array], list[Array]]:
    """Return x, W, b and dz, drawn, and the layer's z, dW, db and dx."""
    layer = Convolution(filters, *case[1:], algorithm=algorithm)
    alone(layer, case.shape[:-1], dtype)
    x = draw(*case.shape, dtype=dtype)
    z = layer.forward(x).copy()
    dz = draw(*z.shape, dtype=dtype, seed=2)
    dx = layer.backward(dz.copy())
    assert dx is not None
    return [x, layer.W, layer.b, dz], [z, layer.dW, layer.db, dx]


def assert_close(values: Any, expected: Any, tolerance: float) -> None:
    """Compare z, dW, db and dx, each relative to its largest expected value, or 1."""
    for name, value, other in zip(NAMES, values, expected, strict=True):
        atol = tolerance * max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(value, other, rtol=0, atol=atol, err_msg=name)


@algorithms
@sweep
@given(cases(max_size=6, max_images=2), st.integers(1, 3))
def test_the_gradients_are_the_numeric_ones(algorithm: str, case: Case, filters: int) -> None:
    layer = Convolution(filters, *case[1:], algorithm=algorithm)
    check_layer(layer, draw(*case.shape))


@algorithms
@sweep
@given(cases(max_size=7), st.integers(1, 3))
def test_a_convolution_equals_the_plain_loops(algorithm: str, case: Case, filters: int) -> None:
    compare_with_the_plain_loops(algorithm, case, filters, np.float64, tolerance=1e-10)


@algorithms
@settings(sweep, max_examples=20)
@given(cases(max_size=7), st.integers(1, 3))
def test_a_float32_convolution_is_close_to_the_plain_loops(
    algorithm: str, case: Case, filters: int
) -> None:
    compare_with_the_plain_loops(algorithm, case, filters, np.float32, tolerance=1e-5)


def compare_with_the_plain_loops(
    algorithm: str, case: Case, filters: int, dtype: DTypeLike, tolerance: float
) -> None:
    """Compare z, dW, db and dx with float64 loops on the same numbers."""
    inputs, outputs = results(algorithm, case, filters, dtype)
    assert {output.dtype for output in outputs} == {np.dtype(dtype)}
    x, W, b, dz = (each.astype(np.float64) for each in inputs)
    z = reference.convolution(x, W, b, case)
    assert_close(outputs, (z, *reference.convolution_gradients(x, W, dz, case)), tolerance)


@algorithms
def test_the_algorithm_is_part_of_the_config(algorithm: str) -> None:
    layer = Convolution(2, 3, algorithm=algorithm)
    layer.build((1, 5, 5))
    assert layer.config()["algorithm"] == algorithm


@algorithms
def test_buffers_are_made_once(algorithm: str) -> None:
    case = Case((3, 9, 11, 3), (3, 5), 2, 2)
    layer = Convolution(5, *case[1:], algorithm=algorithm)
    alone(layer, case.shape[:-1])
    x = draw(*case.shape)
    z = layer.forward(x)
    dx = layer.backward(np.ones_like(z))
    buffers = {key: id(buffer) for key, buffer in layer._buffers.items()}
    assert layer.forward(x) is z
    assert layer.backward(np.ones_like(z)) is dx
    assert buffers == {key: id(buffer) for key, buffer in layer._buffers.items()}


@algorithms
def test_a_layer_may_be_built_again_for_other_images(algorithm: str) -> None:
    layer = Convolution(2, (3, 3), padding=2, algorithm=algorithm)
    for shape in ((1, 4, 9), (2, 9, 4), (1, 9, 4), (1, 4, 9)):
        fresh = Convolution(2, (3, 3), padding=2, algorithm=algorithm)
        x = draw(*shape, 2)
        outputs = []
        for each in (layer, fresh):
            alone(each, shape)
            z = each.forward(x).copy()
            dx = each.backward(z.copy())
            outputs.append((z, each.dW, each.db, dx))
        for used, new in zip(*outputs, strict=True):
            np.testing.assert_array_equal(used, new)


@algorithms
def test_a_copy_of_a_built_layer_computes_the_same_by_itself(algorithm: str) -> None:
    layer = Convolution(2, (3, 3), padding=1, algorithm=algorithm)
    network = Network(Plan([layer], (2, 6, 5)))
    network.initialize(seed=0)
    x = draw(2, 6, 5, 3, dtype=np.float32)
    z = layer.forward(x).copy()
    copied = copy.deepcopy(layer)
    copied_network = Network(Plan([copied], (2, 6, 5)))
    copied_network.initialize(seed=0)
    network.parameters.fill(0)
    np.testing.assert_array_equal(copied.forward(x), z)
    assert not layer.forward(x).any()
