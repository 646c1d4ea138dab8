"""Winograd's minimal filtering F(4, 3) along the width: half of the products of a 3x3 convolution.

Four neighbouring outputs of a row take 3 products each for every filter row. Seen as values of
polynomials at six points, they take 6 together instead of 12: with tiles of 6 input columns d
and the 3 values g of a filter row,

    y = A^T [(G g) * (B^T d)]       4 outputs of a tile; * is by element

so that the convolution becomes six small ones, one for each point, of a third of the width:

    V   (6, H+2P, C, T+1, N)        B^T d of all tiles; T tiles cover a row of outputs
    U   (6, K, 3*C)                 G g, once for all images
    M   (6, rows, K, T*N)           U @ row windows of V, as in MEC (mec.py)
    z                               A^T M

Tiles overlap by two columns. What makes their transforms cheap in (C, H, W, N) is to split the
columns by their number modulo 4 first: the six columns of all tiles are then six slices that are
contiguous over tiles, channels and rows. Each slot has one tile more than there is, so that the
columns 4 and 5 of a tile are the columns 0 and 1 of the next; what is computed there is not used.
The gradients are the same with the matrices transposed: dU = sum of (A dz) @ V^T, and dx is the
convolution of dz with the flipped filters.

All of it works on a few rows at a time, which stay in the cache. In float32 the result differs from
the reference by about 2e-6 of its largest value.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; Winograd,
"Arithmetic complexity of computations", 1980. The matrices are those for the points 0, 1, -1, 2,
-2 and infinity.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from dpcnn.nn.convolution.algorithm import Algorithm, Axis, Geometry, Workspace
from dpcnn.nn.layer import Array, Shape

FILTER = 3  # rows and columns
TILE = 4  # outputs of a tile
POINTS = TILE + FILTER - 1
FEWEST = 32  # channels or filters
BLOCK = 100_000  # values of M at a time: with what it is made from they stay in the cache
G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)


def suits(geometry: Geometry) -> bool:
    """Tell whether it is a convolution of 3x3 filters, one pixel after the other."""
    return all(
        (axis.filter_size, axis.stride, axis.dilation) == (FILTER, 1, 1)
        and max(axis.before, axis.after) < FILTER
        for axis in (geometry.rows, geometry.columns)
    )


def pays(geometry: Geometry) -> bool:
    """Tell whether it is faster than MEC: if products outweigh the transforms, in whole tiles.

    tests/benchmarks/bench_winograd.py measures it.
    """
    few = min(geometry.channels // geometry.groups, geometry.filters // geometry.groups)
    return few >= FEWEST and geometry.columns.output_size >= TILE


def forward(geometry: Geometry, W: Array, x: Array, z: Array, workspace: Workspace) -> None:
    """Write z; keeps V of x."""
    U = _filters(W, workspace)
    _convolve(x, U, z, geometry.rows, geometry.columns, workspace, "V")


def input_gradient(
    geometry: Geometry, W: Array, dz: Array, dx: Array, workspace: Workspace
) -> None:
    """Write dx, the convolution of dz with the filters flipped, and channels for filters."""
    flipped = W[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    U = _filters(flipped, lambda name, shape: workspace(f"flipped {name}", shape))
    adjoint = geometry.adjoint
    _convolve(dz, U, dx, adjoint.rows, adjoint.columns, workspace, "dV")


def weight_gradient(
    geometry: Geometry, x: Array, dz: Array, dW: Array, workspace: Workspace
) -> None:
    """Write dW = G^T dU, where dU sums (A dz) @ V^T over all tiles, after the forward of x."""
    filters, height, width, images = dz.shape
    channels, tiles = len(x), _tiles(width)
    V = workspace("V", _V_shape(geometry.rows, geometry.columns, channels, images))
    dM = workspace("dM", (POINTS, filters, height * tiles * images))
    _transform_gradient(dz, dM, workspace)
    # One point at a time, the channels first: rows r to r + height of a channel are then one run.
    by_channel = workspace("V by channel", (channels, V.shape[1], tiles, images))
    dU = workspace("dU", (POINTS, FILTER, filters, channels))
    line = tiles * images
    for point in range(POINTS):
        np.copyto(by_channel, V[point, :, :, :tiles].transpose(1, 0, 2, 3))
        lines = by_channel.reshape(channels, -1)
        for r in range(FILTER):
            window = lines[:, r * line : (r + height) * line]
            np.matmul(dM[point], window.T, out=dU[point, r])
    gradient = workspace("gradient", (FILTER, FILTER, filters, channels))
    transposed = G.T.astype(dW.dtype)
    np.matmul(transposed, dU.reshape(POINTS, -1), out=gradient.reshape(FILTER, -1))
    for j, r in np.ndindex(FILTER, FILTER):
        dW[:, :, r, j] = gradient[j, r]


def workspace_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Count V of x and of dz, dM, V by channel, and what is there of a block of rows."""
    rows, columns = geometry.rows, geometry.columns
    V = math.prod(_V_shape(rows, columns, geometry.channels, images))
    dV_shape = _V_shape(rows.adjoint, columns.adjoint, geometry.filters, images)
    outputs = geometry.filters * rows.output_size * _tiles(columns.output_size) * images
    dV = math.prod(dV_shape) if needs_dx else 0
    return V + dV + POINTS * outputs + V // POINTS + 5 * BLOCK


