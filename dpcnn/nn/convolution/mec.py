"""MEC, the memory-efficient convolution: small GEMMs on overlapping views of a lowered image.

The columns of a whole image (im2col.py) repeat every pixel Fh*Fw times. They need not be built:
once only the *width* is lowered (every pixel Fw times), the columns of output row h are the rows
h*S .. h*S+Fh-1 of the result, which lie one behind the other in memory:

    lowered     (H+2P, C, Fw, Wo, N)    lower copies Fw shifted slices
    windows     (Ho, Fh*C*Fw, Wo*N)     row_windows is a view: window h begins at row h*S

Each window is a plain 2-D operand of a GEMM and stays in the cache. Its rows are ordered
(filter row, channel, filter column). The weight gradient multiplies by transposed windows. BLAS
transposes them by itself; but for small matrices OpenBLAS has kernels that are faster, as long as
neither operand is transposed. Where each value is used often enough to be worth it, they are viewed
in a transposed copy:

    transposed  (Wo*N, H+2P, C, Fw)     transpose copies
    windows^T   (Ho, Wo*N, Fh*C*Fw)     transposed_windows is a view

The input gradient is a convolution of dz by the filters turned around, and computed as one. Where
it is not, as with a stride, or where that would lower many more maps than x has, the windows'
gradients are added up and folded back.

This skips most of the copying (tests/benchmarks/bench_convolution.py compares).

Source: Cho and Brand, "MEC: Memory-efficient Convolution for Deep Neural Network", ICML 2017,
which lowers (N, H, W, C); the gradients are computed here in the same way.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from dpcnn.nn.convolution.algorithm import (
    Algorithm,
    Axis,
    Geometry,
    Workspace,
    in_turn,
    then_bias,
    view,
)
from dpcnn.nn.layer import Array, Shape

SMALL = 1_000_000  # m*n*k of a GEMM; beyond, OpenBLAS packs its operands, transposed or not
SHORTEST = 5  # outputs of a row; with fewer, one GEMM for all rows (im2col.py) takes less time
OFTEN = 128  # products of a value; with fewer, to copy it takes longer than the GEMM saves


def forward(geometry: Geometry, W: Array, x: Array, z: Array, workspace: Workspace) -> None:
    """Write z, each output row W_row @ window; keeps the lowered x."""
    _convolve(geometry, W, x, z, workspace("lowered", lowered_shape(geometry, x.shape[-1])))


def weight_gradient(
    geometry: Geometry, x: Array, dz: Array, dW: Array, workspace: Workspace
) -> None:
    """Write dW, the sum over output rows of dz @ window^T."""
    images = x.shape[-1]
    lowered = workspace("lowered", lowered_shape(geometry, images))
    if _copy_pays(geometry, images):
        transposed = workspace("transposed", _transposed_shape(geometry, images))
        transpose(lowered, transposed)
        windows = transposed_windows(transposed, geometry.rows)
    else:
        windows = row_windows(lowered, geometry.rows).transpose(0, 2, 1)
    dW_rows = workspace("dW_rows", _dW_rows_shape(geometry))
    np.matmul(by_output_row(dz), windows, out=dW_rows)
    filters, channels, fh, fw = dW.shape
    dW[...] = dW_rows.sum(axis=0).reshape(filters, fh, channels, fw).transpose(0, 2, 1, 3)


def input_gradient(
    geometry: Geometry, W: Array, dz: Array, dx: Array, workspace: Workspace
) -> None:
    """Write dx, as a convolution of dz where that pays."""
    if _dx_is_convolved(geometry):
        adjoint = geometry.adjoint
        dlowered = workspace("dlowered", lowered_shape(adjoint, dz.shape[-1]))
        _convolve(adjoint, W[:, :, ::-1, ::-1].swapaxes(0, 1), dz, dx, dlowered)
    else:
        _add_window_gradients(geometry, W, dz, dx, workspace)


def workspace_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Count what is lowered of x and dz, the transposed copy if there is one, and dW by row."""
    lowered = math.prod(lowered_shape(geometry, images))
    values = (2 if _copy_pays(geometry, images) else 1) * lowered
    values += math.prod(_dW_rows_shape(geometry))
    if needs_dx and _dx_is_convolved(geometry):
        values += math.prod(lowered_shape(geometry.adjoint, images))
    elif needs_dx:
        values += lowered + lowered * geometry.rows.filter_size // geometry.rows.padded_size
    return values


def _convolve(geometry: Geometry, W: Array, x: Array, z: Array, lowered: Array) -> None:
    """Lower x, and write z, each output row W_row @ window."""
    lower(x, lowered, geometry)
    np.matmul(_filter_rows(W), row_windows(lowered, geometry.rows), out=by_output_row(z))


def _add_window_gradients(
    geometry: Geometry, W: Array, dz: Array, dx: Array, workspace: Workspace
) -> None:
    """Write dx: W_row^T @ dz of each output row, added to the row's window and folded back."""
    rows = geometry.rows
    shape = lowered_shape(geometry, dz.shape[-1])
    dlowered = workspace("dlowered", shape)
    dwindow = workspace("dwindow", (rows.filter_size, *shape[1:]))
    W_row_T = np.ascontiguousarray(_filter_rows(W).T)
    dlowered.fill(0)
    for row, dz_row in enumerate(by_output_row(dz)):
        np.matmul(W_row_T, dz_row, out=dwindow.reshape(len(W_row_T), -1))
        dlowered[row * rows.stride : row * rows.stride + rows.filter_size] += dwindow
    dx.fill(0)
    fold(dlowered, dx, geometry)


