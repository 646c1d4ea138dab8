"""The reference algorithm: image to columns, one GEMM, and columns back to image.

Each output pixel's receptive field becomes a column; then the whole micro-batch is a single matrix
product, and so is each gradient:

    columns  = im2col(x)             (C*Fh*Fw, Ho*Wo*N)
    z        = W_row @ columns       (K, Ho*Wo*N), with W_row (K, C*Fh*Fw)
    dW_row   = dz @ columns^T
    dcolumns = W_row^T @ dz          col2im adds up what overlapping fields have of a pixel

The columns repeat every pixel up to Fh*Fw times; what avoids that is tested against this.

Source: Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006.
"""

from __future__ import annotations

import math

import numpy as np

from dpcnn.nn.convolution.algorithm import Algorithm, Geometry, Workspace, in_turn, then_bias
from dpcnn.nn.layer import Array, Shape


def forward(geometry: Geometry, W: Array, x: Array, z: Array, workspace: Workspace) -> None:
    """Write z = W_row @ columns; keeps the columns of x."""
    columns = workspace("columns", columns_shape(geometry, x.shape[-1]))
    im2col(x, columns, geometry)
    np.matmul(_filter_rows(W), _matrix(columns), out=_maps(z))


def weight_gradient(
    geometry: Geometry, x: Array, dz: Array, dW: Array, workspace: Workspace
) -> None:
    """Write dW_row = dz @ columns^T."""
    columns = workspace("columns", columns_shape(geometry, x.shape[-1]))
    np.matmul(_maps(dz), _matrix(columns).T, out=_filter_rows(dW))


def input_gradient(
    geometry: Geometry, W: Array, dz: Array, dx: Array, workspace: Workspace
) -> None:
    """Write dx = col2im(W_row^T @ dz)."""
    dcolumns = workspace("dcolumns", columns_shape(geometry, dz.shape[-1]))
    np.matmul(_filter_rows(W).T, _maps(dz), out=_matrix(dcolumns))
    col2im(dcolumns, dx, geometry)


def workspace_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Count the columns, and their gradient."""
    return (1 + needs_dx) * math.prod(columns_shape(geometry, images))


def suits(geometry: Geometry) -> bool:
    """Tell that it computes any convolution."""
    return True


IM2COL = Algorithm(
    then_bias(forward),
    in_turn(weight_gradient, input_gradient),
    workspace_size,
    suits,
    "any convolution",
)


def im2col(x: Array, columns: Array, geometry: Geometry) -> None:
    """Write x (C, H, W, N) into columns (C, Fh, Fw, Ho, Wo, N).

    Only what is inside the image is written: columns must come in as zeros, the padding.
    """
    for (i, j), outputs, inputs in geometry.positions():
        columns[:, i, j][outputs] = x[inputs]


def col2im(columns: Array, x: Array, geometry: Geometry) -> None:
    """Write into x (C, H, W, N) the sum of what columns (C, Fh, Fw, Ho, Wo, N) have of each pixel.

    The adjoint of im2col.
    """
    x.fill(0)
    for (i, j), outputs, inputs in geometry.positions():
        x[inputs] += columns[:, i, j][outputs]


def columns_shape(geometry: Geometry, images: int) -> Shape:
    """Return (C, Fh, Fw, Ho, Wo, N)."""
    return *geometry.filter_shape[1:], *geometry.output_shape[1:], images


def _matrix(columns: Array) -> Array:
    """View columns (C, Fh, Fw, Ho, Wo, N) as (C*Fh*Fw, Ho*Wo*N)."""
    return columns.reshape(math.prod(columns.shape[:3]), -1)


def _filter_rows(W: Array) -> Array:
    """View W (K, C, Fh, Fw) as (K, C*Fh*Fw)."""
    return W.reshape(len(W), -1)


def _maps(z: Array) -> Array:
    """View z (K, Ho, Wo, N) as (K, Ho*Wo*N)."""
    return z.reshape(len(z), -1)
