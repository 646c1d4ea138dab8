"""What the algorithms of a convolution share: its axes, its sizes, and their interface.

Axes, everywhere in `nn`: C channels, H rows, W columns, N images of the micro-batch (innermost).
Of a convolution also: K filters, Fh and Fw their rows and columns, S stride, D dilation, P zero
padding, G groups of channels, Ho and Wo the output's rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple, Self

import numpy as np

from dpcnn.errors import OptionError
from dpcnn.nn.layer import Array, Shape

# Memory of that name and shape. A layer's own is zeros at first, later what was last written; what
# all layers share has any content.
Workspace = Callable[[str, Shape], Array]

Index = tuple[slice, slice, slice]  # of maps: which channels, rows and columns
MANY_IMAGES = 64  # columns that are enough for a GEMM
SAME = "same"  # as much padding as makes size/stride outputs, rounded up


class Axis(NamedTuple):
    """Rows or columns: how many the image, the filter and the output have, and what is between."""

    size: int
    filter_size: int
    stride: int
    before: int  # zero padding in front of the image
    after: int  # and behind it
    dilation: int  # from one value of the filter to the next
    output_size: int

    @classmethod
    def fit(
        cls,
        name: str,
        size: int,
        filter_size: int,
        stride: int,
        padding: int | str,
        dilation: int = 1,
    ) -> Self:
        """Return the axis with its output size (size - F + 2P)/S + 1, rounded down.

        With dilation D, F is the extent D*(F - 1) + 1. padding: P, or `same`. Raises OptionError,
        with the formula and its numbers, if there is no output.
        """
        extent = dilation * (filter_size - 1) + 1
        if isinstance(padding, int):
            before = after = padding
            if size + 2 * padding < extent:
                raise size_error(name, size, extent, padding, stride)
        else:  # there is always an output
            before, after = _same_padding(size, extent, stride)
        span = size - extent + before + after
        return cls(size, filter_size, stride, before, after, dilation, span // stride + 1)

    @property
    def extent(self) -> int:
        """From the first value of the filter to the last, both counted."""
        return self.dilation * (self.filter_size - 1) + 1

    @property
    def padded_size(self) -> int:
        """The image's rows or columns with the padding at both ends."""
        return self.before + self.size + self.after

    @property
    def adjoint(self) -> Axis:
        """The axis of the convolution, with the filters turned around, that takes dz to dx.

        There is one if the stride is 1, and nowhere more padding than a filter reaches over.
        """
        before, after = self.extent - 1 - self.before, self.extent - 1 - self.after
        return Axis(self.output_size, self.filter_size, 1, before, after, self.dilation, self.size)

    @property
    def has_adjoint(self) -> bool:
        """Whether `adjoint` is right."""
        return self.stride == 1 and max(self.before, self.after) < self.extent

    @property
    def spans(self) -> tuple[tuple[slice, slice], ...]:
        """What `inside` returns for each position of the filter."""
        return _spans(self)

    def inside(self, position: int) -> tuple[slice, slice]:
        """Return the outputs that see the image at this position of the filter, and what they see.

        Output o sees row (or column) o*S + position*D - P of the image, and padding where that is
        outside. Both slices have the same length.
        """
        offset = position * self.dilation - self.before
        first = max(0, -(offset // self.stride))
        end = min(self.output_size, (self.size - 1 - offset) // self.stride + 1)
        end = max(first, end)  # the position may lie outside for all outputs
        start = first * self.stride + offset
        return slice(first, end), slice(start, start + (end - first) * self.stride, self.stride)


@cache  # every forward asks
def _spans(axis: Axis) -> tuple[tuple[slice, slice], ...]:
    return tuple(map(axis.inside, range(axis.filter_size)))


def size_error(name: str, size: int, filter_size: int, padding: int, stride: int) -> OptionError:
    """Return the error of an output size that is not a positive integer, with its formula."""
    output = (size - filter_size + 2 * padding) / stride + 1
    return OptionError(
        f"output {name} ({size} - {filter_size} + 2*{padding})/{stride} + 1 = {output:g},"
        " expected a positive integer"
    )


def _same_padding(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after for which there are size/stride outputs, rounded up.

    What cannot be divided evenly comes after, as in Keras and TensorFlow.
    """
    outputs = -(-size // stride)
    both = max(0, (outputs - 1) * stride + extent - size)
    return both // 2, both - both // 2


class Geometry(NamedTuple):
    """The sizes of a convolution; only N changes from call to call."""

    filters: int
    channels: int
    groups: int
    rows: Axis
    columns: Axis

    @property
    def filter_shape(self) -> tuple[int, int, int, int]:
        """(K, C/G, Fh, Fw), the shape of W."""
        channels = self.channels // self.groups
        return self.filters, channels, self.rows.filter_size, self.columns.filter_size

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W), the shape of an image."""
        return self.channels, self.rows.size, self.columns.size

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(K, Ho, Wo), the shape of an image's output."""
        return self.filters, self.rows.output_size, self.columns.output_size

    @property
    def has_adjoint(self) -> bool:
        """Whether `adjoint` is right."""
        return self.rows.has_adjoint and self.columns.has_adjoint

    @property
    def adjoint(self) -> Geometry:
        """The convolution, with the filters turned around, that takes dz to dx."""
        return self._replace(
            filters=self.channels,
            channels=self.filters,
            rows=self.rows.adjoint,
            columns=self.columns.adjoint,
        )

    def positions(self) -> Iterator[tuple[tuple[int, int], Index, Index]]:
        """Yield, for each position (i, j) in the filter, the outputs that see the image, and what.

        Both are indices of maps, the second with the strides; they have the same shape.
        """
        every = slice(None)
        for i, j in np.ndindex(self.filter_shape[2:]):
            output_rows, rows = self.rows.inside(i)
            output_columns, columns = self.columns.inside(j)
            yield (i, j), (every, output_rows, output_columns), (every, rows, columns)


def view(array: Array, shape: Shape, strides: Shape) -> Array:
    """View a contiguous array with another shape and other strides in bytes, from its start.

    As numpy.lib.stride_tricks.as_strided, which takes 20 times as long for it, but never beyond the
    array's end: ValueError.
    """
    return np.ndarray(shape, array.dtype, array, 0, strides)


Forward = Callable[[Geometry, Array, Array | None, Array, Array, Workspace], None]
Backward = Callable[[Geometry, Array, Array, Array, Array, Array | None, Workspace], None]
Size = Callable[[Geometry, int, bool], int]


class Algorithm(NamedTuple):
    """A way to compute a convolution: z = W * x + b, and the gradients of W and x.

    x (C, H, W, N), z and dz (K, Ho, Wo, N), W (K, C/G, Fh, Fw), b (K,); dx and dW are shaped like x
    and W. All are contiguous, and of one type. x stays as it is until backward.

    forward(geometry, W, b, x, z, workspace): writes z; without a bias, b is None.
    backward(geometry, W, x, dz, dW, dx, workspace): writes dW and, unless it is None, dx, after the
        forward of the same x.
    workspace_size(geometry, images, needs_dx): about how many values both of them have of their own
        in the workspace, or with a dx of None.
    suits(geometry): whether it can compute this convolution; `limits` says which it can.
    pays(geometry): whether `auto` takes it where it suits.
    takes_groups: whether it computes all groups itself, or has to be called for one at a time.
    kept: the names in the workspace of what forward keeps for backward. All else may be memory that
        layers share, and everything where no backward follows. None: it needs memory of its own.
    scratch_size(geometry, images, needs_dx): about how many values of the workspace are shared.
    evaluate: forward where no backward follows, of MANY_IMAGES or more; None: as of fewer.
    """

    forward: Forward
    backward: Backward
    workspace_size: Size
    suits: Callable[[Geometry], bool]
    limits: str
    takes_groups: bool = False
    pays: Callable[[Geometry], bool] = lambda geometry: True
    kept: tuple[str, ...] | None = None
    scratch_size: Size = lambda geometry, images, needs_dx: 0
    evaluate: Forward | None = None

    def forward_of(self, images: int, training: bool) -> Forward:
        """Return the forward for so many images."""
        if training or images < MANY_IMAGES or self.evaluate is None:
            return self.forward
        return self.evaluate


def then_bias(forward: Callable[[Geometry, Array, Array, Array, Workspace], None]) -> Forward:
    """Return the forward that adds b to what forward(geometry, W, x, z, workspace) has written."""

    def with_bias(
        geometry: Geometry, W: Array, b: Array | None, x: Array, z: Array, workspace: Workspace
    ) -> None:
        forward(geometry, W, x, z, workspace)
        if b is not None:
            add_bias(z, b)

    return with_bias


def add_bias(maps: Array, b: Array) -> None:
    """Add b (K,) to maps (K, ...), in place."""
    rows = maps.reshape(len(maps), -1)
    np.add(rows, b[:, None], out=rows)


def in_turn(
    weight_gradient: Callable[[Geometry, Array, Array, Array, Workspace], None],
    input_gradient: Callable[[Geometry, Array, Array, Array, Workspace], None],
) -> Backward:
    """Return the backward that writes dW, and then dx: for gradients that have nothing in common.

    weight_gradient(geometry, x, dz, dW, workspace) and input_gradient(geometry, W, dz, dx,
    workspace) write them.
    """

    def backward(
        geometry: Geometry,
        W: Array,
        x: Array,
        dz: Array,
        dW: Array,
        dx: Array | None,
        workspace: Workspace,
    ) -> None:
        weight_gradient(geometry, x, dz, dW, workspace)
        if dx is not None:
            input_gradient(geometry, W, dz, dx, workspace)

    return backward
