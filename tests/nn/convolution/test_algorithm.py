"""The sizes that all algorithms share."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dpcnn.errors import OptionError
from dpcnn.nn.convolution.algorithm import Axis, view


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((28, 7, 1, 1), 24),
        ((4, 2, 1, 1), 5),
        ((5, 5, 3, 0), 1),
        ((9, 3, 2, 0), 4),
        ((7, 3, 1, 1), 7),
        ((28, 7, 2, 1), 12),
        ((32, 3, 2, 1), 16),
        ((9, 3, 2, 1, 3), 3),
        ((9, 3, 4, 0, 4), 1),
    ],
)
def test_the_output_size_is_rounded_down(arguments: Any, expected: int) -> None:
    assert Axis.fit("height", *arguments).output_size == expected


@pytest.mark.parametrize(
    ("arguments", "formula"),
    [
        ((4, 7, 1, 1), "height (4 - 7 + 2*1)/1 + 1 = 0, expected"),
        ((3, 9, 2, 1), "height (3 - 9 + 2*1)/2 + 1 = -1, expected"),
        ((8, 3, 1, 1, 5), "height (8 - 11 + 2*1)/1 + 1 = 0, expected"),
    ],
)
def test_a_filter_that_does_not_fit_is_refused_with_the_formula(
    arguments: Any, formula: str
) -> None:
    with pytest.raises(OptionError, match=re.escape(formula)):
        Axis.fit("height", *arguments)


@pytest.mark.parametrize(
    ("size", "filter_size", "stride", "dilation", "padding", "outputs"),
    [
        (32, 3, 1, 1, (1, 1), 32),
        (32, 3, 2, 1, (0, 1), 16),
        (33, 3, 2, 1, (1, 1), 17),
        (28, 2, 1, 1, (0, 1), 28),
        (224, 7, 2, 1, (2, 3), 112),
        (10, 4, 3, 1, (1, 2), 4),
        (10, 3, 1, 3, (3, 3), 10),
        (10, 2, 1, 3, (1, 2), 10),
        (10, 1, 3, 1, (0, 0), 4),
        (7, 2, 5, 1, (0, 0), 2),
    ],
)
def test_same_padding_is_keras(
    size: int, filter_size: int, stride: int, dilation: int, padding: tuple[int, int], outputs: int
) -> None:
    axis = Axis.fit("height", size, filter_size, stride, "same", dilation)
    assert (axis.before, axis.after) == padding
    assert axis.output_size == outputs == math.ceil(size / stride)


@given(
    size=st.integers(1, 12),
    filter_size=st.integers(1, 4),
    stride=st.integers(1, 4),
    padding=st.sampled_from([0, 1, 2, 5, "same"]),
    dilation=st.integers(1, 3),
)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_the_outputs_that_see_the_image_and_what_they_see(**numbers: Any) -> None:
    try:
        axis = Axis.fit("height", **numbers)
    except OptionError:
        assume(False)
    assert len(axis.spans) == axis.filter_size
    for position, (outputs, inputs) in enumerate(axis.spans):
        seen = [
            (output, output * axis.stride + position * axis.dilation - axis.before)
            for output in range(axis.output_size)
        ]
        expected = [(output, at) for output, at in seen if 0 <= at < axis.size]
        pairs = zip(range(axis.output_size)[outputs], range(axis.size)[inputs], strict=True)
        assert list(pairs) == expected


def test_a_view_shares_the_memory_and_never_leaves_it() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    windows = view(array, (2, 8), (16, 4))
    np.testing.assert_array_equal(windows, np.lib.stride_tricks.as_strided(array, (2, 8), (16, 4)))
    array[1] = -1
    assert (windows == -1).sum() == 8
    with pytest.raises(ValueError, match=r"too small|incompatible"):
        view(array, (3, 8), (16, 4))
