"""The base class of all layers: config, build, forward, backward, and reused buffers.

Activations are (C, H, W, N), or (features, N) after Flatten: the batch is innermost, so that
copies are long runs and every GEMM is plain 2-D. Parameters `W`, `b` and their gradients `dW`,
`db` are views into the network's flat vectors. Buffers are made once for each micro-batch size
and reused: the next call overwrites what forward and backward returned.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.errors import OptionError

Array = NDArray[Any]
Shape = tuple[int, ...]


class Layer:
    """One stage of a network. Subclasses define build, forward and backward.

    `parameter_shapes` (name -> shape) is set by build; the network then sets views of its flat
    vectors as attributes: parameter `W` as `W`, its gradient as `dW`. `needs_dx` is False in the
    first layer, whose input gradient nobody reads.
    """

    def __init__(self) -> None:
        self.parameter_shapes: dict[str, Shape] = {}
        self.needs_dx = True
        self.dtype: DTypeLike = np.float32
        self._buffers: dict[tuple[str, Shape], Array] = {}

    def config(self) -> dict[str, Any]:
        """Return the arguments that make this layer; each is kept as an attribute of its name.

        A checkpoint stores them: numbers, text, true, false, None, or lists of these.
        """
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def build(self, input_shape: Shape) -> Shape:
        """Return the output's shape for the input's, both without the batch axis.

        Sets what depends on the shape. Takes no memory for parameters or buffers.
        """
        raise NotImplementedError

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the parameters. Layers without any leave this out."""

    def forward(self, x: Array) -> Array:
        """Return the output for the input x (..., N)."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array | None:
        """Write the parameters' gradients; return the input's, or None if it is not needed.

        dy is the gradient of the last forward's output; it may be overwritten.
        """
        raise NotImplementedError

    def buffer(
        self, name: str, shape: Shape, dtype: DTypeLike | None = None, fill: float = 0
    ) -> Array:
        """Return this layer's buffer of that name and shape; a new one is filled with `fill`."""
        key = (name, shape)
        if key not in self._buffers:
            self._buffers[key] = np.full(shape, fill, dtype or self.dtype)
        return self._buffers[key]

    def workspace_size(self, images: int) -> int:
        """Return about how many float32 values the buffers for `images` images will hold.

        Known once the layer is built, before any buffer is made.
        """
        return 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def image_maps(layer: Layer, input_shape: Shape) -> tuple[int, int, int]:
    """Return the input shape if it is (C, H, W); else raise OptionError."""
    if len(input_shape) != 3:
        name = type(layer).__name__
        raise OptionError(f"{name} takes maps (C, H, W), not {input_shape}: put it before Flatten")
    channels, height, width = input_shape
    return channels, height, width
