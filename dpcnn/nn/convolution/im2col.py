"""Images to columns and back: the convolution as a matrix product.

Axes, everywhere in `nn`: C channels, H rows, W columns, N images of the micro-batch
(innermost); F filter rows or columns, S stride, P zero padding; Ho, Wo the output size.

The receptive field of an output pixel becomes a column, so that a convolution is
`W_row @ columns`. The whole matrix repeats every pixel F*F times. It need not be built:
once the *width* is unrolled (every pixel F times), the columns of output row h are the
filter rows h*S .. h*S+F-1 of it, which lie one behind the other in memory:

    unrolled  (H+2P, C, F, Wo, N)     unroll_width copies F shifted slices
    windows   (Ho, F*C*F, Wo*N)       row_windows is a view: window h begins at row h*S

Each window is a plain 2-D operand for a GEMM and stays in the cache. Its rows are ordered
(filter row, channel, filter column). The backward pass multiplies by transposed windows, which
are as cheap to view in a transposed copy:

    turned    (Wo*N, H+2P, C, F)      turn copies
    windows^T (Ho, Wo*N, F*C*F)       turned_windows is a view
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from dpcnn.errors import OptionError

Array = NDArray[Any]


def output_size(size: int, filter_size: int, stride: int, padding: int, axis: str) -> int:
    """Return (size - F + 2P)/S + 1, the number of filter positions along one axis.

    Raises OptionError, with the formula and its numbers, when that is not a positive integer.
    """
    span = size - filter_size + 2 * padding
    if span < 0 or span % stride:
        value = f"{span / stride + 1:g}"
        raise OptionError(
            f"output {axis} ({size} - {filter_size} + 2*{padding})/{stride} + 1 = {value},"
            " expected a positive integer"
        )
    return span // stride + 1


def _inside(size: int, outputs: int, offset: int, stride: int) -> tuple[slice, slice]:
    """Return (output positions, input positions) where input = output*S + offset is inside.

    offset is the filter's position minus the padding; outside lies the zero padding.
    """
    first = max(0, -(offset // stride))
    last = max(first, min(outputs, (size - 1 - offset) // stride + 1))  # no less: F may exceed W
    start = first * stride + offset
    return slice(first, last), slice(start, start + (last - first) * stride, stride)


def unroll_width(x: Array, out: Array, stride: int, padding: int) -> None:
    """Write x (C, H, W, N) into out (H+2P, C, F, Wo, N), once for each filter column.

    Only the part inside the image is written: out must come in as zeros, the padding.
    """
    _, height, width, _ = x.shape
    _, _, filter_width, outputs, _ = out.shape
    rows = out[padding : padding + height]
    for column in range(filter_width):
        target, source = _inside(width, outputs, column - padding, stride)
        rows[:, :, column, target] = x[:, :, source].transpose(1, 0, 2, 3)


def fold_width(unrolled: Array, out: Array, stride: int, padding: int) -> None:
    """Add unrolled (H+2P, C, F, Wo, N) into out (C, H, W, N): the adjoint of unroll_width."""
    _, height, width, _ = out.shape
    _, _, filter_width, outputs, _ = unrolled.shape
    rows = unrolled[padding : padding + height]
    for column in range(filter_width):
        source, target = _inside(width, outputs, column - padding, stride)
        out[:, :, target] += rows[:, :, column, source].transpose(1, 0, 2, 3)


def row_windows(unrolled: Array, filter_height: int, stride: int) -> Array:
    """View unrolled (H+2P, C, F, Wo, N), contiguous, as (Ho, F*C*F, Wo*N): no copy.

    Window h holds the columns of output row h. Windows overlap where S < F.
    """
    rows, channels, filter_width, outputs, images = unrolled.shape
    row_stride, item = unrolled.strides[0], unrolled.itemsize
    line = outputs * images
    shape = ((rows - filter_height) // stride + 1, filter_height * channels * filter_width, line)
    return as_strided(unrolled, shape, (stride * row_stride, line * item, item))


def turn(unrolled: Array, out: Array) -> None:
    """Write unrolled (H+2P, C, F, Wo, N) into out (Wo*N, H+2P, C, F)."""
    line = out.shape[0]
    np.copyto(out.reshape(line, -1), unrolled.reshape(-1, line).T)


def turned_windows(turned: Array, filter_height: int, stride: int) -> Array:
    """View turned (Wo*N, H+2P, C, F), contiguous, as (Ho, Wo*N, F*C*F): no copy.

    Window h is the transpose of row_windows' window h.
    """
    line, rows, channels, filter_width = turned.shape
    line_stride, row_stride, _, item = turned.strides
    shape = ((rows - filter_height) // stride + 1, line, filter_height * channels * filter_width)
    return as_strided(turned, shape, (stride * row_stride, line_stride, item))


def im2col(x: Array, filter_size: tuple[int, int], stride: int, padding: int) -> Array:
    """Return the columns (C*F*F, Ho*Wo*N) of x (C, H, W, N) as one new matrix."""
    channels, height, width, images = x.shape
    fh, fw = filter_size
    ho = output_size(height, fh, stride, padding, "height")
    wo = output_size(width, fw, stride, padding, "width")
    unrolled = np.zeros((height + 2 * padding, channels, fw, wo, images), x.dtype)
    unroll_width(x, unrolled, stride, padding)
    windows = row_windows(unrolled, fh, stride).reshape(ho, fh, channels, fw, wo * images)
    return windows.transpose(2, 1, 3, 0, 4).reshape(channels * fh * fw, ho * wo * images)


def col2im(
    columns: Array,
    shape: tuple[int, int, int, int],
    filter_size: tuple[int, int],
    stride: int,
    padding: int,
) -> Array:
    """Return x (C, H, W, N) of the given shape with columns (C*F*F, Ho*Wo*N) added back.

    The adjoint of im2col. Where receptive fields overlap their values add up; as shifted
    slices of the whole batch this is F additions along the height and F along the width.
    """
    channels, height, width, images = shape
    fh, fw = filter_size
    ho = output_size(height, fh, stride, padding, "height")
    wo = output_size(width, fw, stride, padding, "width")
    by_row = columns.reshape(channels, fh, fw, ho, wo, images).transpose(3, 1, 0, 2, 4, 5)
    unrolled = np.zeros((height + 2 * padding, channels, fw, wo, images), columns.dtype)
    for row in range(fh):
        unrolled[row : row + (ho - 1) * stride + 1 : stride] += by_row[:, row]
    x = np.zeros(shape, columns.dtype)
    fold_width(unrolled, x, stride, padding)
    return x
