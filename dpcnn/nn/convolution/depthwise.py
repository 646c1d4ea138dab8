"""The depthwise convolution: each channel has filters of its own, and is a group for itself.

As in mec.py the width of the image is lowered, and each output row comes from a window, which is a
view. Here it is a vector's product, with the taps of one filter:

    lowered     (C, H+2P, Fw, Wo, N)    Fw shifted copies of every row
    windows     (C, Ho, E*Fw, Wo*N)     window h begins at row h*S and has E = D*(Fh - 1) + 1 rows
    output row  (1, Wo*N)               taps (1, E*Fw) @ window

These are shifted multiply-adds of whole rows, Fh*Fw of them in one BLAS call. To add them one after
the other takes several times as long (tests/benchmarks/bench_depthwise.py compares). Taps of the
rows that a dilated filter leaves out are 0.

A row of dx comes from a window of dz in the same way. With a stride there are S phases of rows,
each with taps of its own: row h sees output row (h + P - i*D)/S through row i of the filter, where
that is whole.

It takes some channels at a time, so that what is lowered stays small, and lowers x anew for the
weight gradient.

Sources: Sifre, "Rigid-motion scattering for image classification", 2014; Chollet, "Xception: Deep
learning with depthwise separable convolutions", CVPR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from dpcnn.nn.convolution.algorithm import Algorithm, Axis, Geometry, Workspace, in_turn, then_bias
from dpcnn.nn.layer import Array, Shape

BLOCK = 262_144  # lowered values of a block of channels, 1 MiB; smaller ones cost calls


def forward(geometry: Geometry, W: Array, x: Array, z: Array, workspace: Workspace) -> None:
    """Write z, each output row taps @ window."""
    z = _by_channel(z, geometry)
    taps = _taps(_by_channel(W[:, 0], geometry), geometry.rows)
    for block, windows in _windows_of_x(geometry, x, workspace):
        np.matmul(taps[block], windows, out=_by_row(z[block]))


def weight_gradient(
    geometry: Geometry, x: Array, dz: Array, dW: Array, workspace: Workspace
) -> None:
    """Write dW, the sum over output rows of dz @ window^T."""
    dz, dW = _by_channel(dz, geometry), _by_channel(dW[:, 0], geometry)
    _, multiple, _, fw = dW.shape
    for block, windows in _windows_of_x(geometry, x, workspace):
        channels, rows, size, _ = windows.shape
        dtaps = workspace("dtaps", (channels, rows, multiple, size))
        np.matmul(_by_row(dz[block]), windows.transpose(0, 1, 3, 2), out=dtaps)
        sums = dtaps.sum(axis=1).reshape(channels, multiple, -1, fw)
        dW[block] = sums[:, :, :: geometry.rows.dilation]


def input_gradient(
    geometry: Geometry, W: Array, dz: Array, dx: Array, workspace: Workspace
) -> None:
    """Write dx, each row taps @ window of dz."""
    dz, W = _by_channel(dz, geometry), _by_channel(W[:, 0], geometry)
    phases = list(_phases(geometry.rows))
    padding = _dz_padding(phases, geometry.rows)
    for block, dlowered in _lowered_dz(geometry, dz, padding, workspace):
        for phase in phases:
            rows = _by_row(dx[block, None, phase.rows])
            taps = phase.taps(W[block])
            windows = _windows(
                dlowered[:, padding[0] + phase.first :], rows.shape[1], 1, phase.extent
            )
            np.matmul(taps, windows, out=rows)


def workspace_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Count a lowered block of x, and about as much for one of dz."""
    lowered = math.prod(_lowered_shape(geometry, images))
    return (1 + needs_dx) * lowered * _block_size(geometry, lowered)


def suits(geometry: Geometry) -> bool:
    """Tell whether every channel is a group; a single one is left to the others."""
    return geometry.groups == geometry.channels > 1


DEPTHWISE = Algorithm(
    then_bias(forward),
    in_turn(weight_gradient, input_gradient),
    workspace_size,
    suits,
    "two channels or more, each a group of its own,",
    takes_groups=True,
)


class Phase(NamedTuple):
    """Every S-th row of dx, and how these see the output rows, or dz.

    rows: of dx. first: the first output row that the first of them sees; each next one sees those
    that are one further. seen: position in the filter -> which row of the window it is.
    """

    rows: slice
    first: int
    seen: dict[int, int]

    @property
    def extent(self) -> int:
        """How many rows a window has."""
        return 1 + max(self.seen.values(), default=0)

    def taps(self, W: Array) -> Array:
        """Return W (C, multiple, Fh, Fw) as (C, 1, 1, extent*multiple*Fw); 0 if nothing is seen."""
        channels, multiple, _, fw = W.shape
        taps = np.zeros((channels, self.extent, multiple, fw), W.dtype)
        for position, row in self.seen.items():
            taps[:, row] = W[:, :, position]
        return taps.reshape(channels, 1, 1, -1)