WINOGRAD = Algorithm(
    forward,
    weight_gradient,
    input_gradient,
    workspace_size,
    suits,
    "3x3 filters with stride 1, dilation 1 and a padding of at most 2",
    pays=pays,
)


def _convolve(
    x: Array, U: Array, z: Array, rows: Axis, columns: Axis, workspace: Workspace, name: str
) -> None:
    """Write z (K, Ho, Wo, N) = A^T (U @ windows of V), where V = B^T x is kept under that name."""
    channels, _, _, images = x.shape
    filters, height, width, _ = z.shape
    V = workspace(name, _V_shape(rows, columns, channels, images))
    tiles = _tiles(width)
    line = tiles * images
    block = max(1, min(height, BLOCK // (POINTS * max(filters, channels) * line)))
    split = workspace(f"split {name}", (TILE, block + FILTER - 1, *V.shape[2:]))
    M = workspace(f"M {name}", (POINTS, block, filters, line))
    point_stride, row_stride, channel_stride = V.strides[:3]
    for first in range(0, height, block):
        count = min(block, height - first)
        start = first + FILTER - 1 if first else 0  # the window before has made the rows up to it
        stop = first + count + FILTER - 1
        _split(x, split[:, : stop - start], start, rows, columns)
        _transform_input(split[:, : stop - start], V[:, start:stop], workspace)
        windows = as_strided(
            V[:, first:],
            (POINTS, count, FILTER * channels, line),
            (point_stride, row_stride, channel_stride, V.itemsize),
        )
        products = M[:, :count]
        np.matmul(U[:, None], windows, out=products)
        _transform_output(
            products.reshape(POINTS, count, filters, tiles, images),
            z[:, first : first + count],
            workspace,
        )


def _filters(W: Array, workspace: Workspace) -> Array:
    """Return U (6, K, 3*C) for W (K, C, 3, 3), computed anew if W has changed.

    That is once a step: comparing W takes a small part of the time.
    """
    filters, channels = W.shape[:2]
    U = workspace("U", (POINTS, filters, FILTER * channels))
    kept = workspace("W of U", W.shape)
    if not np.array_equal(kept, W):
        kept[...] = W
        np.einsum(
            "pj,kcrj->pkrc",
            G.astype(W.dtype),
            kept,
            out=U.reshape(POINTS, filters, FILTER, channels),
        )
    return U


def _split(x: Array, split: Array, start: int, rows: Axis, columns: Axis) -> None:
    """Copy padded rows of x (C, H, W, N), from `start` on, into split (4, rows, C, T+1, N).

    split[j] has the padded columns j, j+4, j+8, ... What no column is copied to stays 0.
    """
    first = max(start, rows.before) - start
    last = min(start + split.shape[1], rows.before + rows.size) - start
    split[:, :first] = 0
    split[:, max(last, 0) :] = 0
    image_rows = x[:, start + first - rows.before : start + last - rows.before]
    for j in range(TILE):
        skipped = max(0, -((j - columns.before) // TILE))  # tiles whose column j is padding
        pixels = image_rows[:, :, TILE * skipped + j - columns.before :: TILE]
        count = min(pixels.shape[2], split.shape[3] - skipped)
        np.copyto(
            split[j, first:last, :, skipped : skipped + count],
            pixels[:, :, :count].transpose(1, 0, 2, 3),
        )


def _transform_input(split: Array, V: Array, workspace: Workspace) -> None:
    """Write V = B^T d for rows of V (6, rows, C, T+1, N), from their columns in `split`.

    B^T = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0],
           [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
    """
    images = split.shape[-1]
    flat = [column.reshape(-1) for column in split]
    size = flat[0].size - images
    d0, d1, d2, d3 = (column[:size] for column in flat)
    d4, d5 = (column[images:] for column in flat[:2])  # of the next tile
    v = [point.reshape(-1)[:size] for point in V]
    even, odd, scratch = (workspace(f"{part} of V", (size,)) for part in ("even", "odd", "scratch"))
    np.subtract(d4, d2, out=even)
    np.subtract(d3, d1, out=odd)
    np.subtract(d0, d2, out=scratch)  # v0 = 4(d0 - d2) + d4 - d2
    np.multiply(scratch, 4, out=scratch)
    np.add(scratch, even, out=v[0])
    np.subtract(d5, d3, out=v[5])  # v5 = d5 - d3 - 4(d3 - d1)
    np.multiply(odd, 4, out=scratch)
    np.subtract(v[5], scratch, out=v[5])
    np.add(odd, odd, out=scratch)  # v3, v4 = d4 - d2 +- 2(d3 - d1)
    np.add(even, scratch, out=v[3])
    np.subtract(even, scratch, out=v[4])
    np.multiply(d2, 3, out=scratch)  # v1, v2 = d4 - 4 d2 +- (d3 - 4 d1)
    np.subtract(even, scratch, out=even)
    np.multiply(d1, 3, out=scratch)
    np.subtract(odd, scratch, out=odd)
    np.add(even, odd, out=v[1])
    np.subtract(even, odd, out=v[2])


def _transform_output(M: Array, z: Array, workspace: Workspace) -> None:
    """Write z = A^T M for rows of z (K, rows, Wo, N), from M (6, rows, K, T, N); overwrites M.

    A^T = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    """
    m0, m1, m2, m3, m4, m5 = M
    even, odd = (workspace(f"{part} of M", m0.shape) for part in ("even", "odd"))
    np.add(m1, m2, out=even)
    np.subtract(m1, m2, out=odd)
    np.add(m3, m4, out=m1)
    np.subtract(m3, m4, out=m2)
    np.add(m2, m2, out=m2)
    np.add(m0, m1, out=m0)
    _write(z, 0, m0, even)
    _write(z, 1, odd, m2)
    np.multiply(m1, 4, out=m1)
    _write(z, 2, even, m1)
    np.multiply(m2, 4, out=m2)
    np.add(odd, m2, out=odd)
    _write(z, 3, odd, m5)


def _write(z: Array, j: int, one: Array, other: Array) -> None:
    """Write the sum of two (rows, K, T, N) into the columns j, j+4, ... of z (K, rows, Wo, N)."""
    columns = z[:, :, j::TILE].transpose(1, 0, 2, 3)
    tiles = columns.shape[2]  # the last tile may have fewer columns
    np.add(one[:, :, :tiles], other[:, :, :tiles], out=columns)


def _transform_gradient(dz: Array, dM: Array, workspace: Workspace) -> None:
    """Write dM (6, K, Ho*T*N) = A dz for dz (K, Ho, Wo, N), some filters at a time."""
    filters, height, width, images = dz.shape
    tiles = _tiles(width)
    block = max(1, min(filters, BLOCK // (POINTS * height * tiles * images)))
    split = workspace("split dz", (TILE, block, height, tiles, images))
    scratch = workspace("scratch of dM", (block, height * tiles * images))
    for first in range(0, filters, block):
        part = dz[first : first + block]
        count = len(part)
        for j in range(TILE):
            pixels = part[:, :, j::TILE]
            np.copyto(split[j, :count, :, : pixels.shape[2]], pixels)
        columns = split[:, :count].reshape(TILE, count, -1)
        _combine_outputs(columns, dM[:, first : first + count], scratch[:count])


def _combine_outputs(dz: Array, dM: Array, scratch: Array) -> None:
    """Write dM (6, ...) = A dz for the four columns of all tiles, dz (4, ...)."""
    y0, y1, y2, y3 = dz
    m0, m1, m2, m3, m4, m5 = dM
    np.copyto(m0, y0)
    np.copyto(m5, y3)
    np.add(y0, y2, out=m3)
    np.add(y1, y3, out=m4)
    np.add(m3, m4, out=m1)
    np.subtract(m3, m4, out=m2)
    np.multiply(y3, 4, out=m4)  # m3, m4 = y0 + 4 y2 +- 2 (y1 + 4 y3)
    np.add(m4, y1, out=m4)
    np.add(m4, m4, out=m4)
    np.multiply(y2, 4, out=scratch)
    np.add(scratch, y0, out=scratch)
    np.add(scratch, m4, out=m3)
    np.subtract(scratch, m4, out=m4)


def _tiles(width: int) -> int:
    """Return how many tiles cover a row of outputs."""
    return -(-width // TILE)


def _V_shape(rows: Axis, columns: Axis, channels: int, images: int) -> Shape:
    """Return (6, H+2P, C, T+1, N)."""
    return POINTS, rows.padded_size, channels, _tiles(columns.output_size) + 1, images
