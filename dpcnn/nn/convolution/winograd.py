"""Winograd's minimal filtering F(4, 3) along the height: half of the products of a 3x3 convolution.

Four outputs of a column take 3 products each for every filter column. Seen as values of polynomials
at six points, they take 6 together instead of 12: with tiles of 6 input rows d and the 3 values g
of a filter column,

    y = A^T [(G g) * (B^T d)]       4 outputs of a tile; * is by element

so that the convolution becomes six small ones, one for each point, by filters of a single row:

    V       (6, C, W+2P, N)         B^T d of a tile; tiles of 4 rows cover the output
    U       (6, K, C*3)             G g, once for all images
    M       (6, K, Wo*N)            U @ V, lowered as in MEC (mec.py)
    z                               A^T M

In (C, H, W, N) the rows of a tile lie one behind the other. The transforms are therefore GEMMs on
the images themselves, by matrices of 6x6 and 4x6, and write V and z in place: one call a tile,
where additions would take a dozen passes over arrays that leave the cache in between. A tile at the
edge leaves out the columns of B^T whose rows are padding, and the rows of A^T that have no output.

The input gradient is the convolution of dz with the flipped filters; and what the convolution of x
is to z, that of dz is to dx, so that the same V of dz gives their gradient, as dU = sum of
(A x) @ V^T. One tile is in memory at a time, and none is kept from forward to backward. In float32
the result differs from the reference by about 2e-6 of its largest value.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; Winograd,
"Arithmetic complexity of computations", 1980. The matrices are those of toom_cook.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dpcnn.nn.convolution.algorithm import Algorithm, Axis, Geometry, Workspace, add_bias, view
from dpcnn.nn.convolution.by_pixel import along_the_height
from dpcnn.nn.convolution.toom_cook import TILE, matrices
from dpcnn.nn.layer import Array

FILTER = 3  # rows and columns
POINTS = TILE + FILTER - 1
MANY = 32  # channels and filters that outweigh the transforms at any width
FEWEST = 16  # channels and filters that do so where rows are wide
WIDE = 24  # output columns


def suits(geometry: Geometry) -> bool:
    """Tell whether it is a convolution of 3x3 filters, one pixel after the other."""
    return all(
        (axis.filter_size, axis.stride, axis.dilation) == (FILTER, 1, 1)
        and max(axis.before, axis.after) < FILTER
        for axis in (geometry.rows, geometry.columns)
    )


def pays(geometry: Geometry) -> bool:
    """Tell whether it is faster than MEC: if products outweigh the transforms, in whole tiles."""
    few = min(geometry.channels // geometry.groups, geometry.filters // geometry.groups)
    _, height, width = geometry.output_shape
    enough = few >= MANY or (few >= FEWEST and width >= WIDE)
    return enough and min(height, width) >= TILE


def forward(
    geometry: Geometry, W: Array, b: Array | None, x: Array, z: Array, workspace: Workspace
) -> None:
    """Write z = A^T (U @ V) + b, a tile after the other.

    What is added to M at the point 1 is added to all outputs of a tile: once, and in the cache.
    """
    U = _filters(W, workspace)
    z_rows = _rows(z)
    M = workspace("M", (POINTS, len(z), z_rows.shape[-1]))
    for rows, lowered in _lowered_tiles(geometry, x, workspace):
        np.matmul(U, lowered, out=M)
        if b is not None:
            add_bias(M[1], b)
        _transform_output(M, z_rows[:, rows])


def backward(
    geometry: Geometry,
    W: Array,
    x: Array,
    dz: Array,
    dW: Array,
    dx: Array | None,
    workspace: Workspace,
) -> None:
    """Write dx and dW = G^T dU, flipped, where dU sums (A x) @ V^T over the tiles of dz."""
    filters, channels = dW.shape[:2]
    U = _filters(W[:, :, ::-1, ::-1].swapaxes(0, 1), workspace)
    x_rows = _rows(x)
    M = workspace("M", (POINTS, channels, x_rows.shape[-1]))
    _, G, A_T, _ = matrices(FILTER, dW.dtype)
    dU = workspace("dU", (POINTS, channels, filters * FILTER))
    dU_tile = workspace("dU of a tile", dU.shape)
    for rows, lowered in _lowered_tiles(geometry.adjoint, dz, workspace):
        if dx is not None:
            np.matmul(U, lowered, out=M)
            _transform_output(M, _rows(dx)[:, rows])
        inputs = x_rows[:, rows]
        np.matmul(A_T.T[:, : inputs.shape[1]], inputs, out=M.transpose(1, 0, 2))
        np.matmul(M, lowered.transpose(0, 2, 1), out=dU_tile if rows.start else dU)
        if rows.start:
            np.add(dU, dU_tile, out=dU)
    gradient = workspace("gradient", (FILTER, channels, filters, FILTER))
    np.matmul(G.T, dU.reshape(POINTS, -1), out=gradient.reshape(FILTER, -1))
    dW[...] = gradient[::-1, :, :, ::-1].transpose(2, 1, 0, 3)


def workspace_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Return 0: nothing is kept."""
    return 0


