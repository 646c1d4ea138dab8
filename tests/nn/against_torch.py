"""A layer beside PyTorch's module of the same function: values and every gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from dpcnn.nn import Layer
from tests.nn.layers import alone, draw
from tests.reference import Array

# (type, tolerance): float64 shows that the formulas are the same, float32 that they lose no digits.
DTYPES = [(np.float64, 1e-10), (np.float32, 1e-5)]
dtypes = pytest.mark.parametrize(("dtype", "tolerance"), DTYPES, ids=["float64", "float32"])


def images_first(x: Array) -> Array:
    """Return (..., N) as PyTorch's (N, ...)."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 0))


def images_last(tensor: Any) -> Array:
    """Return PyTorch's (N, ...) as (..., N)."""
    return np.moveaxis(tensor.detach().numpy(), 0, -1)


def assert_near(ours: Array, theirs: Array, tolerance: float) -> None:
    """Compare within a tolerance relative to the largest value, since sums lose digits to it."""
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale)


def compare(
    layer: Layer, module: Any, x: Array, names: Mapping[str, str], tolerance: float
) -> None:
    """Compare y, dx and the parameters' gradients with those of the module.

    x (..., N) decides the type; names: of the layer's parameters -> of the module's.
    """
    import torch

    network = alone(layer, x.shape[:-1], x.dtype)
    module.to(torch.float64 if x.dtype == np.float64 else torch.float32)
    with torch.no_grad():
        for ours, theirs in names.items():
            getattr(module, theirs).copy_(torch.from_numpy(getattr(layer, ours).copy()))
    tensor = torch.from_numpy(images_first(x)).requires_grad_()
    expected = module(tensor)
    y = network.plan.root.forward(x.copy())
    assert_near(y, images_last(expected), tolerance)
    dy = draw(*y.shape, dtype=x.dtype, seed=2)
    expected.backward(torch.from_numpy(images_first(dy)))
    dx = layer.backward(dy.copy())
    assert dx is not None
    assert_near(dx, images_last(tensor.grad), tolerance)
    for ours, theirs in names.items():
        assert_near(getattr(layer, f"d{ours}"), getattr(module, theirs).grad.numpy(), tolerance)
