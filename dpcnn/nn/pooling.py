"""Pooling: the largest value, or the mean, of each window of an image's rows and columns.

Axes as everywhere in `nn`: C channels, H rows, W columns, N images (innermost); F rows or columns
of a window, S stride; Ho, Wo the output's rows and columns. Position (i, j) of all windows is one
strided view of the input, of the output's shape (C, Ho, Wo, N), so that a layer is a handful of
operations on whole arrays. With padding, P rows or columns on each side, the view is of those
windows only whose position (i, j) lies in the image: the padding is never made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from dpcnn.errors import OptionError
from dpcnn.nn.blocks import blocks, copy_pixels
from dpcnn.nn.checks import check_pair
from dpcnn.nn.layer import Array, Layer, Shape, image_maps

Size = int | tuple[int, int]
Part = tuple[slice, slice, slice]  # of channels, rows and columns


class Pooling(Layer):
    """What both kinds share: where the windows are.

    window: rows and columns of a window, one integer for both. stride: the step between windows,
    by default the window, so that none overlap. padding: rows and columns on each side, at most
    half a window. Rows and columns at the end that do not fill a window are left out: the output
    has (H + 2P - F)/S + 1 rows, rounded down.
    """

    overwrites_x = False

    def __init__(self, window: Size = 2, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.window = check_pair(f"{name}'s window", window)
        self.stride = check_pair(f"{name}'s stride", self.window if stride is None else stride)
        self.padding = check_pair(f"{name}'s padding", padding, low=0)
        if any(2 * p > f for p, f in zip(self.padding, self.window, strict=True)):
            raise OptionError(
                f"{name}'s padding is {padding!r}, expected at most half the window of"
                f" {by(self.window)}"
            )
        pairs = zip(self.stride, self.window, strict=True)
        self.overlapping = any(step < extent for step, extent in pairs)
        # Windows that share no value need no sums: writing takes half as long as adding.
        self.put: Callable[[Array, Array], None] = add_into if self.overlapping else copy_pixels

    def build(self, input_shape: Shape) -> Shape:
        """Return (C, Ho, Wo) for (C, H, W); raises OptionError if no window fits."""
        channels, *sizes = image_maps(self, input_shape)
        padded = [size + 2 * p for size, p in zip(sizes, self.padding, strict=True)]
        if any(size < extent for size, extent in zip(padded, self.window, strict=True)):
            raise OptionError(f"a window of {by(self.window)} does not fit into {by(padded)}")
        outputs = [
            (size - extent) // step + 1
            for size, extent, step in zip(padded, self.window, self.stride, strict=True)
        ]
        self.input_shape = input_shape
        self.output_shape = (channels, *outputs)
        self._positions: list[tuple[Part, Part]] = []  # made when first needed: a plan is small
        self._axes: list[list[tuple[slice, slice]]] = []
        return self.output_shape

    def positions(self) -> list[tuple[Part, Part]]:
        """Return, row by row of a window, each position's part of the output and of the input.

        The part of the output is the windows whose position lies in the image; all, unless padded.
        """
        if not self._positions:
            rows, columns = self.axes()
            self._positions = [
                ((slice(None), out_rows, out_columns), (slice(None), in_rows, in_columns))
                for out_rows, in_rows in rows
                for out_columns, in_columns in columns
            ]
        return self._positions

    def axes(self) -> list[list[tuple[slice, slice]]]:
        """Return, of rows and of columns, each position's part of the output and of the input."""
        if not self._axes:
            self._axes = [self._along(axis) for axis in (0, 1)]
        return self._axes

    def _along(self, axis: int) -> list[tuple[slice, slice]]:
        """Return each position's part of the output and of the input, of rows (0) or columns."""
        size, outputs = self.input_shape[1 + axis], self.output_shape[1 + axis]
        step, padding = self.stride[axis], self.padding[axis]
        parts = []
        for offset in range(-padding, self.window[axis] - padding):  # window o begins at o * step
            first = max(0, -(offset // step))
            end = max(first, min(outputs, (size - 1 - offset) // step + 1))
            start = first * step + offset
            parts.append((slice(first, end), slice(start, start + (end - first) * step, step)))
        return parts

    def dx_buffer(self, images: int) -> Array:
        """Return dx (C, H, W, N), 0 where no window is, to `put` values into."""
        dx = self.buffer("dx", (*self.input_shape, images))
        if self.overlapping:
            dx.fill(0)
        return dx

    def __repr__(self) -> str:
        padding = f", padding {by(self.padding)}" if any(self.padding) else ""
        return f"{type(self).__name__}({by(self.window)}, stride {by(self.stride)}{padding})"


class MaxPooling(Pooling):
    """The largest value of each window; among equal ones, the first, row by row.

    Padding is never the largest, as in PyTorch.

    In training a chain of comparisons, y = max(y, view), each with a mask of where the view was
    larger. Backward goes through the chain from its end; what no view takes is left for the first.

    Evaluation takes the largest along the rows first, and of these along the columns: Fh + Fw views
    instead of Fh * Fw, most of them of whole rows, in blocks of channels that stay in the cache.
    With windows of 2x2 it takes 0.7 to 0.95 of training's time (tests/benchmarks/bench_layers.py).
    """

    def forward(self, x: Array) -> Array:
        """Return the largest values (C, Ho, Wo, N) of x (C, H, W, N); NaN where there is one."""
        y = self.buffer("y", (*self.output_shape, x.shape[-1]))
        if self.training:
            self._compare(x, y)
        else:
            self._largest_along_axes(x, y)
        return y

    def _largest_along_axes(self, x: Array, y: Array) -> None:
        """Write y, without masks."""
        parts = blocks(len(x), x[0].nbytes)
        by_rows = self.scratch("by rows", (parts[0].stop, y.shape[1], *x.shape[2:]))
        for part in parts:
            between = by_rows[: part.stop - part.start]
            self._largest_along(0, x[part], between)
            self._largest_along(1, between, y[part])

    def _largest_along(self, axis: int, x: Array, y: Array) -> None:
        """Write into y the largest values of each window's rows (0) or columns (1) of x."""
        every = (slice(None),) * (1 + axis)
        views = [(y[*every, windows], x[*every, places]) for windows, places in self.axes()[axis]]
        if self.padding[axis]:
            y.fill(-np.inf)
        else:  # the first and the last are of all windows: they need not be written to y first
            (_, first), *views = views
            _, last = views.pop() if views else (y, first)
            np.maximum(last, first, out=y)
        for largest, value in views:
            np.maximum(value, largest, out=largest)

    def _compare(self, x: Array, y: Array) -> None:
        """Write y, and the masks."""
        candidate = self.buffer("candidate", y.shape)
        if any(self.padding):
            self.chain = self.positions()
            y.fill(-np.inf)  # stands before the chain
        else:
            (_, first), *self.chain = self.positions()
            copy_pixels(y, x[first])
        shape = (len(self.chain), *y.shape)
        self.masks = self.buffer("masks", shape, bool)
        for (windows, place), mask in zip(self.chain, self.masks, strict=True):
            largest, value = y[windows], candidate[windows]
            copy_pixels(value, x[place])  # contiguous: the rest saves more time than this takes
            np.greater(value, largest, out=mask[windows])
            np.maximum(value, largest, out=largest)

    def backward(self, dy: Array) -> Array | None:
        """Return dx (C, H, W, N): each dy (C, Ho, Wo, N) where the largest value was, else 0."""
        if not self.needs_dx:
            return None
        assert self.training, "backward follows a forward of training"
        dx = self.dx_buffer(dy.shape[-1])
        masked = self.buffer("masked", dy.shape)
        for (windows, place), mask in zip(reversed(self.chain), reversed(self.masks), strict=True):
            np.multiply(dy[windows], mask[windows], out=masked[windows])
            np.subtract(dy[windows], masked[windows], out=dy[windows])
            self.put(dx[place], masked[windows])
        if not any(self.padding):
            _, first = self.positions()[0]
            self.put(dx[first], dy)
        return dx

    def workspace_size(self, images: int) -> int:
        """Count y, candidate, masked, the masks and dx."""
        outputs = math.prod(self.output_shape) * images
        masks = outputs * (math.prod(self.window) - (not any(self.padding))) // 4
        return 3 * outputs + masks + math.prod(self.input_shape) * images


class AveragePooling(Pooling):
    """The mean of each window. A window as large as the image averages each channel.

    Padding counts as zeros, as in PyTorch (count_include_pad): every window has its whole area.
    """

    def forward(self, x: Array) -> Array:
        """Return the means (C, Ho, Wo, N) of x (C, H, W, N)."""
        y = self.buffer("y", (*self.output_shape, x.shape[-1]))
        if any(self.padding):
            others = self.positions()
            y.fill(0)
        else:
            (_, first), *others = self.positions()
            copy_pixels(y, x[first])
        for windows, place in others:
            np.add(y[windows], x[place], out=y[windows])
        y *= y.dtype.type(1 / math.prod(self.window))
        return y

    def backward(self, dy: Array) -> Array | None:
        """Return dx (C, H, W, N): each dy (C, Ho, Wo, N), divided evenly among its window."""
        if not self.needs_dx:
            return None
        dx = self.dx_buffer(dy.shape[-1])
        dy *= dy.dtype.type(1 / math.prod(self.window))
        for windows, place in self.positions():
            self.put(dx[place], dy[windows])
        return dx

    def workspace_size(self, images: int) -> int:
        """Count y and dx."""
        return (math.prod(self.output_shape) + math.prod(self.input_shape)) * images


class GlobalAveragePooling(Layer):
    """The mean of each channel: maps (C, H, W, N) to flat (C, N).

    Source: Lin, Chen and Yan, "Network in network", ICLR 2014.
    """

    overwrites_x = False

    def build(self, input_shape: Shape) -> Shape:
        """Return (C,) for (C, H, W)."""
        channels, height, width = image_maps(self, input_shape)
        self.input_shape, self.pixels = input_shape, height * width
        return (channels,)

    def forward(self, x: Array) -> Array:
        """Return the means (C, N) of x (C, H, W, N)."""
        channels, images = len(x), x.shape[-1]
        weights = self.buffer("weights", (1, self.pixels), fill=1 / self.pixels)
        y = self.buffer("y", (channels, 1, images))
        np.matmul(weights, x.reshape(channels, self.pixels, images), out=y)  # faster than mean
        return y.reshape(channels, images)

    def backward(self, dy: Array) -> Array | None:
        """Return dx (C, H, W, N): each dy (C, N), divided evenly among its channel's pixels."""
        if not self.needs_dx:
            return None
        dx = self.buffer("dx", (*self.input_shape, dy.shape[-1]))
        dy *= dy.dtype.type(1 / self.pixels)
        np.copyto(dx, dy[:, None, None])
        return dx

    def workspace_size(self, images: int) -> int:
        """Count dx."""
        return math.prod(self.input_shape) * images


def add_into(view: Array, values: Array) -> None:
    """Add values to a view, in place."""
    np.add(view, values, out=view)


def by(sizes: Sequence[int]) -> str:
    """Return sizes as 2x2."""
    return "x".join(map(str, sizes))
