"""Layers made of layers: one after another, beside a shortcut, or side by side.

Each of them keeps its layers as `children`, whose names make the paths of a network:
residual3/convolution1, residual3/shortcut/convolution1, concatenate1/branch2/relu1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dpcnn.errors import LayerError, OptionError
from dpcnn.nn.activations import ReLU
from dpcnn.nn.layer import Array, Layer, Shape
from dpcnn.nn.pooling import MaxPooling


class Composite(Layer):
    """What all three share: the work on every part."""

    def parts(self) -> Sequence[Layer]:
        """Return the layers that this one calls itself."""
        raise NotImplementedError

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the parameters of all parts, in their order."""
        for layer in self.parts():
            layer.initialize(rng)

    def workspace_size(self, images: int) -> int:
        """Count the buffers of all parts."""
        return sum(layer.workspace_size(images) for layer in self.parts())

    def scratch_size(self, images: int) -> int:
        """Count what the part takes that takes most."""
        return max((layer.scratch_size(images) for layer in self.parts()), default=0)

    def multiply_adds(self) -> int:
        """Count those of all parts."""
        return sum(layer.multiply_adds() for layer in self.parts())


class Sequential(Composite):
    """Layers in a row: the output of each is the input of the next.

    A ReLU is computed after the MaxPooling that follows it: the largest max(x, 0) is max(x, 0) of
    the largest x, to the bit, and so is its gradient. After a 2x2 window it is a quarter of the
    work (python -m dpcnn.bench --layers).
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        for number, layer in enumerate(layers, 1):
            if not isinstance(layer, Layer):
                raise OptionError(f"layer {number} in a row is {layer!r:.200}, expected a layer")
        self.layers = list(layers)
        self._computed = _computing_order(layers)
        if layers:
            self.overwrites_x = layers[0].overwrites_x
            self.overwrites_dy = layers[-1].overwrites_dy

    def parts(self) -> Sequence[Layer]:
        """Return the layers."""
        return self.layers

    def children(self) -> dict[str, Layer]:
        """Return the layers, each by its class with a running number: convolution1, relu1, ..."""
        return dict(zip(unique_names(self.layers), self.layers, strict=True))

    def build(self, input_shape: Shape) -> Shape:
        """Return the last layer's output shape; raises OptionError that names who does not fit."""
        shape, needed = input_shape, self.needs_dx
        for layer in self._computed:
            layer.needs_dx = needed
            shape = build(layer, shape)
            needed = needed or _has_parameters(layer)
        return shape

    def forward(self, x: Array) -> Array:
        """Return what comes out of the last layer for x."""
        for layer in self._computed:
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> Array | None:
        """Return the gradient of the first layer's input, from that of the last layer's output."""
        gradient = dy
        for layer in reversed(self._computed):
            dx = layer.backward(gradient)
            if dx is None:  # no layer before this one has parameters
                return None
            gradient = dx
        return gradient

    def __repr__(self) -> str:
        return " -> ".join(map(repr, self.layers))


class Residual(Composite):
    """y = body(x) + shortcut(x); without a shortcut, y = body(x) + x.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016.

    body, shortcut: a layer, or a list of layers in a row.
    """

    def __init__(
        self, body: Layer | Sequence[Layer], shortcut: Layer | Sequence[Layer] | None = None
    ) -> None:
        super().__init__()
        self.body = in_a_row(body)
        self.shortcut = None if shortcut is None else in_a_row(shortcut)

    def parts(self) -> Sequence[Layer]:
        """Return the body, and the shortcut if there is one."""
        return [self.body] if self.shortcut is None else [self.body, self.shortcut]

    def children(self) -> dict[str, Layer]:
        """Return the body's layers, and the shortcut."""
        children = self.body.children()
        return children if self.shortcut is None else children | {"shortcut": self.shortcut}

    def build(self, input_shape: Shape) -> Shape:
        """Return the body's output shape; raises OptionError if the shortcut has another."""
        for part in self.parts():
            part.needs_dx = self.needs_dx
        output_shape = build(self.body, input_shape)
        beside = input_shape if self.shortcut is None else build(self.shortcut, input_shape)
        if beside != output_shape:
            raise OptionError(
                f"the body's output is {output_shape}, expected {beside} as from the shortcut:"
                " give it a shortcut with the same output, such as a 1x1 convolution"
            )
        return output_shape

    def forward(self, x: Array) -> Array:
        """Return body(x) + shortcut(x), of the body's output shape."""
        kept = x
        if any(part.overwrites_x for part in self.parts()):
            kept = self.buffer("kept", x.shape)
            np.copyto(kept, x)
        beside = kept if self.shortcut is None else self.shortcut.forward(kept)
        y = self.body.forward(x)
        return np.add(y, beside, out=y)

    def backward(self, dy: Array) -> Array | None:
        """Return the sum of the input gradients of body and shortcut."""
        kept = dy
        if any(part.overwrites_dy for part in self.parts()):
            kept = self.buffer("dkept", dy.shape)
            np.copyto(kept, dy)
        beside = kept if self.shortcut is None else self.shortcut.backward(kept)
        dx = self.body.backward(dy)
        if dx is None or beside is None:
            return None
        return np.add(dx, beside, out=dx)

    def workspace_size(self, images: int) -> int:
        """Count the copies, if any, of x and of dy besides the parts' buffers."""
        parts, values = self.parts(), super().workspace_size(images)
        if any(part.overwrites_x for part in parts):
            values += math.prod(self.input_shape) * images
        if any(part.overwrites_dy for part in parts):
            values += math.prod(self.output_shape) * images
        return values

    def __repr__(self) -> str:
        shortcut = "" if self.shortcut is None else f", shortcut {self.shortcut!r}"
        return f"Residual({self.body!r}{shortcut})"


