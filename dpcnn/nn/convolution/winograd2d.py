"""Winograd's minimal filtering in both directions: F(4x4, 3x3) and F(4x4, 5x5).

16 outputs take 36 products instead of 144 with 3x3 filters, and 64 instead of 400 with 5x5. With
tiles d of n x n pixels, n = F + 3, and filters g,

    y = A^T [(G g G^T) * (B^T d B)] A       4x4 outputs of a tile; * is by element

and summed over channels the products by element are n*n matrix products, one for each point:

    U       (n*n, K, C)             G g G^T
    V       (n*n, C, Th*Tw*N)       B^T d B; Th x Tw tiles cover the output
    M       (n*n, K, Th*Tw*N)       U @ V
    z                               A^T M A, 4x4 outputs of each tile

Every transform is one by rows and one by columns, each of them GEMMs. The input's rows are taken
from the images themselves: those of a tile lie one behind the other in (C, H, W, N), and at an edge
B^T leaves out its columns for what is padding. Then the columns are split into tiles, which repeat
n - 4 of them, a pixel of N values at a time.

The gradients are the exact adjoint: dM = A dz A^T, dU = dM @ V^T, dV = U^T @ dM, and dx adds up
B dV B^T where tiles overlap: columns by additions, rows in the product, with a matrix for two
tiles. In float32 the result differs from the reference by about 1e-5 of its largest value, five
times as much as with winograd.py.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from dpcnn.nn.blocks import copy_pixels
from dpcnn.nn.convolution.algorithm import Algorithm, Axis, Geometry, Workspace, add_bias, view
from dpcnn.nn.convolution.by_pixel import in_both_directions
from dpcnn.nn.convolution.toom_cook import POINTS, TILE, filter_pairs, matrices, transform_filters
from dpcnn.nn.layer import Array, Shape

FEW = 16  # channels and filters of 5x5 that outweigh the transforms
MANY = 64  # channels and filters of 3x3 that do; with fewer, inference takes longer


def suits(geometry: Geometry) -> bool:
    """Tell whether it is a convolution of 3 or 5 rows and columns, one pixel after the other."""
    return all(
        axis.filter_size in POINTS
        and (axis.stride, axis.dilation) == (1, 1)
        and max(axis.before, axis.after) < axis.filter_size
        for axis in (geometry.rows, geometry.columns)
    )


def pays(geometry: Geometry) -> bool:
    """Tell whether it is faster than the others: if products outweigh the transforms."""
    filters, channels, fh, fw = geometry.filter_shape
    least = FEW if fh * fw > 9 else MANY
    few = min(channels, filters // geometry.groups)
    return few >= least and min(geometry.output_shape[1:]) >= TILE


def forward(
    geometry: Geometry, W: Array, b: Array | None, x: Array, z: Array, workspace: Workspace
) -> None:
    """Write z; keeps U and V.

    What is added to M at the points (1, 1) is added to all outputs.
    """
    sizes = _Sizes.of(geometry, x.shape[-1])
    U, V, M = (workspace(name, getattr(sizes, name)) for name in ("U", "V", "M"))
    transform_filters(geometry, W, U)
    _transform_input(geometry, x, V, workspace)
    np.matmul(_by_point(U), _by_point(V), out=_by_point(M))
    if b is not None:
        add_bias(M[1, 1], b)
    _transform_output(geometry, M, z, workspace)


def backward(
    geometry: Geometry,
    W: Array,
    x: Array,
    dz: Array,
    dW: Array,
    dx: Array | None,
    workspace: Workspace,
) -> None:
    """Write dW from dU = dM @ V^T, and dx from dV = U^T @ dM, in place of V."""
    sizes = _Sizes.of(geometry, x.shape[-1])
    U, V, dM = (workspace(name, getattr(sizes, name)) for name in ("U", "V", "M"))
    _transform_dz(geometry, dz, dM, workspace)
    dU = workspace("dU", sizes.U)
    np.matmul(_by_point(dM), _by_point(V).transpose(0, 2, 1), out=_by_point(dU))
    pairs = filter_pairs(geometry, dW.dtype)
    np.matmul(dU.reshape(len(pairs), -1).T, pairs, out=dW.reshape(-1, pairs.shape[1]))
    if dx is not None:
        dV, joined = workspace("tiles", sizes.V), workspace("joined", sizes.joined)
        np.matmul(_by_point(U).transpose(0, 2, 1), _by_point(dM), out=_by_point(dV))
        columns = matrices(geometry.columns.filter_size, dx.dtype)
        np.matmul(columns.B_T.T, _first(dV), out=_first(V))
        _join_columns(V, joined)
        _join_rows(geometry, joined, dx)


def workspace_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Count U and V."""
    sizes = _Sizes.of(geometry, images)
    return math.prod(sizes.U) + math.prod(sizes.V)