def scratch_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Count what there is of a tile, the filters and their gradient."""
    parts = (geometry, geometry.adjoint)
    of_a_tile = max(
        part.channels * part.columns.padded_size
        + (FILTER * part.channels + part.filters) * part.columns.output_size
        for part in parts
    )
    return POINTS * (of_a_tile * images + 4 * FILTER * geometry.filters * geometry.channels)


WINOGRAD = Algorithm(
    forward,
    backward,
    workspace_size,
    suits,
    "3x3 filters with stride 1, dilation 1 and a padding of at most 2",
    pays=pays,
    kept=(),
    evaluate=along_the_height,
    scratch_size=scratch_size,
)


def _lowered_tiles(
    geometry: Geometry, x: Array, workspace: Workspace
) -> Iterator[tuple[slice, Array]]:
    """Yield each tile's rows of the output, and its V, lowered: (6, C*3, Wo*N)."""
    images, columns = x.shape[-1], geometry.columns
    V = workspace("V", (POINTS, geometry.channels, columns.padded_size, images))
    end = columns.before + columns.size
    V[:, :, : columns.before] = V[:, :, end:] = 0
    inside = V[:, :, columns.before : end]
    windows = _windows(V, columns)
    lowered = workspace("lowered", windows.shape)
    matrix, x_rows = matrices(FILTER, x.dtype).B_T, _rows(x)
    for first in range(0, geometry.rows.output_size, TILE):
        _transform_input(matrix, x_rows, inside, first - geometry.rows.before)
        np.copyto(lowered, windows)
        yield slice(first, first + TILE), lowered.reshape(POINTS, -1, windows.shape[-1])


def _transform_input(matrix: Array, x: Array, V: Array, first: int) -> None:
    """Write V (6, C, W, N) = B^T d, of the six rows from `first` on of x (C, H, W*N)."""
    start, stop = max(first, 0), min(first + POINTS, x.shape[1])
    seen = matrix[:, start - first : stop - first]
    np.matmul(seen, x[:, start:stop], out=V.reshape(*V.shape[:2], -1).transpose(1, 0, 2))


def _transform_output(M: Array, z: Array) -> None:
    """Write the rows z (K, up to 4, Wo*N) = A^T M, for M (6, K, Wo*N)."""
    np.matmul(matrices(FILTER, z.dtype).A_T[: z.shape[1]], M.transpose(1, 0, 2), out=z)


def _filters(W: Array, workspace: Workspace) -> Array:
    """Return U (6, K, C*3) = G g for W (K, C, 3, 3)."""
    filters, channels = W.shape[:2]
    by_row = workspace("W by row", (FILTER, filters, channels, FILTER))
    np.copyto(by_row, W.transpose(2, 0, 1, 3))
    U = workspace("U", (POINTS, filters, channels * FILTER))
    np.matmul(matrices(FILTER, W.dtype).G, by_row.reshape(FILTER, -1), out=U.reshape(POINTS, -1))
    return U


def _windows(V: Array, columns: Axis) -> Array:
    """View V (6, C, W+2P, N) as (6, C, 3, Wo*N): at each filter column what it sees."""
    line = columns.output_size * V.shape[-1]
    *outer, column, item = V.strides
    return view(V, (*V.shape[:2], FILTER, line), (*outer, column, item))


def _rows(maps: Array) -> Array:
    """View maps (C, H, W, N) as (C, H, W*N)."""
    channels, height, width, images = maps.shape
    return maps.reshape(channels, height, width * images)
