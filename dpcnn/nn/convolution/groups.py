"""Groups of channels: an algorithm called for one group at a time.

Filter k of group g sees the channels of group g only. In (C, H, W, N) the channels of a group, its
filters and their outputs lie one behind the other, so that its part of every array is a slice.

Source: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NeurIPS 2012.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from dpcnn.nn.convolution.algorithm import Algorithm, Forward, Geometry, Size, Workspace
from dpcnn.nn.layer import Array, Shape


class Group(NamedTuple):
    """A group as a convolution of its own."""

    geometry: Geometry
    channels: slice  # of x and dx
    filters: slice  # of z and dz, W and dW
    workspace: Workspace


def in_groups(algorithm: Algorithm) -> Algorithm:
    """Return the algorithm that calls this one for each group."""
    return algorithm._replace(
        forward=partial(_forward, algorithm.forward),
        evaluate=partial(_forward, algorithm.evaluate) if algorithm.evaluate else None,
        backward=partial(_backward, algorithm),
        workspace_size=partial(_of_all, algorithm.workspace_size),
        scratch_size=partial(_of_all, algorithm.scratch_size),
        takes_groups=True,
    )


def one_group(geometry: Geometry) -> Geometry:
    """Return the sizes of each group."""
    groups = geometry.groups
    return geometry._replace(
        filters=geometry.filters // groups, channels=geometry.channels // groups, groups=1
    )


def _groups(geometry: Geometry, workspace: Workspace) -> Iterator[Group]:
    part = one_group(geometry)
    for number in range(geometry.groups):
        channels = slice(number * part.channels, (number + 1) * part.channels)
        filters = slice(number * part.filters, (number + 1) * part.filters)
        own = partial(_workspace_of, workspace, geometry.groups, number)
        yield Group(part, channels, filters, own)


def _workspace_of(workspace: Workspace, groups: int, number: int, name: str, shape: Shape) -> Array:
    """Return a group's own part: what its forward keeps must last until its backward."""
    part: Array = workspace(name, (groups, *shape))[number]
    return part


def _forward(
    forward: Forward,
    geometry: Geometry,
    W: Array,
    b: Array | None,
    x: Array,
    z: Array,
    workspace: Workspace,
) -> None:
    for part, channels, filters, own in _groups(geometry, workspace):
        part_of_b = None if b is None else b[filters]
        forward(part, W[filters], part_of_b, x[channels], z[filters], own)


def _backward(
    algorithm: Algorithm,
    geometry: Geometry,
    W: Array,
    x: Array,
    dz: Array,
    dW: Array,
    dx: Array | None,
    workspace: Workspace,
) -> None:
    for part, channels, filters, own in _groups(geometry, workspace):
        part_of_dx = None if dx is None else dx[channels]
        arrays = (W[filters], x[channels], dz[filters], dW[filters], part_of_dx)
        algorithm.backward(part, *arrays, own)


def _of_all(size: Size, geometry: Geometry, images: int, needs_dx: bool) -> int:
    return geometry.groups * size(one_group(geometry), images, needs_dx)
