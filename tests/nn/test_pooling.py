"""Pooling: values, ties, sizes and gradients, against plain loops and numeric derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.errors import OptionError
from dpcnn.nn import AveragePooling, Layer, MaxPooling
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.gradients import check_gradient
from tests.reference import Array, window_at

sweep = settings(derandomize=True, deadline=None, max_examples=60)
kinds = pytest.mark.parametrize("kind", [MaxPooling, AveragePooling])


@st.composite
def poolings(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, int], tuple[int, int]]:
    """Draw an input shape (C, H, W, N), a window that fits and a stride: also S > F and S < F."""
    pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
    window, stride, more = draw(pairs), draw(pairs), draw(pairs)
    sizes = [extent + extra - 1 for extent, extra in zip(window, more, strict=True)]
    return (draw(st.integers(1, 3)), *sizes, draw(st.integers(1, 3))), window, stride


def distinct(*shape: int) -> Array:
    """Return values of which no two are near each other: a numeric derivative meets no kink."""
    values = np.random.default_rng(0).permutation(int(np.prod(shape)))
    return values.reshape(shape) / 10


def alone(layer: Layer, shape: tuple[int, ...], dtype: Any = np.float64) -> Layer:
    """Return the layer, built, with an input gradient."""
    Network(Plan([layer], shape[:-1]), dtype)
    layer.needs_dx = True
    return layer


def plain(kind: type[Layer], x: Array, dy: Array | None, window: Any, stride: Any) -> Array:
    """Return y, or dx for a dy, one window at a time."""
    channels, height, width, images = x.shape
    ho, wo = ((s - f) // d + 1 for s, f, d in zip((height, width), window, stride, strict=True))
    y, dx = np.zeros((channels, ho, wo, images)), np.zeros_like(x)
    for c, i, j, n in np.ndindex(*y.shape):
        place = window_at(i, j, window, stride)
        values = x[c, *place, n]
        if kind is MaxPooling:
            y[c, i, j, n] = values.max()
            share = np.zeros(values.size)
            share[values.argmax()] = 1  # the first of equals
        else:
            y[c, i, j, n] = values.mean()
            share = np.full(values.size, 1 / values.size)
        if dy is not None:
            dx[c, *place, n] += share.reshape(values.shape) * dy[c, i, j, n]
    return y if dy is None else dx


@kinds
@sweep
@given(poolings())
def test_pooling_equals_the_plain_loops(kind: type[Any], case: Any) -> None:
    shape, window, stride = case
    layer = alone(kind(window, stride), shape)
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal(shape), rng.integers(0, 3, shape).astype(float)):  # with ties
        y = layer.forward(x)
        np.testing.assert_allclose(y, plain(kind, x, None, window, stride), rtol=1e-12)
        dy = rng.standard_normal(y.shape)
        dx = layer.backward(dy.copy())
        assert dx is not None
        np.testing.assert_allclose(dx, plain(kind, x, dy, window, stride), rtol=1e-12, atol=1e-15)


@kinds
@sweep
@given(poolings())
def test_pooling_gradients(kind: type[Any], case: Any) -> None:
    shape, window, stride = case
    layer, x = alone(kind(window, stride), shape), distinct(*shape)
    dy = np.random.default_rng(1).standard_normal(layer.forward(x).shape)
    dx = layer.backward(dy.copy())
    assert dx is not None
    check_gradient(lambda x: float(np.sum(dy * layer.forward(x))), x, dx.copy())


def test_the_first_of_equal_values_gets_the_gradient() -> None:
    layer = alone(MaxPooling(2), (1, 2, 2, 1))
    for values, first in (([3, 3, 3, 3], 0), ([1, 3, 3, 3], 1), ([1, 0, 3, 3], 2)):
        layer.forward(np.array(values, float).reshape(1, 2, 2, 1))
        dx = layer.backward(np.full((1, 1, 1, 1), 5.0))
        assert dx is not None
        np.testing.assert_array_equal(dx.ravel(), [5 * (place == first) for place in range(4)])


@kinds
def test_rows_and_columns_that_fill_no_window_are_left_out(kind: type[Any]) -> None:
    layer = alone(kind((2, 3)), (2, 5, 8, 1))
    x = distinct(2, 5, 8, 1)
    assert layer.build((2, 5, 8)) == (2, 2, 2)
    y = layer.forward(x)
    np.testing.assert_array_equal(y, alone(kind((2, 3)), (2, 4, 6, 1)).forward(x[:, :4, :6]))
    for _ in range(2):
        dx = layer.backward(np.ones_like(y))
        assert dx is not None
        assert not dx[:, 4:].any()
        assert not dx[:, :, 6:].any()


@kinds
def test_a_window_as_large_as_the_image_leaves_one_value_of_each_channel(kind: type[Any]) -> None:
    x = distinct(3, 4, 5, 2)
    y = alone(kind((4, 5)), x.shape).forward(x)
    expected = x.max(axis=(1, 2)) if kind is MaxPooling else x.mean(axis=(1, 2))
    np.testing.assert_allclose(y[:, 0, 0], expected, rtol=1e-12)


@kinds
def test_nan_goes_through(kind: type[Any]) -> None:
    x = np.zeros((1, 2, 4, 1), np.float32)
    x[0, 1, 1, 0] = np.nan
    y = alone(kind(2), x.shape, np.float32).forward(x)
    np.testing.assert_array_equal(y.ravel(), [np.nan, 0])


@kinds
def test_the_stride_is_the_window_if_it_is_not_said(kind: type[Any]) -> None:
    assert kind(3).config() == {"window": (3, 3), "stride": (3, 3)}
    assert kind((2, 3), 1).config() == {"window": (2, 3), "stride": (1, 1)}
    assert repr(kind((2, 3), 1)) == f"{kind.__name__}(2x3, stride 1x1)"


@kinds
@pytest.mark.parametrize("shape", [(1, 2, 5), (1, 5, 2), (12,)])
def test_what_no_window_fits_into_is_refused(kind: type[Any], shape: tuple[int, ...]) -> None:
    words = r"3x3 does not fit into (2x5|5x2)|takes maps \(C, H, W\), not \(12,\)"
    with pytest.raises(OptionError, match=words):
        Plan([kind(3)], shape)


@kinds
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2), (2, 3)])
def test_the_memory_needed_is_known_and_taken_once(
    kind: type[Any], window: int, stride: int
) -> None:
    layer = kind(window, stride)
    needed = Plan([layer], (4, 12, 12)).bytes_needed(16)
    alone(layer, (4, 12, 12, 16), np.float32)
    x = np.zeros((4, 12, 12, 16), np.float32)
    for _ in range(2):
        y = layer.forward(x)
        layer.backward(np.zeros_like(y))
        taken = x.nbytes + sum(each.nbytes for each in layer._buffers.values())
        assert 0.9 * taken < needed <= taken
