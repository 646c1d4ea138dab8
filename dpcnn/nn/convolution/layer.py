"""The convolution as a layer: its parameters, and the algorithm that computes it."""

from __future__ import annotations

import math

import numpy as np

from dpcnn.errors import OptionError
from dpcnn.nn.checks import check_bool, check_choice, check_int, check_pair
from dpcnn.nn.convolution.algorithm import SAME, Axis, Geometry
from dpcnn.nn.convolution.choice import ALGORITHMS, AUTO, algorithm_for, choose
from dpcnn.nn.initializers import INITIALIZERS, Weights
from dpcnn.nn.layer import Array, Layer, Shape, image_maps

Size = int | tuple[int, int]


class Convolution(Layer):
    """K filters of Fh x Fw over all channels, with stride S and zero padding P.

    Input (C, H, W, N), output (K, Ho, Wo, N) with Ho = (H - Fh + 2P)/S + 1, rounded down;
    parameters W (K, C/G, Fh, Fw), b (K,).

    filters: K. Pairs are (rows, columns), one integer for both: filter_size (Fh, Fw), stride,
    padding, dilation (from one value of a filter to the next).
    padding: may also be "same": as much as makes Ho = H/S, rounded up; what cannot be divided
        evenly comes after the last row and column, as in Keras and TensorFlow.
    bias: whether b is there.
    groups: G, into which channels and filters are cut; the filters of a group see its channels.
        With as many groups as channels it is a depthwise convolution.
    initializer: how W is drawn, a name of `initializers`; b is 0.
    algorithm: how it is computed; the bits depend on it. `auto` takes the fastest that can, and
        once built, its name stands here and in the config; `im2col` is the reference.
    """

    W: Array
    b: Array
    dW: Array
    db: Array
    overwrites_x = overwrites_dy = False

    def __init__(
        self,
        filters: int,
        filter_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        bias: bool = True,
        groups: int = 1,
        dilation: Size = 1,
        initializer: str = "he_normal",
        algorithm: str = AUTO,
    ) -> None:
        super().__init__()
        self.filters = check_int("Convolution's filters", filters)
        self.filter_size = check_pair("Convolution's filter_size", filter_size)
        self.stride = check_pair("Convolution's stride", stride)
        self.padding = _check_padding(padding)
        self.bias = check_bool("Convolution's bias", bias)
        self.groups = check_int("Convolution's groups", groups)
        if self.filters % self.groups:
            raise OptionError(
                f"Convolution's groups is {groups}, expected a divisor of its {filters} filters"
            )
        self.dilation = check_pair("Convolution's dilation", dilation)
        self.initializer = check_choice(
            "Convolution's initializer", initializer, tuple(INITIALIZERS)
        )
        self._requested = check_choice("Convolution's algorithm", algorithm, (AUTO, *ALGORITHMS))
        self.algorithm = self._requested

    def build(self, input_shape: Shape) -> Shape:
        """Return (K, Ho, Wo) for (C, H, W); raises OptionError if filter or groups do not fit."""
        channels, *sizes = image_maps(self, input_shape)
        if channels % self.groups:
            raise OptionError(
                f"Convolution's groups is {self.groups}, expected a divisor of the {channels}"
                " channels of its input"
            )
        padding = (SAME, SAME) if isinstance(self.padding, str) else self.padding
        numbers = (sizes, self.filter_size, self.stride, padding, self.dilation)
        rows, columns = map(Axis.fit, ("height", "width"), *numbers)
        self.geometry = Geometry(self.filters, channels, self.groups, rows, columns)
        self.algorithm = choose(self._requested, self.geometry)
        self.compute = algorithm_for(self.algorithm, self.geometry)
        self.parameter_shapes = {"W": self.geometry.filter_shape}
        if self.bias:
            self.parameter_shapes["b"] = (self.filters,)
        return self.geometry.output_shape

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw W as the initializer says; b is 0."""
        filters = self.W.reshape(self.groups, -1, *self.W.shape[1:])
        INITIALIZERS[self.initializer](Weights(self.W, filters, self.filters), rng)
        if self.bias:
            self.b[...] = 0

    def forward(self, x: Array) -> Array:
        """Return z = W * x + b, (K, Ho, Wo, N), for x (C, H, W, N)."""
        self.x = x
        z = self.buffer("z", (*self.geometry.output_shape, x.shape[-1]))
        b = self.b if self.bias else None
        forward = self.compute.forward_of(x.shape[-1], self.training)
        forward(self.geometry, self.W, b, x, z, self.workspace)
        return z

    def backward(self, dz: Array) -> Array | None:
        """Write dW and db = sum of dz, (K, Ho, Wo, N); return dx (C, H, W, N) if it is needed."""
        if self.bias:
            self.write_bias_gradient(dz)
        return self.write_gradients(dz, self.dW)

    def write_bias_gradient(self, dz: Array) -> None:
        """Write db (K,) = sum of dz (K, Ho, Wo, N)."""
        maps = dz.reshape(self.filters, -1)
        ones = self.buffer("ones", (maps.shape[1],), fill=1)
        np.matmul(maps, ones, out=self.db)  # a BLAS call; three times as fast as maps.sum(1)

    def write_gradients(self, dz: Array, dW: Array) -> Array | None:
        """Write dW; return dx (C, H, W, N) for dz (K, Ho, Wo, N) if it is needed."""
        dx = None
        if self.needs_dx:
            dx = self.buffer("dx", (*self.geometry.input_shape, dz.shape[-1]))
        self.compute.backward(self.geometry, self.W, self.x, dz, dW, dx, self.workspace)
        return dx

    def workspace(self, name: str, shape: Shape) -> Array:
        """Return memory for the algorithm: its own, or where that will do, what layers share."""
        kept = self.compute.kept
        own = kept is None or (self.training and name in kept)
        return self.buffer(name, shape) if own else self.scratch(name, shape)

    def multiply_adds(self) -> int:
        """Count the products of every filter at every output pixel."""
        return math.prod(self.geometry.filter_shape) * math.prod(self.geometry.output_shape[1:])

    def workspace_size(self, images: int) -> int:
        """Count z, dx if it is needed, and what the algorithm has of its own."""
        maps = math.prod(self.geometry.output_shape)
        if self.needs_dx:
            maps += math.prod(self.geometry.input_shape)
        workspace = self.compute.workspace_size(self.geometry, images, self.needs_dx)
        return maps * images + workspace

    def scratch_size(self, images: int) -> int:
        """Count what the algorithm shares."""
        return self.compute.scratch_size(self.geometry, images, self.needs_dx)

    def __repr__(self) -> str:
        fh, fw = self.filter_size
        padding = self.padding if isinstance(self.padding, str) else _one_or_two(self.padding)
        words = [f"{self.filters} x {fh}x{fw}", f"stride {_one_or_two(self.stride)}"]
        words.append(f"padding {padding}")
        if self.dilation != (1, 1):
            words.append(f"dilation {_one_or_two(self.dilation)}")
        if self.groups > 1:
            words.append(f"{self.groups} groups")
        if not self.bias:
            words.append("no bias")
        return f"Convolution({', '.join(words)})"


def _check_padding(padding: Size | str) -> tuple[int, int] | str:
    """Return padding as a pair from 0, or as `same`."""
    if padding == SAME:
        return SAME
    if isinstance(padding, str):
        raise OptionError(
            f"Convolution's padding is {padding!r}, expected {SAME!r}, an integer or a pair of them"
        )
    return check_pair("Convolution's padding", padding, low=0)


def _one_or_two(pair: tuple[int, int]) -> str:
    """Return a pair as 1x2, or as 1 if both are."""
    rows, columns = pair
    return str(rows) if rows == columns else f"{rows}x{columns}"
