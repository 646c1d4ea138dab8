"""Winograd's minimal filtering F(4, 3) along the height: half of the products of a 3x3 convolution.

Four outputs of a column take 3 products each for every filter column. Seen as values of polynomials
at six points, they take 6 together instead of 12: with tiles of 6 input rows d and the 3 values g
of a filter column,

    y = A^T [(G g) * (B^T d)]       4 outputs of a tile; * is by element

so that the convolution becomes six small ones, one for each point, by filters of a single row:

    V       (T, 6, C, W+2P, N)      B^T d; T tiles cover the rows of the output
    U       (6, K, C*3)             G g, once for all images
    M       (6, K, Wo*N)            U @ V of a tile, lowered as in MEC (mec.py)
    z                               A^T M

In (C, H, W, N) the rows of a tile lie one behind the other. The transforms are therefore GEMMs on
the images themselves, by matrices of 6x6 and 4x6, and write V and z in place: one call a tile,
where additions would take a dozen passes over arrays that leave the cache in between. A tile at the
edge leaves out the columns of B^T whose rows are padding, and the rows of A^T that have no output.

The gradients are the same with the matrices transposed: dU = sum of (A dz) @ V^T, and dx is the
convolution of dz with the flipped filters. In float32 the result differs from the reference by
about 2e-6 of its largest value.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; Winograd,
"Arithmetic complexity of computations", 1980. The matrices are those for the points 0, 1, -1, 2,
-2 and infinity.
"""

from __future__ import annotations

import math

import numpy as np

from dpcnn.nn.convolution.algorithm import Algorithm, Axis, Geometry, Workspace, view
from dpcnn.nn.layer import Array, Shape

FILTER = 3  # rows and columns
TILE = 4  # output rows of a tile
POINTS = TILE + FILTER - 1
MANY = 32  # channels and filters that outweigh the transforms at any width
FEWEST = 16  # channels and filters that do so where rows are wide
WIDE = 24  # output columns
B_T = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
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
A_T = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


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


def forward(geometry: Geometry, W: Array, x: Array, z: Array, workspace: Workspace) -> None:
    """Write z; keeps V of x."""
    _convolve(geometry, W, x, z, workspace)


def input_gradient(
    geometry: Geometry, W: Array, dz: Array, dx: Array, workspace: Workspace
) -> None:
    """Write dx, the convolution of dz with the filters flipped, and channels for filters."""

    def own(name: str, shape: Shape) -> Array:
        return workspace(f"{name} of dz", shape)

    _convolve(geometry.adjoint, W[:, :, ::-1, ::-1].swapaxes(0, 1), dz, dx, own)


def weight_gradient(
    geometry: Geometry, x: Array, dz: Array, dW: Array, workspace: Workspace
) -> None:
    """Write dW = G^T dU, where dU sums (A dz) @ V^T over all tiles, after the forward of x."""
    filters, channels = dW.shape[:2]
    windows = _windows(geometry, workspace("V", _V_shape(geometry, x.shape[-1])))
    dz_rows = _rows(dz)
    dM = workspace("dM", (POINTS, filters, dz_rows.shape[-1]))
    dU = workspace("dU", (POINTS, FILTER, filters, channels))
    dU_tile = workspace("dU of a tile", dU.shape)
    A = A_T.T.astype(dW.dtype)
    for tile, window in enumerate(windows):
        outputs = dz_rows[:, tile * TILE : (tile + 1) * TILE]
        np.matmul(A[:, : outputs.shape[1]], outputs, out=dM.transpose(1, 0, 2))
        np.matmul(dM[:, None], window.transpose(0, 2, 3, 1), out=dU_tile if tile else dU)
        if tile:
            np.add(dU, dU_tile, out=dU)
    gradient = workspace("gradient", (FILTER, FILTER, filters, channels))
    np.matmul(G.T.astype(dW.dtype), dU.reshape(POINTS, -1), out=gradient.reshape(FILTER, -1))
    dW[...] = gradient.transpose(2, 3, 0, 1)


