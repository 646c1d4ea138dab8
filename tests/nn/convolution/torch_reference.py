"""The convolution of PyTorch, to be called in a process of its own: it brings its own BLAS."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference import Array

Pair = tuple[int, int]


def convolution(
    arrays: tuple[Array, Array, Array | None, Array],
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
) -> list[Array]:
    """Return z, dW, dx and, if there is a bias, db for x (C, H, W, N), W, b, dz (K, Ho, Wo, N).

    padding: of the rows, before and after, and of the columns.
    """
    import torch

    torch.set_num_threads(1)
    x, W, b, dz = arrays
    inputs = [torch.tensor(a, requires_grad=True) for a in (batch_first(x), W, b) if a is not None]
    padded = torch.nn.functional.pad(inputs[0], (*padding[1], *padding[0]))
    z = torch.nn.functional.conv2d(
        padded, *inputs[1:], stride=stride, dilation=dilation, groups=groups
    )
    z.backward(torch.tensor(batch_first(dz)))
    dx, *gradients = (each.grad.numpy() for each in inputs)
    return [batch_last(z.detach().numpy()), batch_last(dx), *gradients]


def dirac(shape: tuple[int, ...], groups: int) -> Array:
    """Return weights of this shape (K, C/G, Fh, Fw) by PyTorch's dirac_."""
    import torch

    weights: Array = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    return weights


def batch_first(maps: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(maps, -1, 0))


def batch_last(maps: Any) -> Array:
    return np.moveaxis(maps, 0, -1)
