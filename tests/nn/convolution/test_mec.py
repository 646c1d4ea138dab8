"""The lowered image, its windows, and its adjoint."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from dpcnn.nn.convolution.mec import (
    fold,
    lower,
    lowered_shape,
    row_windows,
    transpose,
    transposed_windows,
)
from tests import reference
from tests.nn.convolution.geometry import assert_equal_products, geometry_of
from tests.nn.layers import draw
from tests.reference import Array, Case, cases

sweep = settings(derandomize=True, deadline=None, max_examples=150)


def lowered_from(x: Array, case: Case) -> Array:
    geometry = geometry_of(case)
    lowered = np.zeros(lowered_shape(geometry, x.shape[-1]))
    lower(x, lowered, geometry)
    return lowered


@sweep
@given(cases())
def test_fold_is_the_adjoint_of_lower(case: Case) -> None:
    x = draw(*case.shape)
    lowered = lowered_from(x, case)
    c = draw(*lowered.shape, seed=1)
    back = np.zeros_like(x)
    fold(c, back, geometry_of(case))
    assert_equal_products((lowered, c), (x, back))


@sweep
@given(cases())
def test_window_h_holds_the_columns_of_output_row_h(case: Case) -> None:
    x = draw(*case.shape)
    channels, images = x.shape[0], x.shape[-1]
    (fh, fw), (ho, wo) = case.filter_size, case.output
    lowered, rows = lowered_from(x, case), geometry_of(case).rows
    windows = row_windows(lowered, rows)
    transposed = np.zeros((wo * images, *lowered.shape[:3]))
    transpose(lowered, transposed)
    windows_T = transposed_windows(transposed, rows)
    assert np.shares_memory(windows, lowered)
    assert np.shares_memory(windows_T, transposed)
    columns = reference.im2col(x, case).reshape(channels, fh, fw, ho, wo * images)
    expected = columns.transpose(3, 1, 0, 2, 4).reshape(ho, fh * channels * fw, wo * images)
    np.testing.assert_array_equal(windows, expected)
    np.testing.assert_array_equal(windows_T, expected.transpose(0, 2, 1))
