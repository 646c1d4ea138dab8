"""Winograd's algorithm against the reference, at all widths and paddings, and its matrices."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from dpcnn.nn import Convolution
from dpcnn.nn.convolution import winograd
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.nn.layers import draw
from tests.reference import Array

sweep = settings(derandomize=True, deadline=None, max_examples=60)


def results(
    algorithm: str, shape: tuple[int, ...], filters: int, padding: Any, dtype: DTypeLike
) -> list[Array]:
    """Return z, dx, dW of random images (C, H, W, N), weights and dz; the second of two rounds."""
    layer = Convolution(filters, 3, padding=padding, algorithm=algorithm)
    network = Network(Plan([layer], shape[:-1]), dtype)
    layer.needs_dx = True
    for seed in (1, 2):
        layer.W[...] = draw(*layer.W.shape, seed=seed)
        z = layer.forward(draw(*shape, seed=seed + 2, dtype=dtype))
        dx = layer.backward(draw(*z.shape, seed=seed + 4, dtype=dtype))
    assert dx is not None
    assert network.gradient.dtype == dtype
    return [z, dx, layer.dW]


@sweep
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 11), st.integers(1, 14), st.integers(1, 3)),
    st.integers(1, 4),
    st.one_of(st.just("same"), st.tuples(st.integers(0, 2), st.integers(0, 2))),
)
def test_it_computes_what_the_reference_does(
    shape: tuple[int, int, int, int], filters: int, padding: Any
) -> None:
    sizes = shape[1:3]
    assume(padding == "same" or all(s + 2 * p >= 3 for s, p in zip(sizes, padding, strict=True)))
    pairs = zip(
        results("winograd", shape, filters, padding, np.float64),
        results("im2col", shape, filters, padding, np.float64),
        strict=True,
    )
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("channels", "size", "filters"), [(16, 32, 16), (128, 8, 128)])
def test_in_float32_it_is_close_to_the_reference(channels: int, size: int, filters: int) -> None:
    shape = (channels, size, size, 4)
    pairs = zip(
        results("winograd", shape, filters, 1, np.float32),
        results("im2col", shape, filters, 1, np.float64),
        strict=True,
    )
    for found, expected in pairs:
        assert np.abs(found - expected).max() < 5e-6 * np.abs(expected).max()


def test_the_matrices_give_four_outputs_of_three_values_exactly() -> None:
    rng = np.random.default_rng(0)
    d, g = rng.integers(-9, 9, 6), rng.integers(-9, 9, 3)
    G = [[Fraction(value).limit_denominator(24) for value in row] for row in winograd.G.tolist()]
    U = [sum(a * int(b) for a, b in zip(row, g, strict=True)) for row in G]
    M = [u * int(v) for u, v in zip(U, winograd.B_T @ d, strict=True)]
    y = [sum(int(a) * m for a, m in zip(row, M, strict=True)) for row in winograd.A_T]
    assert y == [int(d[start : start + 3] @ g) for start in range(4)]


def test_filters_that_change_in_place_are_transformed_anew() -> None:
    layer = Convolution(2, 3, padding=1, algorithm="winograd")
    network = Network(Plan([layer], (2, 5, 5)), np.float64)
    network.initialize(seed=0)
    x = draw(2, 5, 5, 1)
    first = layer.forward(x).copy()
    np.testing.assert_array_equal(layer.forward(x), first)
    network.parameters *= 2
    np.testing.assert_allclose(layer.forward(x), 2 * first)


def test_layers_that_share_their_memory_compute_what_the_reference_does() -> None:
    """Of all sizes: what a larger or a padded one leaves behind is no input of another."""
    sizes = [(5, 2), (2, 0), (6, (0, 2)), (3, 1), (4, "same")]
    gradients = []
    for algorithm in ("winograd", "im2col"):
        layers = [Convolution(k, 3, padding=p, algorithm=algorithm) for k, p in sizes]
        network = Network(Plan(layers, (3, 7, 9)), np.float64)
        network.initialize(seed=0)
        for images in (2, 5, 2):
            z = network.forward(draw(3, 7, 9, images), training=True)
            network.backward(draw(*z.shape, seed=1))
            gradients.append(network.gradient.copy())
        assert bool(network.context.scratch) == (algorithm == "winograd")
    for found, expected in zip(gradients[:3], gradients[3:], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_the_memory_that_layers_share_is_counted_once() -> None:
    layers = [Convolution(32, 3, padding=1, algorithm="winograd") for _ in range(4)]
    plan = Plan(layers, (32, 8, 8))
    network = Network(plan)
    network.backward(network.forward(draw(32, 8, 8, 16, dtype=np.float32), training=True))
    taken = sum(array.nbytes for array in network.context.scratch.values())
    assert 0.8 * taken < 4 * plan.root.scratch_size(16) <= 1.05 * taken
    assert plan.root.scratch_size(16) == layers[0].scratch_size(16)