def workspace_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Count V of x and of dz, what there is of a tile, the filters and their gradient."""
    geometries = (geometry, geometry.adjoint) if needs_dx else (geometry,)
    values = sum(_convolution_size(part, images) for part in geometries)
    return values + 4 * POINTS * FILTER * geometry.filters * geometry.channels


WINOGRAD = Algorithm(
    forward,
    weight_gradient,
    input_gradient,
    workspace_size,
    suits,
    "3x3 filters with stride 1, dilation 1 and a padding of at most 2",
    pays=pays,
)


def _convolve(geometry: Geometry, W: Array, x: Array, z: Array, workspace: Workspace) -> None:
    """Write z (K, Ho, Wo, N) for x (C, H, W, N), a tile after the other; keeps V."""
    images = x.shape[-1]
    V = workspace("V", _V_shape(geometry, images))
    windows = _windows(geometry, V)
    lowered = workspace("lowered", windows.shape[1:])
    M = workspace("M", (POINTS, len(z), windows.shape[-1]))
    U = _filters(W, workspace)
    columns = geometry.columns
    inside = V[:, :, :, columns.before : columns.before + columns.size]
    x_rows, z_rows = _rows(x), _rows(z)
    input_matrix, output_matrix = B_T.astype(x.dtype), A_T.astype(z.dtype)
    for tile, window in enumerate(windows):
        first = tile * TILE - geometry.rows.before
        _transform_input(input_matrix, x_rows, inside[tile], first)
        np.copyto(lowered, window)
        np.matmul(U, lowered.reshape(POINTS, -1, windows.shape[-1]), out=M)
        outputs = z_rows[:, tile * TILE : (tile + 1) * TILE]
        np.matmul(output_matrix[: outputs.shape[1]], M.transpose(1, 0, 2), out=outputs)


def _transform_input(matrix: Array, x: Array, V: Array, first: int) -> None:
    """Write V (6, C, W, N) = B^T d, of the six rows from `first` on of x (C, H, W*N)."""
    start, stop = max(first, 0), min(first + POINTS, x.shape[1])
    seen = matrix[:, start - first : stop - first]
    np.matmul(seen, x[:, start:stop], out=V.reshape(*V.shape[:2], -1).transpose(1, 0, 2))


def _filters(W: Array, workspace: Workspace) -> Array:
    """Return U (6, K, C*3) = G g for W (K, C, 3, 3)."""
    filters, channels = W.shape[:2]
    by_row = workspace("W by row", (FILTER, filters, channels, FILTER))
    np.copyto(by_row, W.transpose(2, 0, 1, 3))
    U = workspace("U", (POINTS, filters, channels * FILTER))
    np.matmul(G.astype(W.dtype), by_row.reshape(FILTER, -1), out=U.reshape(POINTS, -1))
    return U


def _windows(geometry: Geometry, V: Array) -> Array:
    """View V (T, 6, C, W+2P, N) as (T, 6, C, 3, Wo*N): at each filter column what it sees."""
    images = V.shape[-1]
    line = geometry.columns.output_size * images
    *outer, column, item = V.strides
    return view(V, (*V.shape[:3], FILTER, line), (*outer, column, item))


def _rows(maps: Array) -> Array:
    """View maps (C, H, W, N) as (C, H, W*N)."""
    channels, height, width, images = maps.shape
    return maps.reshape(channels, height, width * images)


def _tiles(rows: Axis) -> int:
    """Return how many tiles cover the rows of the output."""
    return -(-rows.output_size // TILE)


def _V_shape(geometry: Geometry, images: int) -> Shape:
    """Return (T, 6, C, W+2P, N)."""
    columns = geometry.columns
    return _tiles(geometry.rows), POINTS, geometry.channels, columns.padded_size, images


def _convolution_size(geometry: Geometry, images: int) -> int:
    """Count V, and the lowered V and the products of a tile."""
    line = geometry.columns.output_size * images
    of_a_tile = POINTS * (FILTER * geometry.channels + geometry.filters) * line
    return math.prod(_V_shape(geometry, images)) + of_a_tile