def suits(geometry: Geometry) -> bool:
    """Tell whether the rows of a filter are neighbours: else the windows are no matrices."""
    return geometry.rows.dilation == 1


def pays(geometry: Geometry) -> bool:
    """Tell whether it is faster than im2col: if rows are long enough for a GEMM each.

    With rows of 4 outputs, of 16 images, it takes up to half as long again.
    """
    return geometry.columns.output_size >= SHORTEST


MEC = Algorithm(
    then_bias(forward),
    in_turn(weight_gradient, input_gradient),
    workspace_size,
    suits,
    "filters without dilated rows",
    pays=pays,
)


@cache  # like the other answers about a geometry here, which every call asks for
def lowered_shape(geometry: Geometry, images: int) -> Shape:
    """Return (H+2P, C, Fw, Wo, N)."""
    columns = geometry.columns
    height, channels = geometry.rows.padded_size, geometry.channels
    return height, channels, columns.filter_size, columns.output_size, images


def lower(x: Array, lowered: Array, geometry: Geometry) -> None:
    """Write x (C, H, W, N) into lowered (H+2P, C, Fw, Wo, N), once for each filter column.

    Only what is inside the image is written: lowered must come in as zeros, the padding.
    """
    rows = _without_padding(lowered, geometry.rows)
    for column, (outputs, inputs) in enumerate(geometry.columns.spans):
        rows[:, :, column, outputs] = x[:, :, inputs].transpose(1, 0, 2, 3)


def fold(lowered: Array, x: Array, geometry: Geometry) -> None:
    """Add lowered (H+2P, C, Fw, Wo, N) into x (C, H, W, N): the adjoint of lower."""
    rows = _without_padding(lowered, geometry.rows)
    for column, (outputs, inputs) in enumerate(geometry.columns.spans):
        x[:, :, inputs] += rows[:, :, column, outputs].transpose(1, 0, 2, 3)


def row_windows(lowered: Array, rows: Axis) -> Array:
    """View lowered (H+2P, C, Fw, Wo, N), contiguous, as (Ho, Fh*C*Fw, Wo*N): no copy.

    Window h holds the columns of output row h. Windows overlap where S < Fh.
    """
    _, channels, fw, outputs, images = lowered.shape
    row_stride, item = lowered.strides[0], lowered.itemsize
    line = outputs * images
    shape = (rows.output_size, rows.filter_size * channels * fw, line)
    return view(lowered, shape, (rows.stride * row_stride, line * item, item))


def transpose(lowered: Array, transposed: Array) -> None:
    """Write lowered (H+2P, C, Fw, Wo, N) into transposed (Wo*N, H+2P, C, Fw)."""
    line = len(transposed)
    np.copyto(transposed.reshape(line, -1), lowered.reshape(-1, line).T)


def transposed_windows(transposed: Array, rows: Axis) -> Array:
    """View transposed (Wo*N, H+2P, C, Fw), contiguous, as (Ho, Wo*N, Fh*C*Fw): no copy.

    Window h is the transpose of row_windows' window h.
    """
    line, _, channels, fw = transposed.shape
    line_stride, row_stride, _, item = transposed.strides
    shape = (rows.output_size, line, rows.filter_size * channels * fw)
    return view(transposed, shape, (rows.stride * row_stride, line_stride, item))


def by_output_row(maps: Array) -> Array:
    """View maps (K, Ho, Wo, N), contiguous, as (Ho, K, Wo*N): one matrix for each output row."""
    filters, ho, wo, images = maps.shape
    return maps.reshape(filters, ho, wo * images).transpose(1, 0, 2)


def _filter_rows(W: Array) -> Array:
    """Return W as (K, Fh*C*Fw), in the order of the windows' rows (a view when C is 1)."""
    return W.transpose(0, 2, 1, 3).reshape(len(W), -1)


def _without_padding(lowered: Array, rows: Axis) -> Array:
    """View the rows of lowered that are the image's, not padding."""
    return lowered[rows.before : rows.before + rows.size]


@cache
def _copy_pays(geometry: Geometry, images: int) -> bool:
    """Tell whether the weight gradient takes a transposed copy: small GEMMs, of values used often.

    The tutorial's convolution does, with 32 filters of 7 rows.
    """
    products = math.prod(geometry.filter_shape) * geometry.columns.output_size * images
    return products <= SMALL and geometry.filters * geometry.rows.filter_size >= OFTEN


@cache
def _dx_is_convolved(geometry: Geometry) -> bool:
    """Tell whether to convolve dz: copying its maps costs less than adding to those of x.

    The maps of dz have as many pixels as those of x then: without padding of x, many are 0. dx of
    16 filters of 6x5x5 on 14x14 pixels takes 29 us an image convolved, and 16 added up.
    """
    copies = geometry.filters * math.prod(geometry.input_shape[1:])
    additions = geometry.rows.filter_size * geometry.channels
    return geometry.has_adjoint and copies <= additions * math.prod(geometry.output_shape[1:])


def _transposed_shape(geometry: Geometry, images: int) -> Shape:
    """Return (Wo*N, H+2P, C, Fw)."""
    *row, outputs, _ = lowered_shape(geometry, images)
    return outputs * images, *row


@cache
def _dW_rows_shape(geometry: Geometry) -> Shape:
    """Return (Ho, K, Fh*C*Fw)."""
    filters, *field = geometry.filter_shape
    return geometry.rows.output_size, filters, math.prod(field)
