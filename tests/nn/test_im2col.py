"""im2col, its adjoint and the row windows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings

from dpcnn.errors import OptionError
from dpcnn.nn.convolution.im2col import (
    col2im,
    fold_width,
    im2col,
    output_size,
    row_windows,
    turn,
    turned_windows,
    unroll_width,
)
from tests import reference
from tests.reference import Array, Geometry, geometries

sweep = settings(derandomize=True, deadline=None, max_examples=150)


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def unroll(x: Array, geometry: Geometry) -> Array:
    channels, height, _, images = x.shape
    rows = height + 2 * geometry.padding
    unrolled = np.zeros((rows, channels, geometry.filter_size[1], geometry.output[1], images))
    unroll_width(x, unrolled, geometry.stride, geometry.padding)
    return unrolled


def test_the_worked_example() -> None:
    image = np.arange(16.0).reshape(1, 4, 4, 1)
    columns = im2col(image, (2, 2), stride=1, padding=1)
    first = "0 0 0 0 0 | 0 0 1 2 3 | 0 4 5 6 7 | 0 8 9 10 11 | 0 12 13 14 15"
    assert columns.shape == (4, 25)
    assert columns[0].tolist() == [float(value) for value in re.findall(r"\d+", first)]


@sweep
@given(geometries())
def test_im2col_equals_the_plain_loops(geometry: Geometry) -> None:
    x = draw(*geometry.shape)
    columns = im2col(x, *geometry[1:])
    np.testing.assert_array_equal(columns, reference.im2col(x, geometry))


@sweep
@given(geometries())
def test_col2im_is_the_adjoint_of_im2col(geometry: Geometry) -> None:
    x = draw(*geometry.shape)
    columns = im2col(x, *geometry[1:])
    c = draw(*columns.shape, seed=1)
    back = col2im(c, *geometry)
    assert_equal_products((columns, c), (x, back))


@sweep
@given(geometries())
def test_fold_width_is_the_adjoint_of_unroll_width(geometry: Geometry) -> None:
    x = draw(*geometry.shape)
    unrolled = unroll(x, geometry)
    c = draw(*unrolled.shape, seed=1)
    back = np.zeros_like(x)
    fold_width(c, back, geometry.stride, geometry.padding)
    assert_equal_products((unrolled, c), (x, back))


@sweep
@given(geometries())
def test_window_h_holds_the_columns_of_output_row_h(geometry: Geometry) -> None:
    x = draw(*geometry.shape)
    (channels, *_, images), (fh, fw), (ho, wo) = (
        geometry.shape,
        geometry.filter_size,
        geometry.output,
    )
    unrolled = unroll(x, geometry)
    windows = row_windows(unrolled, fh, geometry.stride)
    turned = np.zeros((wo * images, *unrolled.shape[:3]))
    turn(unrolled, turned)
    transposed = turned_windows(turned, fh, geometry.stride)
    assert np.shares_memory(windows, unrolled)
    assert np.shares_memory(transposed, turned)
    columns = reference.im2col(x, geometry).reshape(channels, fh, fw, ho, wo * images)
    expected = columns.transpose(3, 1, 0, 2, 4).reshape(ho, fh * channels * fw, wo * images)
    np.testing.assert_array_equal(windows, expected)
    np.testing.assert_array_equal(transposed, expected.transpose(0, 2, 1))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((28, 7, 1, 1), 24),
        ((4, 2, 1, 1), 5),
        ((5, 5, 3, 0), 1),
        ((9, 3, 2, 0), 4),
        ((7, 3, 1, 1), 7),
    ],
)
def test_output_size(arguments: tuple[int, int, int, int], expected: int) -> None:
    assert output_size(*arguments, axis="height") == expected


@pytest.mark.parametrize(
    ("arguments", "formula"),
    [
        ((28, 7, 2, 1), "height (28 - 7 + 2*1)/2 + 1 = 12.5, expected a positive integer"),
        ((4, 7, 1, 1), "height (4 - 7 + 2*1)/1 + 1 = 0, expected"),
        ((3, 9, 2, 1), "height (3 - 9 + 2*1)/2 + 1 = -1, expected"),
    ],
)
def test_output_size_refuses_with_the_formula(
    arguments: tuple[int, int, int, int], formula: str
) -> None:
    with pytest.raises(OptionError, match=re.escape(formula)):
        output_size(*arguments, axis="height")


def assert_equal_products(left: tuple[Array, Array], right: tuple[Array, Array]) -> None:
    """Compare <a, b> with <c, d>, relative to the size of their terms."""
    (a, b), (c, d) = left, right
    assert np.sum(a * b) == pytest.approx(np.sum(c * d), rel=0, abs=1e-12 * np.sum(np.abs(a * b)))
