"""Layers by themselves, with random parameters, and the check of their gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from dpcnn.nn import Layer
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.gradients import check_gradient
from tests.reference import Array


def draw(*shape: int, dtype: DTypeLike = np.float64, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def alone(layer: Layer, input_shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Network:
    """Return a network in training of this layer only, with random values and an input gradient.

    Variances are not negative.
    """
    network = Network(Plan([layer], input_shape), dtype)
    network.parameters[...] = draw(network.parameters.size, seed=1)
    for name in layer.state_shapes:
        getattr(layer, name)[...] = np.abs(draw(*layer.state_shapes[name], seed=3)) + 0.1
    network.context.training = layer.needs_dx = True
    return network


def check_layer(layer: Layer, x: Array) -> None:
    """Check the gradients of <dy, layer(x)> with respect to the parameters and x."""
    network = alone(layer, x.shape[:-1])
    dy = draw(*layer.forward(x.copy()).shape, seed=2)
    dx = layer.backward(dy.copy())
    assert dx is not None
    dx, gradient, parameters = dx.copy(), network.gradient.copy(), network.parameters.copy()

    def of_input(x: Array) -> float:
        return float(np.sum(dy * layer.forward(x.copy())))

    def of_parameters(p: Array) -> float:
        network.parameters[...] = p
        return of_input(x)

    check_gradient(of_input, x, dx)
    if parameters.size:
        check_gradient(of_parameters, parameters, gradient)
