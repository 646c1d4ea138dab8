"""Flatten: images to features and back."""

from __future__ import annotations

import numpy as np

from dpcnn.nn import Flatten
from tests.nn.layers import draw


def test_flatten_and_back() -> None:
    x = draw(2, 3, 4, 5)
    layer = Flatten()
    assert layer.build((2, 3, 4)) == (24,)
    flat = layer.forward(x)
    np.testing.assert_array_equal(flat[:, 3], x[..., 3].ravel())
    np.testing.assert_array_equal(layer.backward(flat), x)
