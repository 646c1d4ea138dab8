"""The base class of all layers: config, build, forward, backward, and reused buffers.

Activations are (C, H, W, N), or (features, N) after Flatten: the batch is innermost, so that
copies are long runs and every GEMM is plain 2-D. Parameters `W`, `b` and their gradients `dW`,
`db` are views into the network's flat vectors. Buffers are made once for each micro-batch size
and reused: the next call overwrites what forward and backward returned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.errors import OptionError

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass
class Context:
    """What a forward is for; all layers of a network share one.

    training: whether a backward follows; dropout is off and running statistics are used otherwise.
    seed, step, microbatch: of the run, of the run's steps, of the step's micro-batches. They are
    the key of everything random.
    scratch: the memory that layers share, by name.
    """

    training: bool = False
    seed: int = 0
    step: int = 0
    microbatch: int = 0
    scratch: dict[str, Array] = field(default_factory=dict)


class Layer:
    """One stage of a network. Subclasses define build, forward and backward.

    `parameter_shapes` (name -> shape) is set by build; the network then sets views of its flat
    vectors as attributes: parameter `W` as `W`, its gradient as `dW`. `needs_dx` is False up to
    the first layer with parameters: nobody reads the gradients of what comes in there.

    `state_shapes` (name -> shape) is what a layer keeps but does not train: for `mean`, the network
    sets `mean`, and `batch_mean`, into which a training forward writes that of its micro-batch.
    After each step the state moves towards the step's mean of those, by `state_momentum`.
    `never_negative` has the names in it that no sound checkpoint has a negative value of.
    `fits_images`: whether `fit` is called, of the first layer, before a run's first step.

    `overwrites_x` is False if x is the same after forward, and what it returns is no view of it;
    `overwrites_dy` likewise, for backward. A composite copies what it still needs where they are
    not.

    `name` is the layer's path in the network, such as residual3/convolution1, and `number` its
    place there; both are set by the plan.
    """

    state_momentum = 0.1
    never_negative: tuple[str, ...] = ()
    fits_images: bool = False
    overwrites_x: bool = True
    overwrites_dy: bool = True

    def __init__(self) -> None:
        self.parameter_shapes: dict[str, Shape] = {}
        self.state_shapes: dict[str, Shape] = {}
        self.needs_dx = True
        self.dtype: DTypeLike = np.float32
        self.context = Context()
        self.name = type(self).__name__.lower()
        self.number = 0
        self.input_shape: Shape = ()
        self.output_shape: Shape = ()
        self._buffers: dict[tuple[str, Shape], Array] = {}

    def config(self) -> dict[str, Any]:
        """Return the arguments that make this layer; each is kept as an attribute of its name.

        A checkpoint stores them: numbers, text, true, false, None, layers, or lists of these.
        """
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def children(self) -> dict[str, Layer]:
        """Return name -> layer for the layers that this one is made of: none, unless composite."""
        return {}

    def build(self, input_shape: Shape) -> Shape:
        """Return the output's shape for the input's, both without the batch axis.

        Sets what depends on the shape. Takes no memory for parameters or buffers.
        """
        raise NotImplementedError

    def check_microbatch(self, images: int) -> None:
        """Raise OptionError if this layer cannot be trained on micro-batches of so many images."""

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the parameters, and set the state. Layers without any leave this out."""

    def fit(self, x: Array) -> None:
        """Set the state from training images x (C, H, W, N), as the network sees them."""

    def forward(self, x: Array) -> Array:
        """Return the output for the input x (..., N).

        It may overwrite x (`overwrites_x`); otherwise x stays as it is until backward. What it
        returns may be overwritten by the next layer.
        """
        raise NotImplementedError

    def backward(self, dy: Array) -> Array | None:
        """Write the parameters' gradients; return the input's, or None if it is not needed.

        dy is the gradient of the last forward's output; it may be overwritten (`overwrites_dy`).
        """
        raise NotImplementedError

    @property
    def training(self) -> bool:
        """Whether this forward is one of training."""
        return self.context.training

    def generator(self) -> np.random.Generator:
        """Return the random generator of this layer for this micro-batch.

        Counter-based: a pure function of the run's seed, the step, the micro-batch and the layer,
        whichever rank computes it (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
        SC 2011).
        """
        context = self.context
        key = [context.seed, self.number]
        counter = [0, 0, context.microbatch, context.step]  # draws advance the first two
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def buffer(
        self, name: str, shape: Shape, dtype: DTypeLike | None = None, fill: float = 0
    ) -> Array:
        """Return this layer's buffer of that name and shape; a new one is filled with `fill`."""
        key = (name, shape)
        if key not in self._buffers:
            self._buffers[key] = np.full(shape, fill, dtype or self.dtype)
        return self._buffers[key]

    def scratch(self, name: str, shape: Shape) -> Array:
        """Return memory of that name and shape, of any content, which all layers share.

        Another layer overwrites it. What one layer has just used is still in the cache for the
        next; and there has to be as much as for one layer only.
        """
        size, shared = math.prod(shape), self.context.scratch
        if name not in shared or shared[name].size < size:
            shared[name] = np.zeros(size, self.dtype)
        return shared[name][:size].reshape(shape)

    def workspace_size(self, images: int) -> int:
        """Return about how many float32 values the buffers for `images` images will hold.

        Known once the layer is built, before any buffer is made.
        """
        return 0

    def scratch_size(self, images: int) -> int:
        """Return about how many float32 values it takes of what all layers share."""
        return 0

    def multiply_adds(self) -> int:
        """Return how many multiplications and additions in pairs a forward takes for one image.

        Only products of matrices and filters count, as is usual.
        """
        return 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def descendants(layer: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield the path and the layer of everything that this layer is made of, in order."""
    for name, child in layer.children().items():
        child_path = f"{path}/{name}" if path else name
        yield child_path, child
        yield from descendants(child, child_path)


def leaves(layer: Layer) -> dict[str, Layer]:
    """Return path -> layer for the layers in this one that are not made of others, in order."""
    return {path: inner for path, inner in descendants(layer) if not inner.children()}


def image_maps(layer: Layer, input_shape: Shape) -> tuple[int, int, int]:
    """Return the input shape if it is (C, H, W); else raise OptionError."""
    if len(input_shape) != 3:
        name = type(layer).__name__
        raise OptionError(f"{name} takes maps (C, H, W), not {input_shape}: put it before Flatten")
    channels, height, width = input_shape
    return channels, height, width