def scratch_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Count dU, M and what there is between them and the images."""
    sizes = _Sizes.of(geometry, images)
    points = math.prod(sizes.U) + math.prod(sizes.V) + math.prod(sizes.M)
    between = math.prod(sizes.rows) + math.prod(sizes.half) + math.prod(sizes.outputs)
    whole = 0 if _is_whole(geometry) else math.prod(sizes.whole)
    return points + between + whole + needs_dx * math.prod(sizes.joined)


WINOGRAD2D = Algorithm(
    forward,
    backward,
    workspace_size,
    suits,
    "filters of 3 or 5 rows and columns, with stride 1, dilation 1 and a padding below their size,",
    pays=pays,
    kept=("U", "V"),
    evaluate=in_both_directions,
    scratch_size=scratch_size,
)


class _Sizes(NamedTuple):
    """The shapes of all arrays; nh, nw points of rows and columns, L = Th*Tw tiles of N images.

    The rows of the points are inside those of the columns, in which tiles are split and joined.
    """

    U: Shape  # (nw, nh, K, C)
    V: Shape  # (nw, nh, C, Th, Tw, N), and all tiles before and after
    M: Shape  # (nw, nh, K, Th, Tw, N)
    rows: Shape  # (nh, C, Th, 4*Tw + Fw - 1, N): transformed by rows only
    joined: Shape  # (C, Th, nh, 4*Tw + Fw - 1, N)
    half: Shape  # (nw, 4, K, Th, Tw, N): of outputs, transformed by columns only
    outputs: Shape  # (4, 4, K, Th, Tw, N)
    whole: Shape  # (K, 4*Th, 4*Tw, N): the outputs of all tiles

    @staticmethod
    @cache
    def of(geometry: Geometry, images: int) -> _Sizes:
        """Return those for N images."""
        filters, channels, fh, fw = geometry.filter_shape
        tiles = _tiles(geometry.rows), _tiles(geometry.columns), images
        points = TILE + fw - 1, TILE + fh - 1
        padded = TILE * tiles[1] + fw - 1
        return _Sizes(
            U=(*points, filters, channels),
            V=(*points, channels, *tiles),
            M=(*points, filters, *tiles),
            rows=(points[1], channels, tiles[0], padded, images),
            joined=(channels, tiles[0], points[1], padded, images),
            half=(points[0], TILE, filters, *tiles),
            outputs=(TILE, TILE, filters, *tiles),
            whole=(filters, TILE * tiles[0], TILE * tiles[1], images),
        )


def _transform_input(geometry: Geometry, x: Array, V: Array, workspace: Workspace) -> None:
    """Write V = B^T d B for x (C, H, W, N)."""
    sizes = _Sizes.of(geometry, x.shape[-1])
    rows, columns = geometry.rows, geometry.columns
    matrix = matrices(rows.filter_size, x.dtype).B_T
    by_rows = workspace("rows", sizes.rows)
    end = columns.before + columns.size
    by_rows[..., : columns.before, :] = 0
    by_rows[..., end:, :] = 0
    inside = by_rows[..., columns.before : end, :]
    images = _rows(x)
    for tile in range(_tiles(rows)):
        first = tile * TILE - rows.before
        start, stop = max(first, 0), min(first + len(matrix), rows.size)
        out = inside[:, :, tile].reshape(len(matrix), len(x), -1).transpose(1, 0, 2)
        np.matmul(matrix[:, start - first : stop - first], images[:, start:stop], out=out)
    tiles = workspace("tiles", sizes.V)
    copy_pixels(tiles, _column_tiles(by_rows, sizes.V))
    np.matmul(matrices(columns.filter_size, x.dtype).B_T, _first(tiles), out=_first(V))


def _transform_output(geometry: Geometry, M: Array, z: Array, workspace: Workspace) -> None:
    """Write z (K, Ho, Wo, N) = A^T M A."""
    sizes = _Sizes.of(geometry, z.shape[-1])
    half, outputs = workspace("half", sizes.half), workspace("outputs", sizes.outputs)
    np.matmul(matrices(geometry.rows.filter_size, z.dtype).A_T, _second(M), out=_second(half))
    matrix = matrices(geometry.columns.filter_size, z.dtype).A_T
    np.matmul(matrix, _first(half), out=_first(outputs))
    whole = z if _is_whole(geometry) else workspace("whole", sizes.whole)
    copy_pixels(_output_tiles(whole), outputs)
    if whole is not z:
        np.copyto(z, whole[:, : z.shape[1], : z.shape[2]])


def _transform_dz(geometry: Geometry, dz: Array, dM: Array, workspace: Workspace) -> None:
    """Write dM = A dz A^T for dz (K, Ho, Wo, N)."""
    sizes = _Sizes.of(geometry, dz.shape[-1])
    whole = dz
    if not _is_whole(geometry):
        whole = workspace("whole", sizes.whole)
        whole.fill(0)
        np.copyto(whole[:, : dz.shape[1], : dz.shape[2]], dz)
    half, outputs = workspace("half", sizes.half), workspace("outputs", sizes.outputs)
    copy_pixels(outputs, _output_tiles(whole))
    matrix = matrices(geometry.columns.filter_size, dz.dtype).A_T.T
    np.matmul(matrix, _first(outputs), out=_first(half))
    np.matmul(matrices(geometry.rows.filter_size, dz.dtype).A_T.T, _second(half), out=_second(dM))


def _join_columns(tiles: Array, joined: Array) -> None:
    """Write joined (C, Th, nh, columns, N), the sum of what tiles (nw, nh, C, Th, Tw, N) have."""
    beyond = len(tiles) - TILE  # columns that a tile has of the next one
    np.add(tiles[:beyond, ..., 1:, :], tiles[TILE:, ..., :-1, :], out=tiles[:beyond, ..., 1:, :])
    *_, count, images = tiles.shape
    copy_pixels(
        joined[..., : TILE * count, :]
        .reshape(*joined.shape[:3], count, TILE, images)
        .transpose(4, 2, 0, 1, 3, 5),
        tiles[:TILE],
    )
    copy_pixels(joined[..., TILE * count :, :].transpose(3, 2, 0, 1, 4), tiles[TILE:, ..., -1, :])


def _join_rows(geometry: Geometry, joined: Array, dx: Array) -> None:
    """Write dx (C, H, W, N) from joined (C, Th, nh, columns, N), four rows after the other.

    These see the tile that begins with them, and the one before.
    """
    axis, columns = geometry.rows, geometry.columns
    matrix = matrices(axis.filter_size, dx.dtype).overlap
    channels, tiles, points, *_ = joined.shape
    inside = joined[:, :, :, columns.before : columns.before + columns.size]
    seen = inside.reshape(channels, tiles * points, -1)
    rows = _rows(dx)
    for block in range(tiles + 1):
        first, point = block * TILE - axis.before, (block - 1) * points
        start, stop = max(first, 0), min(first + TILE, axis.size)
        begin, end = max(point, 0), min(point + 2 * points, tiles * points)
        if start < stop:
            part = matrix[start - first : stop - first, begin - point : end - point]
            np.matmul(part, seen[:, begin:end], out=rows[:, start:stop])


def _column_tiles(by_rows: Array, shape: Shape) -> Array:
    """View by_rows (nh, C, Th, columns, N) as (nw, nh, C, Th, Tw, N): tiles overlap."""
    *outer, column, item = by_rows.strides
    return view(by_rows, shape, (column, *outer, TILE * column, item))


def _output_tiles(whole: Array) -> Array:
    """View (K, 4*Th, 4*Tw, N) as (4, 4, K, Th, Tw, N), columns before rows of a tile."""
    filters, height, width, images = whole.shape
    tiles = whole.reshape(filters, height // TILE, TILE, width // TILE, TILE, images)
    return tiles.transpose(4, 2, 0, 1, 3, 5)


def _by_point(array: Array) -> Array:
    """View (nw, nh, K, ...) as (nw*nh, K, ...): a matrix for each pair of points."""
    return array.reshape(-1, array.shape[2], math.prod(array.shape[3:]))


def _first(array: Array) -> Array:
    """View an array as a matrix with a row for each index of the first axis."""
    return array.reshape(len(array), -1)


def _second(array: Array) -> Array:
    """View an array as matrices with a row for each index of the second axis."""
    return array.reshape(*array.shape[:2], -1)


def _rows(maps: Array) -> Array:
    """View maps (C, H, W, N) as (C, H, W*N)."""
    return maps.reshape(*maps.shape[:2], -1)


def _tiles(axis: Axis) -> int:
    """Return how many tiles cover the outputs."""
    return -(-axis.output_size // TILE)


def _is_whole(geometry: Geometry) -> bool:
    """Tell whether the tiles cover nothing beyond the outputs."""
    return not any(axis.output_size % TILE for axis in (geometry.rows, geometry.columns))
