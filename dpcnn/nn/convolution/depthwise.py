"""The depthwise convolution, each filter on a channel of its own, as shifted multiply-adds.

With as many groups as channels there is nothing for a GEMM to share. Instead, each position (i, j)
of the filters adds whole maps, shifted by (i, j) and multiplied with a number a filter:

    z  += W[:, i, j] * x shifted
    dW[:, i, j] = sum of dz * x shifted
    dx shifted += W[:, i, j] * dz

In (C, H, W, N) a shifted map is runs of Wo*N values. A few channels at a time, so that their maps
stay in the cache over all positions.

Source: Sifre, "Rigid-motion scattering for image classification", 2014; Chollet, "Xception: Deep
learning with depthwise separable convolutions", CVPR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dpcnn.nn.convolution.algorithm import Algorithm, Geometry, Workspace
from dpcnn.nn.layer import Array, Shape

BLOCK = 16384  # values of the maps of a block: with two more like it they are 192 KiB


def forward(geometry: Geometry, W: Array, x: Array, z: Array, workspace: Workspace) -> None:
    """Write z, position by position."""
    positions = list(geometry.positions())
    for x_block, z_block, W_block, product in _blocks(geometry, x, z, W, workspace):
        z_block.fill(0)
        for (i, j), outputs, inputs in positions:
            _multiply_add(x_block[inputs], W_block[:, i, j], product, z_block[outputs])


def weight_gradient(
    geometry: Geometry, x: Array, dz: Array, dW: Array, workspace: Workspace
) -> None:
    """Write dW, each a dot product of two maps."""
    positions = list(geometry.positions())
    for x_block, dz_block, dW_block, _ in _blocks(geometry, x, dz, dW, workspace):
        for (i, j), outputs, inputs in positions:
            rows = np.vecdot(_by_row(x_block[inputs]), _by_row(dz_block[outputs]))
            rows.sum(axis=1, out=dW_block[:, i, j])


def input_gradient(
    geometry: Geometry, W: Array, dz: Array, dx: Array, workspace: Workspace
) -> None:
    """Write dx, position by position."""
    positions = list(geometry.positions())
    dx.fill(0)
    for dx_block, dz_block, W_block, product in _blocks(geometry, dx, dz, W, workspace):
        for (i, j), outputs, inputs in positions:
            _multiply_add(dz_block[outputs], W_block[:, i, j], product, dx_block[inputs])


def workspace_size(geometry: Geometry, images: int) -> int:
    """Count the products of a block."""
    return math.prod(_block_shape(geometry, images))


def suits(geometry: Geometry) -> bool:
    """Tell whether every channel is a group; a single one is left to the others."""
    return geometry.groups == geometry.channels > 1


DEPTHWISE = Algorithm(
    forward,
    weight_gradient,
    input_gradient,
    workspace_size,
    suits,
    "two channels or more, each a group of its own,",
    takes_groups=True,
)


def _blocks(
    geometry: Geometry, x: Array, z: Array, W: Array, workspace: Workspace
) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Yield a few channels of x, one filter each of W, their maps of z, and room for products.

    x (block, H, W, N), z (block, Ho, Wo, N), W (block, Fh, Fw), products (block, Ho, Wo, N).
    """
    channels = geometry.channels
    z = z.reshape(channels, -1, *z.shape[1:])
    W = W.reshape(channels, -1, *W.shape[2:])
    product = workspace("product", _block_shape(geometry, x.shape[-1]))
    for start in range(0, channels, len(product)):
        block = slice(start, start + len(product))
        for multiple in range(z.shape[1]):
            yield x[block], z[block, multiple], W[block, multiple], product


def _block_shape(geometry: Geometry, images: int) -> Shape:
    """Return (block, Ho, Wo, N)."""
    _, *input_map = geometry.input_shape
    _, *output_map = geometry.output_shape
    largest = max(math.prod(input_map), math.prod(output_map)) * images
    return min(geometry.channels, max(1, BLOCK // largest)), *output_map, images


def _multiply_add(maps: Array, weights: Array, product: Array, out: Array) -> None:
    """Add maps (block, ...), each times its weight (block,), to out."""
    channels, rows, columns, _ = maps.shape
    part = product[:channels, :rows, :columns]
    np.multiply(maps, weights[:, None, None, None], out=part)
    np.add(out, part, out=out)


def _by_row(maps: Array) -> Array:
    """View maps (block, H, W, N) as (block, H, W*N); copy them if columns are left out."""
    channels, rows, columns, images = maps.shape
    return maps.reshape(channels, rows, columns * images)
