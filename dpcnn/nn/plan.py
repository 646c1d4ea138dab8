"""What a list of layers comes to: names, shapes, parameters, memory, before any of it is taken."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dpcnn.errors import LayerError, OptionError
from dpcnn.nn.composite import Sequential, build
from dpcnn.nn.layer import Layer, Shape, descendants, leaves


class Row(NamedTuple):
    """One line of the layer table."""

    name: str
    layer: str
    output_shape: Shape
    parameters: int


class Slot(NamedTuple):
    """A parameter, or a state, of a layer, and its part of the network's flat vectors."""

    layer: Layer
    key: str
    shape: Shape
    part: slice
    trained: bool


class Plan:
    """Layers in a row, built for images of one shape (C, H, W).

    needs_dx: whether anybody reads the gradient of the images.

    root: the layers as one. leaves: name -> layer for all that are not composite, in order; a name
    is the path in the network, such as residual3/convolution1. output_shape: without the batch
    axis. slots: every parameter of every layer, then all state, in the order of the network's
    vectors; parameter_count, state_count: their values. Raises OptionError that names a layer which
    does not fit the one before it.
    """

    def __init__(self, layers: Sequence[Layer], input_shape: Shape, needs_dx: bool = False) -> None:
        self.layers = list(layers)
        self.input_shape = input_shape
        self.root = Sequential(*layers)
        self.root.needs_dx = needs_dx
        for name, layer in descendants(self.root):
            layer.name = name
        self.leaves = leaves(self.root)
        for number, layer in enumerate(self.leaves.values()):
            layer.number = number
        self.output_shape = build(self.root, input_shape)
        self.parameter_count = _count(self.leaves, "parameter_shapes")
        self.state_count = _count(self.leaves, "state_shapes")
        self.slots = [*self._slots("parameter_shapes", 0)]
        self.slots += self._slots("state_shapes", self.parameter_count)

    def bytes_needed(self, images: int) -> int:
        """Return about how much memory training takes in micro-batches of `images`, in float32.

        Four values for each parameter (itself, its gradient, a sum in float64), the images and the
        layers' buffers, their own and those that they share.
        """
        values = math.prod(self.input_shape) * images
        values += 4 * (self.parameter_count + self.state_count)
        values += self.root.workspace_size(images) + self.root.scratch_size(images)
        return 4 * values

    def check_microbatch(self, images: int) -> None:
        """Raise LayerError that names a layer which cannot be trained on so many images."""
        for name, layer in self.leaves.items():
            try:
                layer.check_microbatch(images)
            except OptionError as error:
                raise LayerError(f"{name}, {layer!r}: {error}") from error

    def fewest_images(self, most: int) -> int:
        """Return the smallest micro-batch, of at most `most` images, that each layer can train on.

        Raises LayerError if there is none.
        """
        for images in range(1, most):
            with contextlib.suppress(LayerError):
                self.check_microbatch(images)
                return images
        self.check_microbatch(most)
        return most

    def table(self) -> list[Row]:
        """Return a row for each layer: its name, what it is, output shape, parameter count."""
        return [
            Row(name, repr(layer), layer.output_shape, _values(layer.parameter_shapes))
            for name, layer in self.leaves.items()
        ]

    def outline(self) -> list[Row]:
        """Return a row for each layer in the row itself, with all that it is made of."""
        rows = []
        for name, layer in self.root.children().items():
            parts = [*leaves(layer).values()] or [layer]
            kind = f"{type(layer).__name__} of {len(parts)} layers"
            what = kind if layer.children() else repr(layer)
            parameters = sum(_values(part.parameter_shapes) for part in parts)
            rows.append(Row(name, what, layer.output_shape, parameters))
        return rows

    def _slots(self, kind: str, start: int) -> Iterator[Slot]:
        """Yield a slot for each of the parameters or the state, from place `start` on."""
        for layer in self.leaves.values():
            for key, shape in getattr(layer, kind).items():
                stop = start + math.prod(shape)
                yield Slot(layer, key, shape, slice(start, stop), kind == "parameter_shapes")
                start = stop


def _count(leaves: dict[str, Layer], kind: str) -> int:
    return sum(_values(getattr(layer, kind)) for layer in leaves.values())


def _values(shapes: dict[str, Shape]) -> int:
    return sum(map(math.prod, shapes.values()))
