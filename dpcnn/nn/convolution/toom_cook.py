"""The matrices of Winograd's minimal filtering, by the method of Toom and Cook.

Four outputs of a row see n = F + 3 inputs d of it through a filter g of F values. Seen as values of
polynomials at n points,

    y = A^T [(G g) * (B^T d)]       4 outputs; * is by element

take n products instead of 4F. The points are 0, 1, -1, 2, -2, with F = 5 also 1/2 and -1/2, and
infinity.

Source: Barabasz, Anderson, Soodhalter and Gregg, "Error analysis and improving the accuracy of
Winograd convolution for deep neural networks", ACM TOMS 46(4), 2020, for the matrices and points.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from dpcnn.nn.convolution.algorithm import Geometry
from dpcnn.nn.layer import Array

TILE = 4  # outputs
POINTS = {3: (0, 1, -1, 2, -2), 5: (0, 1, -1, 2, -2, 0.5, -0.5)}  # by the filter's size


class Matrices(NamedTuple):
    """The transforms along an axis, for n points and filters of F values.

    B_T (n, n) of inputs, G (n, F) of filters, A_T (4, n) to outputs. overlap (4, 2n): from points
    of two neighbouring tiles to the four rows with which the second begins.
    """

    B_T: Array
    G: Array
    A_T: Array
    overlap: Array


@cache
def matrices(filter_size: int, dtype: np.dtype[Any]) -> Matrices:
    """Return the transforms for filters of that size: values of polynomials at the points.

    The last point is infinity, where a polynomial's value is its highest coefficient.
    """
    points = np.array(POINTS[filter_size])
    size = len(points) + 1
    B_T, G, A_T = np.zeros((size, size)), np.zeros((size, filter_size)), np.zeros((TILE, size))
    for row, point in enumerate(points):
        others = np.delete(points, row)
        B_T[row, :-1] = np.poly(others)[::-1]  # coefficients of the product of all x - other
        G[row] = point ** np.arange(filter_size) / np.prod(point - others)
        A_T[:, row] = point ** np.arange(TILE)
    B_T[-1] = np.poly(points)[::-1]
    G[-1, -1] = A_T[-1, -1] = 1
    overlap = np.zeros((TILE, 2 * size))
    overlap[: size - TILE, :size] = B_T.T[TILE:]
    overlap[:, size:] = B_T.T[:TILE]
    return Matrices(*(matrix.astype(dtype) for matrix in (B_T, G, A_T, overlap)))


@cache
def filter_pairs(geometry: Geometry, dtype: np.dtype[Any]) -> Array:
    """Return (nw*nh, Fh*Fw): what each value of a filter adds at each pair of points."""
    _, _, fh, fw = geometry.filter_shape
    pairs: Array = np.einsum("ia,jb->jiab", matrices(fh, dtype).G, matrices(fw, dtype).G)
    return pairs.reshape(-1, fh * fw)


def transform_filters(geometry: Geometry, W: Array, U: Array) -> None:
    """Write U (nw, nh, K, C) = G g G^T for the filters g of W (K, C, Fh, Fw)."""
    pairs = filter_pairs(geometry, W.dtype)
    np.matmul(pairs, W.reshape(-1, pairs.shape[1]).T, out=U.reshape(len(pairs), -1))