def _phases(rows: Axis) -> Iterator[Phase]:
    for start in range(min(rows.stride, rows.size)):
        distances = {i: start + rows.before - i * rows.dilation for i in range(rows.filter_size)}
        seen = {i: at // rows.stride for i, at in distances.items() if at % rows.stride == 0}
        first = min(seen.values(), default=0)
        window = {i: row - first for i, row in seen.items()}
        yield Phase(slice(start, None, rows.stride), first, window)


def _dz_padding(phases: list[Phase], rows: Axis) -> tuple[int, int]:
    """Return how many rows before and after dz the windows of all phases reach."""
    before = max(0, *(-phase.first for phase in phases))
    ends = [len(range(rows.size)[p.rows]) - 1 + p.first + p.extent for p in phases]
    return before, max(0, max(ends) - rows.output_size)


def _taps(W: Array, rows: Axis) -> Array:
    """Return W (C, multiple, Fh, Fw) as (C, 1, multiple, E*Fw), with 0 between dilated rows."""
    channels, multiple, _, fw = W.shape
    taps = np.zeros((channels, multiple, rows.extent, fw), W.dtype)
    taps[:, :, :: rows.dilation] = W
    return taps.reshape(channels, 1, multiple, -1)


def _windows_of_x(
    geometry: Geometry, x: Array, workspace: Workspace
) -> Iterator[tuple[slice, Array]]:
    """Yield blocks of channels, and their windows (block, Ho, E*Fw, Wo*N)."""
    rows, columns = geometry.rows, geometry.columns
    shape = _lowered_shape(geometry, x.shape[-1])
    inside = slice(rows.before, rows.before + rows.size)
    for block in _blocks(geometry, math.prod(shape)):
        lowered = workspace("lowered", (block.stop - block.start, *shape))
        for column, (outputs, inputs) in enumerate(columns.spans):
            lowered[:, inside, column, outputs] = x[block, :, inputs]
        yield block, _windows(lowered, rows.output_size, rows.stride, rows.extent)


def _lowered_dz(
    geometry: Geometry, dz: Array, padding: tuple[int, int], workspace: Workspace
) -> Iterator[tuple[slice, Array]]:
    """Yield blocks of channels, and dz as (block, padded Ho, multiple, Fw, W, N)."""
    _, multiple, ho, _, images = dz.shape
    before, after = padding
    columns = geometry.columns
    shape = (before + ho + after, multiple, columns.filter_size, columns.size, images)
    for block in _blocks(geometry, math.prod(shape)):
        dlowered = workspace("dlowered", (block.stop - block.start, *shape))
        inside = dlowered[:, before : before + ho]
        for column, (outputs, inputs) in enumerate(columns.spans):
            inside[:, :, :, column, inputs] = dz[block, :, :, outputs].swapaxes(1, 2)
        yield block, dlowered


def _lowered_shape(geometry: Geometry, images: int) -> Shape:
    """Return (H+2P, Fw, Wo, N), of a channel."""
    columns = geometry.columns
    return geometry.rows.padded_size, columns.filter_size, columns.output_size, images


def _block_size(geometry: Geometry, lowered: int) -> int:
    """Return how many channels, of so many lowered values, make a block."""
    return max(1, min(geometry.channels, BLOCK // lowered))


def _blocks(geometry: Geometry, lowered: int) -> Iterator[slice]:
    """Yield the channels in blocks."""
    size = _block_size(geometry, lowered)
    for start in range(0, geometry.channels, size):
        yield slice(start, min(start + size, geometry.channels))


def _windows(lowered: Array, count: int, stride: int, extent: int) -> Array:
    """View lowered (C, rows, ..., W, N) as (C, count, extent*..., W*N): no copy.

    Window h has `extent` rows from row h*stride on.
    """
    channels, _, *copies, width, images = lowered.shape
    channel_stride, row_stride = lowered.strides[:2]
    line, item = width * images, lowered.itemsize
    shape = (channels, count, extent * math.prod(copies), line)
    strides = (channel_stride, stride * row_stride, line * item, item)
    return as_strided(lowered, shape, strides)


def _by_channel(array: Array, geometry: Geometry) -> Array:
    """View K filters or their maps as (C, multiple, ...): the filters of each channel."""
    return array.reshape(geometry.channels, -1, *array.shape[1:])


def _by_row(maps: Array) -> Array:
    """View maps (C, multiple, H, W, N) as (C, H, multiple, W*N): a matrix for each row."""
    channels, multiple, rows, width, images = maps.shape
    return maps.reshape(channels, multiple, rows, width * images).swapaxes(1, 2)
