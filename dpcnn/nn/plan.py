"""What a list of layers comes to: names, shapes, parameters, memory, before any of it is taken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from dpcnn.errors import OptionError
from dpcnn.nn.layer import Layer, Shape


class Row(NamedTuple):
    """One line of the layer table."""

    name: str
    layer: str
    output_shape: Shape
    parameters: int


class Plan:
    """Layers in a row, built for images of one shape (C, H, W).

    names: of the layers, unique. shapes: between the layers, the input's first, without the batch
    axis. parameter_shapes: layer name -> parameter name -> shape, for the layers that have any.
    parameter_count: of all layers. Raises OptionError that names a layer which does not fit the
    one before it.
    """

    def __init__(self, layers: Sequence[Layer], input_shape: Shape) -> None:
        self.layers = list(layers)
        self.input_shape = input_shape
        self.names = unique_names(self.layers)
        self.shapes = [input_shape]
        for name, layer in zip(self.names, self.layers, strict=True):
            layer.needs_dx = len(self.shapes) > 1  # nobody reads the gradient of the images
            self.shapes.append(_build(name, layer, self.shapes[-1]))
        self.parameter_shapes = {
            name: dict(layer.parameter_shapes)
            for name, layer in zip(self.names, self.layers, strict=True)
            if layer.parameter_shapes
        }
        self.parameter_count = sum(map(_parameter_count, self.layers))

    def bytes_needed(self, images: int) -> int:
        """Return about how much memory training takes in micro-batches of `images`, in float32.

        Four values for each parameter (itself, its gradient, a sum in float64), the images and the
        layers' buffers.
        """
        values = math.prod(self.input_shape) * images + 4 * self.parameter_count
        return 4 * (values + sum(layer.workspace_size(images) for layer in self.layers))

    def table(self) -> list[Row]:
        """Return a row for each layer: its name, what it is, output shape, parameter count."""
        return [
            Row(name, repr(layer), shape, _parameter_count(layer))
            for name, layer, shape in zip(self.names, self.layers, self.shapes[1:], strict=True)
        ]


def unique_names(layers: Sequence[Layer]) -> list[str]:
    """Return each layer's class with its running number: convolution1, relu1, convolution2, ..."""
    counts: Counter[str] = Counter()
    names = []
    for layer in layers:
        name = type(layer).__name__.lower()
        counts[name] += 1
        names.append(f"{name}{counts[name]}")
    return names


def _build(name: str, layer: Layer, input_shape: Shape) -> Shape:
    """Build a layer; an OptionError says which one it is."""
    try:
        return layer.build(input_shape)
    except OptionError as error:
        raise OptionError(f"{name}, {layer!r}: {error}") from error


def _parameter_count(layer: Layer) -> int:
    return sum(map(math.prod, layer.parameter_shapes.values()))
