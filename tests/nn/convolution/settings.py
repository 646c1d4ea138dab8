"""Convolutions of every kind to compare on, drawn by hypothesis."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from dpcnn.nn import Convolution
from tests.nn.layers import alone, draw
from tests.reference import Array


class Setting(NamedTuple):
    """A convolution, and the shape (C, H, W, N) of its input."""

    shape: tuple[int, int, int, int]
    arguments: dict[str, Any]

    def layer(self, algorithm: str = "auto") -> Convolution:
        return Convolution(**self.arguments, algorithm=algorithm)

    def padding(self) -> list[tuple[int, int]]:
        """Return the padding of rows and of columns, before and after; `same` by Keras' formula."""
        padding = self.arguments["padding"]
        if padding != "same":
            return [(side, side) for side in padding]
        names = ("filter_size", "stride", "dilation")
        numbers = zip(self.shape[1:3], *(self.arguments[name] for name in names), strict=True)
        return [same(*each) for each in numbers]


def same(size: int, filter_size: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return the padding as tf.nn documents it."""
    extent = (filter_size - 1) * dilation + 1
    both = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
    return both // 2, both - both // 2


def pairs(most: int, low: int = 1) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, most), st.integers(low, most))


@st.composite
def settings_of(draw: st.DrawFn, kind: str = "any", max_size: int = 9) -> Setting:
    """Draw any convolution, or a `pointwise` or `depthwise` one."""
    pointwise, depthwise = kind == "pointwise", kind == "depthwise"
    groups = draw(st.integers(2 if depthwise else 1, 4))
    channels = groups * (1 if depthwise else draw(st.integers(1, 3)))
    padding = (0, 0) if pointwise else draw(st.one_of(st.just("same"), pairs(2, low=0)))
    dilation = draw(st.one_of(st.just((1, 1)), pairs(3)))
    filter_size = (1, 1) if pointwise else draw(pairs(4))
    least = [
        max(1, step * (extent - 1) + 1 - (0 if padding == "same" else 2 * around))
        for extent, step, around in zip(filter_size, dilation, padding, strict=False)
    ]
    if padding == "same":
        least = [1, 1]
    height, width = (draw(st.integers(low, low + max_size - 1)) for low in least)
    arguments = {
        "filters": groups * draw(st.integers(1, 3)),
        "filter_size": filter_size,
        "stride": draw(pairs(3)),
        "padding": padding,
        "bias": draw(st.booleans()),
        "groups": groups,
        "dilation": dilation,
    }
    return Setting((channels, height, width, draw(st.integers(1, 3))), arguments)


def results(
    setting: Setting, algorithm: str = "auto", dtype: DTypeLike = np.float64
) -> tuple[list[Any], list[Array]]:
    """Return x, W, b (or None) and dz, drawn, and the layer's z, dx, dW and, with a bias, db."""
    layer = setting.layer(algorithm)
    alone(layer, setting.shape[:-1], dtype)
    x = draw(*setting.shape, dtype=dtype)
    z = layer.forward(x).copy()
    dz = draw(*z.shape, dtype=dtype, seed=2)
    dx = layer.backward(dz.copy())
    assert dx is not None
    gradients = [layer.dW, layer.db] if layer.bias else [layer.dW]
    return [x, layer.W, layer.b if layer.bias else None, dz], [z, dx, *gradients]
