"""Pooling: the largest value, or the mean, of each window of an image's rows and columns.

Axes as everywhere in `nn`: C channels, H rows, W columns, N images (innermost); F rows or columns
of a window, S stride; Ho, Wo the output's rows and columns. Position (i, j) of all windows is one
strided view of the input, of the output's shape (C, Ho, Wo, N), so that a layer is a handful of
operations on whole arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from dpcnn.errors import OptionError
from dpcnn.nn.checks import check_pair
from dpcnn.nn.layer import Array, Layer, Shape, image_maps

Size = int | tuple[int, int]


class Pooling(Layer):
    """What both kinds share: where the windows are.

    window: rows and columns of a window, one integer for both. stride: the step between windows,
    by default the window, so that none overlap. Rows and columns at the end that do not fill a
    window are left out: the output has (H - F)/S + 1 rows, rounded down. There is no padding.
    """

    def __init__(self, window: Size = 2, stride: Size | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        self.window = check_pair(f"{name}'s window", window)
        self.stride = check_pair(f"{name}'s stride", self.window if stride is None else stride)
        pairs = zip(self.stride, self.window, strict=True)
        self.overlapping = any(step < extent for step, extent in pairs)
        # Windows that share no value need no sums: writing takes half as long as adding.
        self.put: Callable[[Array, Array], None] = add_into if self.overlapping else np.copyto

    def build(self, input_shape: Shape) -> Shape:
        """Return (C, Ho, Wo) for (C, H, W); raises OptionError if no window fits."""
        channels, *sizes = image_maps(self, input_shape)
        if any(size < extent for size, extent in zip(sizes, self.window, strict=True)):
            raise OptionError(f"a window of {by(self.window)} does not fit into {by(sizes)}")
        outputs = [
            (size - extent) // step + 1
            for size, extent, step in zip(sizes, self.window, self.stride, strict=True)
        ]
        self.input_shape = input_shape
        self.output_shape = (channels, *outputs)
        return self.output_shape

    def views(self, x: Array) -> list[Array]:
        """View x (C, H, W, N) as (C, Ho, Wo, N) for each position in a window, row by row."""
        rows, columns = self.window
        down, across = self.stride
        _, ho, wo = self.output_shape
        return [
            x[:, i : i + (ho - 1) * down + 1 : down, j : j + (wo - 1) * across + 1 : across]
            for i in range(rows)
            for j in range(columns)
        ]

    def dx_views(self, images: int) -> tuple[Array, list[Array]]:
        """Return dx (C, H, W, N), 0 where no window is, and its views to `put` values into."""
        dx = self.buffer("dx", (*self.input_shape, images))
        if self.overlapping:
            dx.fill(0)
        return dx, self.views(dx)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({by(self.window)}, stride {by(self.stride)})"


class MaxPooling(Pooling):
    """The largest value of each window; among equal ones, the first, row by row.

    A chain of comparisons, y = max(y, view), each with a mask of where the view was larger.
    Backward goes through the chain from its end; what no view takes is left for the first.
    """

    def forward(self, x: Array) -> Array:
        """Return the largest values (C, Ho, Wo, N) of x (C, H, W, N); NaN where there is one."""
        first, *others = self.views(x)
        y = self.buffer("y", first.shape)
        candidate = self.buffer("candidate", first.shape)
        comparison = self.buffer("comparison", first.shape, bool)
        self.masks = self.buffer("masks", (len(others), *first.shape))
        np.copyto(y, first)
        for view, mask in zip(others, self.masks, strict=True):
            np.copyto(candidate, view)  # contiguous: the rest saves more time than this takes
            np.greater(candidate, y, out=comparison)
            np.copyto(mask, comparison)
            np.maximum(candidate, y, out=y)
        return y

    def backward(self, dy: Array) -> Array | None:
        """Return dx (C, H, W, N): each dy (C, Ho, Wo, N) where the largest value was, else 0."""
        if not self.needs_dx:
            return None
        dx, (first, *others) = self.dx_views(dy.shape[-1])
        masked = self.buffer("masked", dy.shape)
        for view, mask in zip(reversed(others), reversed(self.masks), strict=True):
            np.multiply(dy, mask, out=masked)
            np.subtract(dy, masked, out=dy)
            self.put(view, masked)
        self.put(first, dy)
        return dx

    def workspace_size(self, images: int) -> int:
        """Count y, candidate, masked, the masks and dx."""
        outputs = math.prod(self.output_shape) * (math.prod(self.window) + 2)
        return (outputs + math.prod(self.input_shape)) * images


class AveragePooling(Pooling):
    """The mean of each window. A window as large as the image averages each channel."""

    def forward(self, x: Array) -> Array:
        """Return the means (C, Ho, Wo, N) of x (C, H, W, N)."""
        first, *others = self.views(x)
        y = self.buffer("y", first.shape)
        np.copyto(y, first)
        for view in others:
            np.add(y, view, out=y)
        y *= y.dtype.type(1 / math.prod(self.window))
        return y

    def backward(self, dy: Array) -> Array | None:
        """Return dx (C, H, W, N): each dy (C, Ho, Wo, N), divided evenly among its window."""
        if not self.needs_dx:
            return None
        dx, views = self.dx_views(dy.shape[-1])
        dy *= dy.dtype.type(1 / math.prod(self.window))
        for view in views:
            self.put(view, dy)
        return dx

    def workspace_size(self, images: int) -> int:
        """Count y and dx."""
        return (math.prod(self.output_shape) + math.prod(self.input_shape)) * images


def add_into(view: Array, values: Array) -> None:
    """Add values to a view, in place."""
    np.add(view, values, out=view)


def by(sizes: Sequence[int]) -> str:
    """Return sizes as 2x2."""
    return "x".join(map(str, sizes))
