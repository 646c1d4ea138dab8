"""Winograd's algorithms against the reference, at all widths and paddings, and their matrices."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from dpcnn.nn import Convolution
from dpcnn.nn.convolution import toom_cook
from dpcnn.nn.convolution.algorithm import MANY_IMAGES
from dpcnn.nn.convolution.im2col import IM2COL
from dpcnn.nn.convolution.winograd import WINOGRAD
from dpcnn.nn.convolution.winograd2d import WINOGRAD2D
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.nn.layers import alone, check_layer, draw
from tests.reference import Array

both_algorithms = st.sampled_from(["winograd", "winograd2d"])
sweep = settings(derandomize=True, deadline=None, max_examples=60)
both = pytest.mark.parametrize("algorithm", ["winograd", "winograd2d"])


def results(
    algorithm: str,
    shape: tuple[int, ...],
    filters: int,
    padding: Any,
    dtype: DTypeLike,
    filter_size: Any = 3,
) -> list[Array]:
    """Return z, dx, dW of random images (C, H, W, N), weights and dz; the second of two rounds."""
    layer = Convolution(filters, filter_size, padding=padding, algorithm=algorithm)
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


@sweep
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 11), st.integers(1, 13), st.integers(1, 3)),
    st.integers(1, 3),
    st.tuples(st.sampled_from([3, 5]), st.sampled_from([3, 5])),
    st.one_of(st.just("same"), st.tuples(st.integers(0, 4), st.integers(0, 4))),
)
def test_in_both_directions_it_computes_what_the_reference_does(
    shape: tuple[int, int, int, int], filters: int, filter_size: tuple[int, int], padding: Any
) -> None:
    if padding != "same":
        padding = tuple(min(p, f - 1) for p, f in zip(padding, filter_size, strict=True))
        numbers = zip(shape[1:3], padding, filter_size, strict=True)
        assume(all(size + 2 * p >= f for size, p, f in numbers))
    pairs = zip(
        results("winograd2d", shape, filters, padding, np.float64, filter_size),
        results("im2col", shape, filters, padding, np.float64, filter_size),
        strict=True,
    )
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("algorithm", "filter_size", "channels", "size", "filters", "error"),
    [
        ("winograd", 3, 16, 32, 16, 5e-6),
        ("winograd", 3, 128, 8, 128, 5e-6),
        ("winograd2d", 3, 128, 8, 128, 2e-5),
        ("winograd2d", 5, 16, 12, 32, 2e-5),
    ],
)
def test_in_float32_it_is_close_to_the_reference(
    algorithm: str, filter_size: int, channels: int, size: int, filters: int, error: float
) -> None:
    shape = (channels, size, size, 4)
    pairs = zip(
        results(algorithm, shape, filters, "same", np.float32, filter_size),
        results("im2col", shape, filters, "same", np.float64, filter_size),
        strict=True,
    )
    for found, expected in pairs:
        assert np.abs(found - expected).max() < error * np.abs(expected).max()


def evaluated(
    algorithm: str,
    shape: tuple[int, ...],
    filters: int,
    padding: Any,
    dtype: DTypeLike,
    filter_size: Any = 3,
    groups: int = 1,
) -> Array:
    """Return z of random images (C, H, W, N) in evaluation, the second of two rounds."""
    layer = Convolution(filters, filter_size, padding=padding, groups=groups, algorithm=algorithm)
    network = alone(layer, shape[:-1], dtype)
    network.forward(draw(*shape, seed=2, dtype=dtype))
    return network.forward(draw(*shape, dtype=dtype))


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    both_algorithms,
    st.tuples(st.integers(1, 3), st.integers(1, 11), st.integers(1, 13)),
    st.integers(1, 3),
    st.tuples(st.sampled_from([3, 5]), st.sampled_from([3, 5])),
    st.one_of(st.just("same"), st.tuples(st.integers(0, 4), st.integers(0, 4))),
    st.integers(1, 2),
)
def test_many_images_are_evaluated_as_the_reference_does(
    algorithm: str,
    shape: tuple[int, int, int],
    filters: int,
    filter_size: tuple[int, int],
    padding: Any,
    groups: int,
) -> None:
    if algorithm == "winograd":
        filter_size = 3, 3
    if padding != "same":
        padding = tuple(min(p, f - 1) for p, f in zip(padding, filter_size, strict=True))
        numbers = zip(shape[1:], padding, filter_size, strict=True)
        assume(all(size + 2 * p >= f for size, p, f in numbers))
    channels, *sizes = shape
    x_shape = (groups * channels, *sizes, MANY_IMAGES)
    arguments = (x_shape, groups * filters, padding, np.float64, filter_size, groups)
    found, expected = (evaluated(each, *arguments) for each in (algorithm, "im2col"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("algorithm", "filter_size", "channels", "error"),
    [("winograd", 3, 32, 5e-6), ("winograd2d", 3, 64, 2e-5), ("winograd2d", 5, 16, 2e-5)],
)
def test_many_images_are_evaluated_in_float32_close_to_the_reference(
    algorithm: str, filter_size: int, channels: int, error: float
) -> None:
    shape = (channels, 8, 8, MANY_IMAGES)
    found = evaluated(algorithm, shape, 32, "same", np.float32, filter_size)
    expected = evaluated("im2col", shape, 32, "same", np.float64, filter_size)
    assert np.abs(found - expected).max() < error * np.abs(expected).max()


def test_only_evaluation_of_many_images_has_a_forward_of_its_own() -> None:
    for algorithm in (WINOGRAD, WINOGRAD2D):
        assert algorithm.forward_of(MANY_IMAGES, training=False) is algorithm.evaluate
        assert algorithm.forward_of(MANY_IMAGES - 1, training=False) is algorithm.forward
        assert algorithm.forward_of(MANY_IMAGES, training=True) is algorithm.forward
    assert IM2COL.forward_of(MANY_IMAGES, training=False) is IM2COL.forward


@pytest.mark.parametrize("filter_size", [3, 5])
def test_the_gradients_in_both_directions_are_the_numeric_ones(filter_size: int) -> None:
    layer = Convolution(2, filter_size, padding=1, algorithm="winograd2d")
    check_layer(layer, draw(2, 6, 5, 2))


def test_the_matrices_give_four_outputs_of_three_values_exactly() -> None:
    rng = np.random.default_rng(0)
    d, g = rng.integers(-9, 9, 6), rng.integers(-9, 9, 3)
    B_T, G, A_T, _ = toom_cook.matrices(3, np.dtype(np.float64))
    exact = [[Fraction(value).limit_denominator(24) for value in row] for row in G.tolist()]
    U = [sum(a * int(b) for a, b in zip(row, g, strict=True)) for row in exact]
    M = [u * int(v) for u, v in zip(U, B_T @ d, strict=True)]
    y = [sum(int(a) * m for a, m in zip(row, M, strict=True)) for row in A_T]
    assert y == [int(d[start : start + 3] @ g) for start in range(4)]


@pytest.mark.parametrize("filter_size", [3, 5])
def test_the_matrices_in_both_directions_give_four_outputs(filter_size: int) -> None:
    B_T, G, A_T, overlap = toom_cook.matrices(filter_size, np.dtype(np.float64))
    rng = np.random.default_rng(0)
    points, g = len(B_T), rng.integers(-9, 9, filter_size)
    d = rng.integers(-9, 9, points + toom_cook.TILE)
    y = A_T @ ((G @ g) * (B_T @ d[:points]))
    np.testing.assert_allclose(y, [d[i : i + filter_size] @ g for i in range(4)], atol=1e-11)
    whole = np.zeros((points + 4, 2 * points))  # two tiles, of which the second begins 4 later
    whole[:points, :points] = whole[4:, points:] = B_T.T
    np.testing.assert_array_equal(overlap, whole[4:8])


@both
def test_nothing_is_left_of_images_of_another_size(algorithm: str) -> None:
    layer = Convolution(2, 3, padding=1, algorithm=algorithm)
    for size in (8, 6, 7, 5):
        fresh = Convolution(2, 3, padding=1, algorithm=algorithm)
        x = draw(2, size, size, 1)
        outputs = []
        for each in (layer, fresh):
            alone(each, (2, size, size))
            z = each.forward(x).copy()
            outputs.append((z, each.backward(z.copy()), each.dW))
        for used, new in zip(*outputs, strict=True):
            np.testing.assert_array_equal(used, new)


@both
def test_filters_that_change_in_place_are_transformed_anew(algorithm: str) -> None:
    layer = Convolution(2, 3, padding=1, algorithm=algorithm)
    network = Network(Plan([layer], (2, 5, 5)), np.float64)
    network.initialize(seed=0)
    x = draw(2, 5, 5, 1)
    first = layer.forward(x).copy()
    np.testing.assert_array_equal(layer.forward(x), first)
    network.parameters *= 2
    np.testing.assert_allclose(layer.forward(x), 2 * first)


@pytest.mark.parametrize("algorithm", ["winograd", "winograd2d"])
def test_layers_that_share_their_memory_compute_what_the_reference_does(algorithm: str) -> None:
    """Of all sizes: what a larger or a padded one leaves behind is no input of another."""
    sizes = [(6, 2, 1), (2, 0, 2), (6, (0, 2), 1), (3, 1, 3), (4, "same", 1)]
    computed = []
    for name in (algorithm, "im2col"):
        layers = [
            Convolution(k, 3, padding=padding, groups=groups, algorithm=name)
            for k, padding, groups in sizes
        ]
        network = Network(Plan(layers, (3, 7, 9)), np.float64)
        network.parameters[...] = draw(network.parameters.size)
        for images in (2, 5, 2):
            evaluated = network.forward(draw(3, 7, 9, images)).copy()
            z = network.forward(draw(3, 7, 9, images), training=True)
            network.backward(draw(*z.shape, seed=1))
            computed += [evaluated, z.copy(), network.gradient.copy()]
        assert bool(network.context.scratch) == (name == algorithm)
    half = len(computed) // 2
    for found, expected in zip(computed[:half], computed[half:], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("algorithm", ["winograd", "winograd2d"])
def test_the_memory_that_layers_share_is_counted_once(algorithm: str) -> None:
    layers = [Convolution(32, 3, padding=1, algorithm=algorithm) for _ in range(4)]
    plan = Plan(layers, (32, 8, 8))
    network = Network(plan)
    network.backward(network.forward(draw(32, 8, 8, 16, dtype=np.float32), training=True))
    taken = sum(array.nbytes for array in network.context.scratch.values())
    assert 0.8 * taken < 4 * plan.root.scratch_size(16) <= 1.05 * taken
    assert plan.root.scratch_size(16) == layers[1].scratch_size(16)
