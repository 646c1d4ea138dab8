"""The layers: values, gradients and what happens to their buffers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from dpcnn.errors import OptionError
from dpcnn.models.zoo import tutorial
from dpcnn.nn import Convolution, Dense, Flatten, Layer, ReLU
from dpcnn.nn.losses import softmax_cross_entropy
from dpcnn.nn.network import Network
from tests import reference
from tests.gradients import check_gradient
from tests.reference import Array, Geometry, geometries

sweep = settings(derandomize=True, deadline=None, max_examples=60)


def draw(*shape: int, dtype: DTypeLike = np.float64, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def alone(layer: Layer, input_shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Network:
    """Return a network of this layer only, with random parameters and an input gradient."""
    network = Network([layer], input_shape, dtype)
    network.parameters[...] = draw(network.parameters.size, seed=1)
    layer.needs_dx = True
    return network


def check_layer(layer: Layer, x: Array) -> None:
    """Check the gradients of <dy, layer(x)> with respect to the parameters and x."""
    network = alone(layer, x.shape[:-1])
    dy = draw(*layer.forward(x.copy()).shape, seed=2)
    dx = layer.backward(dy.copy())
    assert dx is not None
    dx, gradient, parameters = dx.copy(), network.gradient.copy(), network.parameters.copy()

    def of_input(x: Array) -> float:
        return float(np.sum(dy * layer.forward(x.copy())))

    def of_parameters(p: Array) -> float:
        network.parameters[...] = p
        return of_input(x)

    check_gradient(of_input, x, dx)
    check_gradient(of_parameters, parameters, gradient)


def convolution(geometry: Geometry, filters: int) -> Convolution:
    return Convolution(filters, *geometry[1:])


@sweep
@given(geometries(max_size=6, max_images=2), st.integers(1, 3))
def test_convolution_gradients(geometry: Geometry, filters: int) -> None:
    check_layer(convolution(geometry, filters), draw(*geometry.shape))


@sweep
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4))
def test_dense_gradients(inputs: int, outputs: int, images: int) -> None:
    check_layer(Dense(outputs), draw(inputs, images))


@pytest.mark.parametrize(("inputs", "pieces"), [(192, 2), (960, 10), (509, 1), (64, 1), (7, 1)])
def test_dense_in_pieces_equals_the_whole_products(inputs: int, pieces: int) -> None:
    network = alone(Dense(100), (inputs,))
    [layer] = network.layers
    x, dy = draw(inputs, 40), draw(100, 40, seed=2)
    y = layer.forward(x)
    assert len(layer.x) == pieces
    np.testing.assert_allclose(y, layer.W.T @ x + layer.b[:, None], rtol=1e-11, atol=1e-11)
    dx = layer.backward(dy)
    np.testing.assert_allclose(dx, layer.W @ dy, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(layer.dW, x @ dy.T, rtol=1e-11, atol=1e-11)


def test_relu_gradient() -> None:
    x = draw(2, 3, 3, 2)
    x += 0.1 * np.sign(x)
    network = alone(ReLU(), x.shape[:-1])
    dy = draw(*x.shape, seed=2)
    network.forward(x.copy())
    dx = network.layers[0].backward(dy.copy())
    assert dx is not None
    check_gradient(lambda x: float(np.sum(dy * network.forward(x.copy()))), x, dx)


@sweep
@given(geometries(max_size=7), st.integers(1, 3))
def test_convolution_equals_the_plain_loops(geometry: Geometry, filters: int) -> None:
    compare_with_the_plain_loops(geometry, filters, np.float64, tolerance=1e-10)


@settings(sweep, max_examples=20)
@given(geometries(max_size=7), st.integers(1, 3))
def test_float32_convolution_is_close_to_the_plain_loops(geometry: Geometry, filters: int) -> None:
    compare_with_the_plain_loops(geometry, filters, np.float32, tolerance=1e-5)


def compare_with_the_plain_loops(
    geometry: Geometry, filters: int, dtype: DTypeLike, tolerance: float
) -> None:
    """Compare z, dW, db and dx with float64 loops on the same numbers."""
    layer = convolution(geometry, filters)
    alone(layer, geometry.shape[:-1], dtype)
    x = draw(*geometry.shape, dtype=dtype)
    z = layer.forward(x).copy()
    dz = draw(*z.shape, dtype=dtype, seed=2)
    dx = layer.backward(dz.copy())
    x, W, b, dz = (a.astype(np.float64) for a in (x, layer.W, layer.b, dz))
    found = z, layer.dW, layer.db, dx
    expected = (
        reference.convolution(x, W, b, geometry),
        *reference.convolution_gradients(x, W, dz, geometry),
    )
    for name, ours, loops in zip(("z", "dW", "db", "dx"), found, expected, strict=True):
        assert ours is not None
        assert ours.dtype == dtype
        atol = tolerance * max(1.0, float(np.abs(loops).max()))
        np.testing.assert_allclose(ours, loops, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize(
    ("layer", "shape"), [(Convolution(2, (3, 3)), (1, 4, 4)), (Dense(2), (3,))], ids=repr
)
def test_the_first_layer_computes_no_input_gradient(layer: Layer, shape: tuple[int, ...]) -> None:
    network = Network([layer], shape)
    z = network.forward(draw(*shape, 2, dtype=np.float32))
    assert layer.backward(np.ones_like(z)) is None
    assert network.gradient.any()


def test_a_second_forward_returns_the_same_memory() -> None:
    network = Network(tutorial(n_filter=3), (1, 10, 10))
    for layer, shape in zip(network.layers, network.shapes, strict=False):
        x = draw(*shape, 4, dtype=np.float32)
        first = layer.forward(x)
        assert np.shares_memory(layer.forward(x), first), layer


def test_a_step_allocates_nothing_large() -> None:
    network = Network(tutorial(), (1, 28, 28))
    network.initialize(seed=0)
    images, labels = draw(1, 28, 28, 16, dtype=np.float32), np.arange(16) % 10

    def step() -> None:
        loss = softmax_cross_entropy(network.forward(images), labels, batch=64)
        network.backward(loss.dlogits)

    step()
    tracemalloc.start()
    try:
        step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_mixed_micro_batch_sizes_give_what_fresh_networks_give() -> None:
    def build() -> Network:
        layers = [Convolution(3, (3, 3), padding=1), ReLU(), Convolution(4, (3, 3), 2, padding=2)]
        network = Network([*layers, ReLU(), Flatten(), Dense(5)], (2, 7, 7))
        network.initialize(seed=0)
        return network

    def step(network: Network, seed: int, n: int) -> tuple[Array, Array]:
        logits = network.forward(draw(2, 7, 7, n, dtype=np.float32, seed=seed)).copy()
        network.backward(draw(5, n, dtype=np.float32, seed=seed))
        return logits, network.gradient.copy()

    used = build()
    for seed, n in enumerate((16, 5, 16, 1, 5)):
        for ours, fresh in zip(step(used, seed, n), step(build(), seed, n), strict=True):
            np.testing.assert_array_equal(ours, fresh)


def test_relu_gives_zero_for_negative_values_and_keeps_nan() -> None:
    network = alone(ReLU(), (6,), np.float32)
    x = np.array([[-2, -1e-30, 0, 1e-30, 3, np.nan]], np.float32).T
    y = network.forward(x)
    assert np.shares_memory(y, x)
    np.testing.assert_array_equal(y.T, np.array([[0, 0, 0, 1e-30, 3, np.nan]], np.float32))


def test_flatten_and_back() -> None:
    x = draw(2, 3, 4, 5)
    layer = Flatten()
    assert layer.build((2, 3, 4)) == (24,)
    flat = layer.forward(x)
    np.testing.assert_array_equal(flat[:, 3], x[..., 3].ravel())
    np.testing.assert_array_equal(layer.backward(flat), x)


def test_dense_refuses_input_that_is_not_flat() -> None:
    with pytest.raises(OptionError, match=r"not \(2, 3, 4\): put Flatten first"):
        Network([Dense(5)], (2, 3, 4))
