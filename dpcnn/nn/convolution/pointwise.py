"""The convolution by 1x1 filters: one GEMM on the image itself, nothing is copied.

    z  = W @ x                (K, Ho*Wo*N), with W (K, C) and x (C, Ho*Wo*N)
    dW = dz @ x^T
    dx = W^T @ dz

With a stride, x is first sampled: every S-th row and column of it, and dx is 0 in between.

Source: Lin, Chen and Yan, "Network in network", ICLR 2014.
"""

from __future__ import annotations

import math

import numpy as np

from dpcnn.nn.convolution.algorithm import Algorithm, Geometry, Workspace, in_turn, then_bias
from dpcnn.nn.layer import Array


def forward(geometry: Geometry, W: Array, x: Array, z: Array, workspace: Workspace) -> None:
    """Write z = W @ x; keeps the sampled x if there is a stride."""
    sampled = x
    if _has_stride(geometry):
        sampled = _sampled(geometry, x.shape[-1], workspace)
        np.copyto(sampled, _samples(x, geometry))
    np.matmul(_matrix(W), _matrix(sampled), out=_matrix(z))


def weight_gradient(
    geometry: Geometry, x: Array, dz: Array, dW: Array, workspace: Workspace
) -> None:
    """Write dW = dz @ x^T."""
    sampled = _sampled(geometry, x.shape[-1], workspace) if _has_stride(geometry) else x
    np.matmul(_matrix(dz), _matrix(sampled).T, out=_matrix(dW))


def input_gradient(
    geometry: Geometry, W: Array, dz: Array, dx: Array, workspace: Workspace
) -> None:
    """Write dx = W^T @ dz."""
    if not _has_stride(geometry):
        np.matmul(_matrix(W).T, _matrix(dz), out=_matrix(dx))
        return
    dsampled = workspace("dsampled", (geometry.channels, *dz.shape[1:]))
    np.matmul(_matrix(W).T, _matrix(dz), out=_matrix(dsampled))
    dx.fill(0)
    _samples(dx, geometry)[...] = dsampled


def workspace_size(geometry: Geometry, images: int, needs_dx: bool) -> int:
    """Count the sampled x, and its gradient, if there is a stride."""
    pixels = math.prod(geometry.output_shape[1:]) if _has_stride(geometry) else 0
    return (1 + needs_dx) * geometry.channels * pixels * images


def suits(geometry: Geometry) -> bool:
    """Tell whether the filters are 1x1, and there is no padding."""
    axes = (geometry.rows, geometry.columns)
    return all(axis.filter_size == 1 and axis.padded_size == axis.size for axis in axes)


POINTWISE = Algorithm(
    then_bias(forward),
    in_turn(weight_gradient, input_gradient),
    workspace_size,
    suits,
    "1x1 filters without padding",
)


def _has_stride(geometry: Geometry) -> bool:
    return (geometry.rows.stride, geometry.columns.stride) != (1, 1)


def _sampled(geometry: Geometry, images: int, workspace: Workspace) -> Array:
    """Return the buffer (C, Ho, Wo, N) of the pixels that are seen."""
    return workspace("sampled", (geometry.channels, *geometry.output_shape[1:], images))


def _samples(x: Array, geometry: Geometry) -> Array:
    """View the pixels (C, Ho, Wo, N) of x (C, H, W, N) that are seen."""
    return x[:, :: geometry.rows.stride, :: geometry.columns.stride]


def _matrix(maps: Array) -> Array:
    """View maps (K, Ho, Wo, N), or W (K, C, 1, 1), as a matrix of K rows."""
    return maps.reshape(len(maps), -1)
