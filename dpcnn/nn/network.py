"""A network: layers in a row over one flat parameter vector and one flat gradient vector."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.errors import OptionError
from dpcnn.nn.layer import Layer, Shape

Array = NDArray[Any]


class Row(NamedTuple):
    """One line of the layer table."""

    name: str
    layer: str
    output_shape: Shape
    parameters: int


class Network:
    """Layers, built for one input shape (C, H, W).

    `parameters` and `gradient` are flat vectors of the given dtype; each layer's W, b, dW, db are
    views into them, in layer order. Backward overwrites the whole gradient. float64 is for
    gradient checks.
    """

    def __init__(
        self, layers: Sequence[Layer], input_shape: Shape, dtype: DTypeLike = np.float32
    ) -> None:
        self.layers = list(layers)
        self.input_shape = input_shape
        self.dtype = np.dtype(dtype)
        self.names = names(self.layers)
        for number, layer in enumerate(self.layers):
            layer.dtype = self.dtype
            layer.needs_dx = number > 0
        self.shapes = shapes(self.layers, input_shape)
        size = sum(map(_parameters, self.layers))
        self.parameters = np.zeros(size, self.dtype)
        self.gradient = np.zeros(size, self.dtype)
        self._bind()

    def _bind(self) -> None:
        """Give each layer its views."""
        start = 0
        for layer in self.layers:
            for name, shape in layer.parameter_shapes.items():
                stop = start + math.prod(shape)
                setattr(layer, name, self.parameters[start:stop].reshape(shape))
                setattr(layer, "d" + name, self.gradient[start:stop].reshape(shape))
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
        return {
            name: {key: getattr(layer, key) for key in layer.parameter_shapes}
            for name, layer in zip(self.names, self.layers, strict=True)
            if layer.parameter_shapes
        }

    def adopt(self, parameters: Mapping[str, Mapping[str, Array]]) -> None:
        """Take over values of this network's shapes: layer name -> parameter name -> array."""
        for layer, views in self.named_parameters().items():
            for name, view in views.items():
                view[...] = parameters[layer][name]

    def table(self) -> list[Row]:
        """Return a line for each layer: its name, what it is, output shape, parameter count."""
        return [
            Row(name, repr(layer), shape, _parameters(layer))
            for name, layer, shape in zip(self.names, self.layers, self.shapes[1:], strict=True)
        ]

    def __repr__(self) -> str:
        return f"Network({' -> '.join(map(repr, self.layers))})"


def shapes(layers: Sequence[Layer], input_shape: Shape) -> list[Shape]:
    """Build the layers in a row; return the shapes between them, the input's first.

    Raises OptionError that names a layer which does not fit the one before it.
    """
    between = [input_shape]
    for name, layer in zip(names(layers), layers, strict=True):
        try:
            between.append(layer.build(between[-1]))
        except OptionError as error:
            raise OptionError(f"{name}, {layer!r}: {error}") from error
    return between


def parameter_count(layers: Sequence[Layer], input_shape: Shape) -> int:
    """Return how many parameters the layers have for inputs (C, H, W); takes no memory for them."""
    shapes(layers, input_shape)
    return sum(map(_parameters, layers))


def bytes_needed(layers: Sequence[Layer], input_shape: Shape, images: int) -> int:
    """Return about how much memory it takes to train these layers, before any of it is taken.

    In micro-batches of `images`, float32: four values for each parameter (itself, its gradient, a
    sum in float64) and the layers' buffers.
    """
    values = math.prod(input_shape) * images + 4 * parameter_count(layers, input_shape)
    return 4 * (values + sum(layer.workspace_size(images) for layer in layers))


def names(layers: Sequence[Layer]) -> list[str]:
    """Return unique names: each kind with its running number, convolution1, relu1, ..."""
    seen: Counter[str] = Counter()
    numbered = []
    for layer in layers:
        kind = type(layer).__name__.lower()
        seen[kind] += 1
        numbered.append(f"{kind}{seen[kind]}")
    return numbered


def _parameters(layer: Layer) -> int:
    return sum(map(math.prod, layer.parameter_shapes.values()))
