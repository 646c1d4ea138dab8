"""The geometry of a case as the algorithms take it, and the test of an adjoint."""

from __future__ import annotations

import numpy as np
import pytest

from dpcnn.nn.convolution.algorithm import Axis, Geometry
from tests.reference import Array, Case


def geometry_of(case: Case, filters: int = 1) -> Geometry:
    (channels, height, width, _), (fh, fw), stride, padding = case
    rows = Axis.fit("height", height, fh, stride, padding)
    columns = Axis.fit("width", width, fw, stride, padding)
    return Geometry(filters, channels, 1, rows, columns)


def assert_equal_products(left: tuple[Array, Array], right: tuple[Array, Array]) -> None:
    """Compare <a, b> with <c, d>, relative to the size of their terms."""
    (a, b), (c, d) = left, right
    assert np.sum(a * b) == pytest.approx(np.sum(c * d), rel=0, abs=1e-12 * np.sum(np.abs(a * b)))
