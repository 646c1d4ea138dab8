"""Pooling: values, ties, sizes and gradients, against plain loops and numeric derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.errors import OptionError
from dpcnn.nn import AveragePooling, GlobalAveragePooling, Layer, MaxPooling
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.gradients import check_gradient
from tests.nn.layers import check_layer
from tests.reference import Array, window_at

sweep = settings(derandomize=True, deadline=None, max_examples=60)
kinds = pytest.mark.parametrize("kind", [MaxPooling, AveragePooling])


Pair = tuple[int, int]


@st.composite
def poolings(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[Pair, Pair, Pair]]:
    """Draw an input shape (C, H, W, N), a window that fits, a stride, also S > F and S < F, and a
    padding, in half of the cases."""
    pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
    window, stride, more = draw(pairs), draw(pairs), draw(pairs)
    padded = draw(st.booleans())
    padding = tuple(draw(st.integers(0, extent // 2)) if padded else 0 for extent in window)
    sizes = [
        max(1, extent + extra - 1 - 2 * p)
        for extent, extra, p in zip(window, more, padding, strict=True)
    ]
    return (draw(st.integers(1, 3)), *sizes, draw(st.integers(1, 3))), (window, stride, padding)


def distinct(*shape: int) -> Array:
    """Return values of which no two are near each other: a numeric derivative meets no kink."""
    values = np.random.default_rng(0).permutation(int(np.prod(shape)))
    return values.reshape(shape) / 10


def alone(layer: Layer, shape: tuple[int, ...], dtype: Any = np.float64) -> Layer:
    """Return the layer in training, built, with an input gradient."""
    network = Network(Plan([layer], shape[:-1]), dtype)
    network.context.training = layer.needs_dx = True
    return layer


def plain(
    kind: type[Layer], image: Array, dy: Array | None, window: Any, stride: Any, padding: Any
) -> Array:
    """Return y, or dx for a dy, one window at a time."""
    around = ((0, 0), *((p, p) for p in padding), (0, 0))
    x = np.pad(image, around, constant_values=-np.inf if kind is MaxPooling else 0)
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
    (top, left), (height, width) = padding, image.shape[1:3]
    return y if dy is None else dx[:, top : top + height, left : left + width]


@kinds
@sweep
@given(poolings())
def test_pooling_equals_the_plain_loops(kind: type[Any], case: Any) -> None:
    shape, sizes = case
    layer = alone(kind(*sizes), shape)
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal(shape), rng.integers(-1, 2, shape).astype(float)):  # with ties
        y = layer.forward(x)
        np.testing.assert_allclose(y, plain(kind, x, None, *sizes), rtol=1e-12, atol=1e-15)
        dy = rng.standard_normal(y.shape)
        dx = layer.backward(dy.copy())
        assert dx is not None
        np.testing.assert_allclose(dx, plain(kind, x, dy, *sizes), rtol=1e-12, atol=1e-15)
        trained = y.copy()
        layer.context.training = False
        np.testing.assert_array_equal(layer.forward(x), trained)
        layer.context.training = True


@kinds
@sweep
@given(poolings())
def test_pooling_gradients(kind: type[Any], case: Any) -> None:
    shape, sizes = case
    layer, x = alone(kind(*sizes), shape), distinct(*shape)
    dy = np.random.default_rng(1).standard_normal(layer.forward(x).shape)
    dx = layer.backward(dy.copy())
    assert dx is not None
    check_gradient(lambda x: float(np.sum(dy * layer.forward(x))), x, dx.copy())


def test_global_average_pooling() -> None:
    x = distinct(3, 4, 5, 2)
    layer = GlobalAveragePooling()
    network = Network(Plan([layer], (3, 4, 5)), np.float64)
    assert network.plan.output_shape == (3,)
    np.testing.assert_allclose(network.forward(x), x.mean(axis=(1, 2)), rtol=1e-12)
    check_layer(layer, x)
    with pytest.raises(OptionError, match="takes maps"):
        Plan([GlobalAveragePooling()], (12,))


@kinds
@pytest.mark.parametrize("padding", [(2, 1), 2, (1, 0)])
def test_padding_beyond_half_a_window_is_refused(kind: type[Any], padding: Any) -> None:
    kind((3, 2), padding=(1, 1))
    kind((1, 2), padding=(0, 1))
    with pytest.raises(OptionError, match=r"padding is .* at most half the window of 1x2"):
        kind((1, 2), padding=padding)


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
    assert kind(3).config() == {"window": (3, 3), "stride": (3, 3), "padding": (0, 0)}
    arguments = {"window": (2, 3), "stride": (1, 1), "padding": (0, 1)}
    assert kind((2, 3), 1, (0, 1)).config() == arguments
    assert repr(kind((2, 3), 1)) == f"{kind.__name__}(2x3, stride 1x1)"
    assert repr(kind((2, 3), 1, (0, 1))) == f"{kind.__name__}(2x3, stride 1x1, padding 0x1)"


@kinds
@pytest.mark.parametrize("shape", [(1, 2, 5), (1, 5, 2), (12,)])
def test_what_no_window_fits_into_is_refused(kind: type[Any], shape: tuple[int, ...]) -> None:
    words = r"3x3 does not fit into (2x5|5x2)|takes maps \(C, H, W\), not \(12,\)"
    with pytest.raises(OptionError, match=words):
        Plan([kind(3)], shape)


@kinds
@pytest.mark.parametrize("sizes", [(2, 2), (3, 2), (2, 3), (3, 2, 1)], ids=str)
def test_the_memory_needed_is_known_and_taken_once(kind: type[Any], sizes: tuple[int, ...]) -> None:
    layer = kind(*sizes)
    needed = Plan([layer], (4, 12, 12)).bytes_needed(16)
    alone(layer, (4, 12, 12, 16), np.float32)
    x = np.zeros((4, 12, 12, 16), np.float32)
    for _ in range(2):
        y = layer.forward(x)
        layer.backward(np.zeros_like(y))
        taken = x.nbytes + sum(each.nbytes for each in layer._buffers.values())
        assert 0.9 * taken < needed <= taken
