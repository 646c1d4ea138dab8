"""The convolution by each algorithm: values, gradients, and what happens to the buffers."""

from __future__ import annotations

import copy
import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from dpcnn.errors import OptionError
from dpcnn.nn import Convolution
from dpcnn.nn.convolution.layer import ALGORITHMS
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests import reference
from tests.nn.convolution import torch_reference
from tests.nn.layers import alone, check_layer, draw
from tests.reference import Array, Case, cases

sweep = settings(derandomize=True, deadline=None, max_examples=60)
algorithms = pytest.mark.parametrize("algorithm", ALGORITHMS)
NAMES = ("z", "dW", "db", "dx")

# Shape, filter, stride and padding: the tutorial's; several channels; P >= F; S > F.
FIXED = [
    Case((1, 28, 28, 4), (7, 7), 1, 1),
    Case((3, 9, 11, 3), (3, 5), 2, 2),
    Case((2, 5, 4, 2), (1, 2), 1, 2),
    Case((4, 12, 9, 1), (2, 3), 4, 1),
]


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


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS.keys() - {"im2col"}))
@sweep
@given(cases(max_images=16), st.integers(1, 5))
def test_an_algorithm_computes_what_the_reference_computes(
    algorithm: str, case: Case, filters: int
) -> None:
    _, outputs = results(algorithm, case, filters)
    _, expected = results("im2col", case, filters)
    assert_close(outputs, expected, tolerance=1e-12)


@pytest.fixture(scope="module")
def torch_convolution() -> Iterator[Callable[..., Any]]:
    """PyTorch's convolution, in another process: tests of BLAS threads count those of this one."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        yield lambda *arguments: process.submit(torch_reference.convolution, *arguments).result()


@algorithms
@pytest.mark.parametrize("case", FIXED)
def test_a_convolution_equals_pytorchs(
    algorithm: str, case: Case, torch_convolution: Callable[..., Any]
) -> None:
    inputs, outputs = results(algorithm, case, filters=5)
    expected = torch_convolution(*inputs, case.stride, case.padding)
    assert_close(outputs, expected, tolerance=1e-12)


@algorithms
def test_the_algorithm_is_part_of_the_config(algorithm: str) -> None:
    layer = Convolution(2, 3, algorithm=algorithm)
    layer.build((1, 5, 5))
    assert layer.config()["algorithm"] == algorithm


def test_the_default_is_the_fast_algorithm() -> None:
    assert Convolution(2, 3).algorithm == "mec"


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(OptionError, match="Convolution's algorithm is 'fft', expected mec or im2c"):
        Convolution(2, 3, algorithm="fft")


@algorithms
def test_buffers_are_made_once(algorithm: str) -> None:
    case = FIXED[1]
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
