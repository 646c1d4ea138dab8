"""The sizes that all algorithms share."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings

from dpcnn.errors import OptionError
from dpcnn.nn.convolution.algorithm import Axis
from tests.nn.convolution.geometry import geometry_of
from tests.reference import Case, cases

sweep = settings(derandomize=True, deadline=None, max_examples=150)


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
    assert Axis.fit("height", *arguments).output_size == expected


@pytest.mark.parametrize(
    ("arguments", "formula"),
    [
        ((28, 7, 2, 1), "height (28 - 7 + 2*1)/2 + 1 = 12.5, expected a positive integer"),
        ((4, 7, 1, 1), "height (4 - 7 + 2*1)/1 + 1 = 0, expected"),
        ((3, 9, 2, 1), "height (3 - 9 + 2*1)/2 + 1 = -1, expected"),
    ],
)
def test_a_filter_that_does_not_fit_is_refused_with_the_formula(
    arguments: tuple[int, int, int, int], formula: str
) -> None:
    with pytest.raises(OptionError, match=re.escape(formula)):
        Axis.fit("height", *arguments)


@sweep
@given(cases())
def test_the_outputs_that_see_the_image_and_what_they_see(case: Case) -> None:
    for axis in geometry_of(case)[2:]:
        for position in range(axis.filter_size):
            outputs, inputs = axis.inside(position)
            seen = [
                (output, output * axis.stride + position - axis.padding)
                for output in range(axis.output_size)
            ]
            expected = [(output, at) for output, at in seen if 0 <= at < axis.size]
            pairs = zip(range(axis.output_size)[outputs], range(axis.size)[inputs], strict=True)
            assert list(pairs) == expected
