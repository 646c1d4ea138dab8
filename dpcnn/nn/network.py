"""A network: layers in a row over one flat parameter vector and one flat gradient vector."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from dpcnn.nn.layer import Array
from dpcnn.nn.plan import Plan


class Network:
    """A plan with memory: its layers bound to `parameters` and `gradient`, each a flat vector.

    Each layer's W, b, dW, db are views into the vectors, in layer order; layers of another network
    leave it. The parameters are 0 until they are initialized or restored. Backward overwrites the
    whole gradient. dtype: float32; float64 is for gradient checks.
    """

    def __init__(self, plan: Plan, dtype: DTypeLike = np.float32) -> None:
        self.plan = plan
        self.layers = plan.layers
        self.names = plan.names
        self.parameters: Array = np.zeros(plan.parameter_count, dtype)
        self.gradient: Array = np.zeros(plan.parameter_count, dtype)
        self._bind()

    def _bind(self) -> None:
        """Give each layer its views."""
        start = 0
        for name, layer in zip(self.names, self.layers, strict=True):
            layer.dtype = self.parameters.dtype
            for key, shape in self.plan.parameter_shapes.get(name, {}).items():
                stop = start + math.prod(shape)
                setattr(layer, key, self.parameters[start:stop].reshape(shape))
                setattr(layer, "d" + key, self.gradient[start:stop].reshape(shape))
                start = stop

    def initialize(self, seed: int) -> None:
        """Draw all parameters anew: a pure function of the layers and the seed."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        for layer in self.layers:
            layer.initialize(rng)

    def forward(self, x: Array) -> Array:
        """Return the logits (classes, N) of the images x (C, H, W, N)."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dlogits: Array) -> None:
        """Write the gradient of the last forward's loss into `gradient`; dlogits (classes, N)."""
        dy: Array | None = dlogits
        for layer in reversed(self.layers):
            assert dy is not None, "only the first layer may keep its input gradient"
            dy = layer.backward(dy)

    def named_parameters(self) -> dict[str, dict[str, Array]]:
        """Return layer name -> parameter name -> view, for the layers that have any."""
        layers = dict(zip(self.names, self.layers, strict=True))
        return {
            name: {key: getattr(layers[name], key) for key in shapes}
            for name, shapes in self.plan.parameter_shapes.items()
        }

    def restore(self, parameters: Mapping[str, Mapping[str, Array]]) -> None:
        """Take over values of this network's shapes: layer name -> parameter name -> array."""
        for name, views in self.named_parameters().items():
            for key, view in views.items():
                view[...] = parameters[name][key]

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the parameters as little-endian float32, in layer order."""
        return hashlib.sha256(self.parameters.astype("<f4").tobytes()).hexdigest()

    def __repr__(self) -> str:
        return f"Network({' -> '.join(map(repr, self.layers))})"
