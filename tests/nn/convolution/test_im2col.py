"""im2col and its adjoint."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings

from dpcnn.nn.convolution.im2col import col2im, columns_shape, im2col
from tests import reference
from tests.nn.convolution.geometry import assert_equal_products, geometry_of
from tests.nn.layers import draw
from tests.reference import Array, Case, cases

sweep = settings(derandomize=True, deadline=None, max_examples=150)


def columns_of(x: Array, case: Case) -> Array:
    """Return the columns (C, Fh, Fw, Ho, Wo, N) of x."""
    geometry = geometry_of(case)
    columns = np.zeros(columns_shape(geometry, x.shape[-1]))
    im2col(x, columns, geometry)
    return columns


def test_the_worked_example() -> None:
    image = np.arange(16.0).reshape(1, 4, 4, 1)
    columns = columns_of(image, Case(image.shape, (2, 2), stride=1, padding=1)).reshape(4, 25)
    first = "0 0 0 0 0 | 0 0 1 2 3 | 0 4 5 6 7 | 0 8 9 10 11 | 0 12 13 14 15"
    assert columns[0].tolist() == [float(value) for value in re.findall(r"\d+", first)]


@sweep
@given(cases())
def test_im2col_equals_the_plain_loops(case: Case) -> None:
    x = draw(*case.shape)
    expected = reference.im2col(x, case)
    np.testing.assert_array_equal(columns_of(x, case).reshape(expected.shape), expected)


@sweep
@given(cases())
def test_col2im_is_the_adjoint_of_im2col(case: Case) -> None:
    x = draw(*case.shape)
    columns = columns_of(x, case)
    c = draw(*columns.shape, seed=1)
    back = np.full_like(x, np.nan)
    col2im(c, back, geometry_of(case))
    assert_equal_products((columns, c), (x, back))
