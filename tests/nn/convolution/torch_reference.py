"""The convolution of PyTorch, to be called in a process of its own: it brings its own BLAS."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference import Array


def convolution(
    x: Array, W: Array, b: Array, dz: Array, stride: int, padding: int
) -> tuple[Array, Array, Array, Array]:
    """Return z, dW, db and dx for x (C, H, W, N) and dz (K, Ho, Wo, N)."""
    import torch

    inputs = [torch.tensor(a, requires_grad=True) for a in (batch_first(x), W, b)]
    z = torch.nn.functional.conv2d(*inputs, stride=stride, padding=padding)
    z.backward(torch.tensor(batch_first(dz)))
    dx, dW, db = (each.grad.numpy() for each in inputs)
    return batch_last(z.detach().numpy()), dW, db, batch_last(dx)


def batch_first(maps: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(maps, -1, 0))


def batch_last(maps: Any) -> Array:
    return np.moveaxis(maps, 0, -1)
