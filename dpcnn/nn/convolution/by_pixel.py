"""Winograd's algorithms in evaluation: of many images at a time, pixel by pixel.

No backward follows there, and the N values of a pixel are columns enough for a GEMM. So the rows
that a tile sees are rewritten as (rows, W, C, N), the channels of a pixel one behind the other,
and transformed by a single GEMM into images for n points, which stay in the cache with all that is
made of them:

    V       (n, W+2P, C, N)     B^T d, of a tile's rows
    M       (n, Wo, K, N)       the convolution of each by filters of one row
    z                           A^T M, four rows, rewritten as (K, 4, Wo, N)

Of the height only (winograd.py), M is U (n, K, Fw*C) times what each output sees: Fw pixels, which
are neighbours, so that nothing has to be lowered. In both directions (winograd2d.py) a tile is six
pixels, with 3x3 filters, which are the rows of a matrix (6, C*N): its transform, too, is a GEMM,
and nothing is copied to split tiles or to join them.

With 64 images that takes 0.8 to 1.0 of the time of the forward of training
(tests/benchmarks/bench_winograd.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dpcnn.nn.blocks import copy_pixels
from dpcnn.nn.convolution.algorithm import Geometry, Workspace, view
from dpcnn.nn.convolution.toom_cook import TILE, matrices, transform_filters
from dpcnn.nn.layer import Array


def along_the_height(
    geometry: Geometry, W: Array, b: Array | None, x: Array, z: Array, workspace: Workspace
) -> None:
    """Write z, by tiles of rows only."""
    filters, channels, fh, fw = W.shape
    G = matrices(fh, W.dtype).G
    U = workspace("U", (len(G), 1, filters, fw * channels))
    np.matmul(G, W.transpose(2, 0, 3, 1).reshape(fh, -1), out=U.reshape(len(G), -1))

    def convolve(V: Array, M: Array) -> None:
        np.matmul(U, _seen_by_outputs(V, fw), out=M)

    _by_tiles(geometry, b, x, z, workspace, geometry.columns.output_size, convolve)


def in_both_directions(
    geometry: Geometry, W: Array, b: Array | None, x: Array, z: Array, workspace: Workspace
) -> None:
    """Write z, by tiles of rows and columns."""
    filters, channels, fh, fw = W.shape
    B_T, _, A_T, _ = matrices(fw, W.dtype)
    U = workspace("U", (len(B_T), TILE + fh - 1, filters, channels))
    transform_filters(geometry, W, U)
    tiles = -(-geometry.columns.output_size // TILE)
    points = workspace("points", (len(B_T), tiles, channels, x.shape[-1]))
    products = workspace("products", (len(B_T), tiles, filters, x.shape[-1]))

    def convolve(V: Array, M: Array) -> None:
        for row, (inputs, outputs) in enumerate(zip(V, M, strict=True)):  # a point of the height
            np.matmul(B_T, _column_tiles(inputs, tiles, len(B_T)), out=_tiles_first(points))
            np.matmul(U[:, row, None], points, out=products)
            np.matmul(A_T, _tiles_first(products), out=outputs.reshape(tiles, TILE, -1))

    _by_tiles(geometry, b, x, z, workspace, TILE * tiles, convolve)


def _by_tiles(
    geometry: Geometry,
    b: Array | None,
    x: Array,
    z: Array,
    workspace: Workspace,
    width: int,
    convolve: Callable[[Array, Array], None],
) -> None:
    """Write z, four rows after the other.

    convolve(V, M): writes M (n, width, K, N), of which z has the first columns, from V (n, width +
    Fw - 1, C, N). What is added to M at the point 1 is added to all outputs.
    """
    channels, height, columns, images = x.shape
    B_T, _, A_T, _ = matrices(geometry.rows.filter_size, x.dtype)
    fw, before = geometry.columns.filter_size, geometry.columns.before
    V = workspace("V", (len(B_T), width + fw - 1, channels, images))
    V[:, :before] = V[:, before + columns :] = 0
    pixel = channels * images
    inside = V.reshape(len(V), -1)[:, before * pixel : (before + columns) * pixel]
    M = workspace("M", (len(B_T), width, len(z), images))
    for row in range(0, z.shape[1], TILE):
        first = row - geometry.rows.before
        start, stop = max(first, 0), min(first + len(B_T), height)
        seen = workspace("seen", (stop - start, columns, channels, images))
        copy_pixels(seen, x[:, start:stop].transpose(1, 2, 0, 3))
        np.matmul(B_T[:, start - first : stop - first], seen.reshape(len(seen), -1), out=inside)
        convolve(V, M)
        if b is not None:
            np.add(M[1], b[:, None], out=M[1])
        rows = z[:, row : row + TILE]
        outputs = workspace("outputs", (rows.shape[1], *M.shape[1:]))
        np.matmul(A_T[: len(outputs)], M.reshape(len(M), -1), out=outputs.reshape(len(outputs), -1))
        copy_pixels(rows, outputs[:, : rows.shape[2]].transpose(2, 0, 1, 3))


def _seen_by_outputs(V: Array, filter_size: int) -> Array:
    """View V (n, columns, C, N) as (n, Wo, Fw*C, N): the pixels that each output sees."""
    points, columns, channels, images = V.shape
    shape = points, columns - filter_size + 1, filter_size * channels, images
    return view(V, shape, V.strides)


def _column_tiles(row: Array, tiles: int, points: int) -> Array:
    """View a row (columns, C, N) as (Tw, nw, C*N): the pixels of each tile, which overlap."""
    column, _, item = row.strides
    shape = tiles, points, row.shape[1] * row.shape[2]
    return view(row, shape, (TILE * column, column, item))


def _tiles_first(array: Array) -> Array:
    """View an array (nw, Tw, K, N) as a matrix (nw, K*N) for each tile."""
    return array.reshape(*array.shape[:2], -1).transpose(1, 0, 2)
