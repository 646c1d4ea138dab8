"""What the algorithms of a convolution share: its axes, its sizes, and their interface.

Axes, everywhere in `nn`: C channels, H rows, W columns, N images of the micro-batch (innermost).
Of a convolution also: K filters, Fh and Fw their rows and columns, S stride, P zero padding,
Ho and Wo the output's rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

from dpcnn.errors import OptionError
from dpcnn.nn.layer import Array, Shape

# A layer's buffer of that name and shape: zeros when it is made, later what was last written.
Workspace = Callable[[str, Shape], Array]


class Axis(NamedTuple):
    """Rows or columns: how many the image, the filter and the output have; stride and padding."""

    size: int
    filter_size: int
    stride: int
    padding: int  # at either end
    output_size: int

    @classmethod
    def fit(cls, name: str, size: int, filter_size: int, stride: int, padding: int) -> Self:
        """Return the axis with its output size (size - F + 2P)/S + 1.

        Raises OptionError, with the formula and its numbers, if that is not a positive integer.
        """
        span = size - filter_size + 2 * padding
        if span < 0 or span % stride:
            raise OptionError(
                f"output {name} ({size} - {filter_size} + 2*{padding})/{stride} + 1 ="
                f" {span / stride + 1:g}, expected a positive integer"
            )
        return cls(size, filter_size, stride, padding, span // stride + 1)

    @property
    def padded_size(self) -> int:
        """The image's rows or columns with the padding at both ends."""
        return self.size + 2 * self.padding

    def inside(self, position: int) -> tuple[slice, slice]:
        """Return the outputs that see the image at this position of the filter, and what they see.

        Output o sees row (or column) o*S + position - P of the image, and padding where that is
        outside. Both slices have the same length.
        """
        offset = position - self.padding
        first = max(0, -(offset // self.stride))
        end = min(self.output_size, (self.size - 1 - offset) // self.stride + 1)
        end = max(first, end)  # the position may lie outside for all outputs
        start = first * self.stride + offset
        return slice(first, end), slice(start, start + (end - first) * self.stride, self.stride)


class Geometry(NamedTuple):
    """The sizes of a convolution; only N changes from call to call."""

    filters: int
    channels: int
    rows: Axis
    columns: Axis

    @property
    def filter_shape(self) -> tuple[int, int, int, int]:
        """(K, C, Fh, Fw), the shape of W."""
        return self.filters, self.channels, self.rows.filter_size, self.columns.filter_size

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W), the shape of an image."""
        return self.channels, self.rows.size, self.columns.size

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(K, Ho, Wo), the shape of an image's output."""
        return self.filters, self.rows.output_size, self.columns.output_size


class Algorithm(NamedTuple):
    """A way to compute a convolution without its bias: z = W * x and its gradients.

    x (C, H, W, N), z and dz (K, Ho, Wo, N), W (K, C, Fh, Fw); dx and dW are shaped like x and W.
    All are contiguous, and of one type.

    forward(geometry, W, x, z, workspace): writes z, and keeps in the workspace what the gradients
        need of x.
    weight_gradient(geometry, dz, dW, workspace): writes dW, after the forward of the same images.
    input_gradient(geometry, W, dz, dx, workspace): writes dx.
    workspace_size(geometry, images): about how many values the first two keep in the workspace.
    """

    forward: Callable[[Geometry, Array, Array, Array, Workspace], None]
    weight_gradient: Callable[[Geometry, Array, Array, Workspace], None]
    input_gradient: Callable[[Geometry, Array, Array, Array, Workspace], None]
    workspace_size: Callable[[Geometry, int], int]
