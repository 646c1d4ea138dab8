"""What all layers share: config, build, forward, backward, and buffers that are used again.

Activations are (C, H, W, N), or (features, N) after Flatten: the batch is innermost, so that
copies are long runs and every GEMM is plain 2-D. Parameters `W`, `b` and their gradients `dW`,
`db` are views into the network's flat vectors. Buffers are made once for each micro-batch size
and used again: what forward and backward return is overwritten by the next call.
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

    `parameter_shapes` (name -> shape) is set by build; the network then binds views of its flat
    vectors as attributes: parameter `W` as `W`, its gradient as `dW`. `needs_dx` is False in the
    first layer, whose input gradient nobody reads.
    """

    def __init__(self) -> None:
        self.parameter_shapes: dict[str, Shape] = {}
        self.needs_dx = True
        self.dtype: DTypeLike = np.float32
        self._buffers: dict[tuple[str, Shape], Array] = {}

    def settings(self) -> dict[str, Any]:
        """Return what the layer was made with: each argument is kept under its own name.

        A checkpoint keeps it: numbers, texts, true, false, None, or lists of them.
        """
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def build(self, input_shape: Shape) -> Shape:
        """Learn the input's shape without its batch axis; return the output's."""
        raise NotImplementedError

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the parameters. Layers without parameters leave this as it is."""

    def forward(self, x: Array) -> Array:
        """Return the output for the input x (..., N)."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array | None:
        """Write the parameters' gradients; return the input's, or None if it is not needed.

        May use dy, the gradient of the last forward's output, as its own work space.
        """
        raise NotImplementedError

    def buffer(
        self, name: str, shape: Shape, dtype: DTypeLike | None = None, fill: float = 0
    ) -> Array:
        """Return this layer's buffer of that name and shape; filled with `fill` when it is made."""
        key = (name, shape)
        if key not in self._buffers:
            self._buffers[key] = np.full(shape, fill, dtype or self.dtype)
        return self._buffers[key]

    def work_values(self, images: int) -> int:
        """Return about how many float32 the buffers for micro-batches of `images` will hold.

        For a layer that is built; no buffer is made yet.
        """
        return 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def image_maps(layer: Layer, input_shape: Shape) -> tuple[int, int, int]:
    """Return (C, H, W); raises OptionError for the shape of anything else."""
    if len(input_shape) != 3:
        kind = type(layer).__name__
        raise OptionError(f"{kind} takes maps (C, H, W), not {input_shape}: put it before Flatten")
    channels, height, width = input_shape
    return channels, height, width