class Concatenate(Composite):
    """The outputs of several branches on one input, one behind the other along the first axis.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015.

    branches: each a layer, or a list of layers in a row.
    """

    def __init__(self, *branches: Layer | Sequence[Layer]) -> None:
        super().__init__()
        if not branches:
            raise OptionError("Concatenate has no branches, expected at least one")
        self.branches = [in_a_row(branch) for branch in branches]

    def parts(self) -> Sequence[Layer]:
        """Return the branches."""
        return self.branches

    def children(self) -> dict[str, Layer]:
        """Return the branches: branch1, branch2, ..."""
        return {f"branch{number}": branch for number, branch in enumerate(self.branches, 1)}

    def build(self, input_shape: Shape) -> Shape:
        """Return (sum of C, H, W) for branches (C, H, W); raises OptionError where H, W differ."""
        shapes = []
        for branch in self.branches:
            branch.needs_dx = self.needs_dx
            shapes.append(build(branch, input_shape))
        if len({shape[1:] for shape in shapes}) > 1:
            raise OptionError(f"the branches' outputs are {shapes}, expected the same but for C")
        self.sizes = [shape[0] for shape in shapes]
        return sum(self.sizes), *shapes[0][1:]

    def forward(self, x: Array) -> Array:
        """Return the branches' outputs for x, (sum of C, H, W, N)."""
        y = self.buffer("y", (*self.output_shape, x.shape[-1]))
        copies = iter(self.buffer("kept", (self._copies(), *x.shape)))
        for branch, part in zip(self.branches, self._split(y), strict=True):
            own_x = x
            if branch.overwrites_x:  # of its own: others may keep x
                own_x = next(copies)
                np.copyto(own_x, x)
            np.copyto(part, branch.forward(own_x))
        return y

    def backward(self, dy: Array) -> Array | None:
        """Return the sum of the branches' input gradients."""
        dx = self.buffer("dx", (*self.input_shape, dy.shape[-1]))
        dx.fill(0)
        for branch, part in zip(self.branches, self._split(dy), strict=True):
            gradient = branch.backward(part)
            if gradient is not None:
                np.add(dx, gradient, out=dx)
        return dx if self.needs_dx else None

    def _copies(self) -> int:
        """Return how many branches need a copy of x."""
        return sum(branch.overwrites_x for branch in self.branches)

    def _split(self, y: Array) -> list[Array]:
        """View y (sum of C, ...) as the parts of the branches."""
        return np.split(y, np.cumsum(self.sizes)[:-1])

    def workspace_size(self, images: int) -> int:
        """Count y, the copies of x and dx besides the branches' buffers."""
        copies = (self._copies() + 1) * math.prod(self.input_shape)
        return super().workspace_size(images) + (math.prod(self.output_shape) + copies) * images

    def __repr__(self) -> str:
        return f"Concatenate({', '.join(map(repr, self.branches))})"


def _computing_order(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers in a row, with every ReLU behind the MaxPooling that follows it."""
    order = list(layers)
    for place, (first, second) in enumerate(pairwise(layers)):
        if type(first) is ReLU and type(second) is MaxPooling:
            order[place : place + 2] = second, first
    return order


def in_a_row(layers: Layer | Sequence[Layer]) -> Sequential:
    """Return a Sequential of a layer or of layers; what is one already stays."""
    if isinstance(layers, Sequential):
        return layers
    if isinstance(layers, Layer):
        return Sequential(layers)
    if not isinstance(layers, list | tuple):
        raise OptionError(f"found {layers!r:.200}, expected a layer or a list of layers")
    return Sequential(*layers)


def build(layer: Layer, input_shape: Shape) -> Shape:
    """Build a layer, which then knows its shapes; an error says which one it is."""
    try:
        output_shape = layer.build(input_shape)
    except LayerError:
        raise
    except OptionError as error:
        raise LayerError(f"{layer.name}, {layer!r}: {error}") from error
    layer.input_shape, layer.output_shape = input_shape, output_shape
    return output_shape


def _has_parameters(layer: Layer) -> bool:
    """Tell whether a layer that has been built, or one that it is made of, has parameters."""
    return bool(layer.parameter_shapes) or any(map(_has_parameters, layer.children().values()))


def unique_names(layers: Sequence[Layer]) -> list[str]:
    """Return each layer's class with its running number: convolution1, relu1, convolution2, ..."""
    counts: Counter[str] = Counter()
    names = []
    for layer in layers:
        name = type(layer).__name__.lower()
        counts[name] += 1
        names.append(f"{name}{counts[name]}")
    return names
