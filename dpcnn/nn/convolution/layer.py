"""The convolution as a layer: its parameters, and the algorithm that computes it."""

from __future__ import annotations

import math

import numpy as np

from dpcnn.nn.checks import check_choice, check_int, check_pair
from dpcnn.nn.convolution.algorithm import Algorithm, Axis, Geometry
from dpcnn.nn.convolution.im2col import IM2COL
from dpcnn.nn.convolution.mec import MEC
from dpcnn.nn.layer import Array, Layer, Shape, image_maps

ALGORITHMS: dict[str, Algorithm] = {"mec": MEC, "im2col": IM2COL}


class Convolution(Layer):
    """K filters of Fh x Fw over all channels, with stride S and zero padding P.

    Input (C, H, W, N), output (K, Ho, Wo, N); parameters W (K, C, Fh, Fw), b (K,).

    filters: K. filter_size: (Fh, Fw), one integer for both.
    scale: W is drawn so that the output is as large as the input, whatever the number of `inputs`
        of a filter (He et al., "Delving deep into rectifiers", 2015), or as the tutorial does, by
        the number of `filters`; through several convolutions that grows until nothing is learnt.
    algorithm: `mec`, the fast one, or `im2col`, the reference. The bits depend on it.
    """

    W: Array
    b: Array
    dW: Array
    db: Array

    def __init__(
        self,
        filters: int,
        filter_size: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
        scale: str = "inputs",
        algorithm: str = "mec",
    ) -> None:
        super().__init__()
        self.filters = check_int("Convolution's filters", filters)
        self.filter_size = check_pair("Convolution's filter_size", filter_size)
        self.stride = check_int("Convolution's stride", stride)
        self.padding = check_int("Convolution's padding", padding, low=0)
        self.scale = check_choice("Convolution's scale", scale, ("inputs", "filters"))
        self.algorithm = check_choice("Convolution's algorithm", algorithm, tuple(ALGORITHMS))

    def build(self, input_shape: Shape) -> Shape:
        """Return (K, Ho, Wo) for (C, H, W); raises OptionError if the filter does not fit."""
        channels, height, width = image_maps(self, input_shape)
        fh, fw = self.filter_size
        rows = Axis.fit("height", height, fh, self.stride, self.padding)
        columns = Axis.fit("width", width, fw, self.stride, self.padding)
        self.geometry = Geometry(self.filters, channels, rows, columns)
        self.compute = ALGORITHMS[self.algorithm]
        self.parameter_shapes = {"W": self.geometry.filter_shape, "b": (self.filters,)}
        return self.geometry.output_shape

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw W from N(0, 1)/sqrt(n/2), n the inputs of a filter, or the filters; b is 0."""
        count = self.filters if self.scale == "filters" else self.W[0].size
        self.W[...] = rng.standard_normal(self.W.shape) / np.sqrt(count / 2)
        self.b[...] = 0

    def forward(self, x: Array) -> Array:
        """Return z = W * x + b, (K, Ho, Wo, N), for x (C, H, W, N)."""
        z = self.buffer("z", (*self.geometry.output_shape, x.shape[-1]))
        self.compute.forward(self.geometry, self.W, x, z, self.buffer)
        maps = z.reshape(self.filters, -1)
        np.add(maps, self.b[:, None], out=maps)
        return z

    def backward(self, dz: Array) -> Array | None:
        """Write dW and db = sum of dz, (K, Ho, Wo, N); return dx (C, H, W, N) if it is needed."""
        self.compute.weight_gradient(self.geometry, dz, self.dW, self.buffer)
        maps = dz.reshape(self.filters, -1)
        ones = self.buffer("ones", (maps.shape[1],), fill=1)
        np.matmul(maps, ones, out=self.db)  # a BLAS call; three times as fast as maps.sum(1)
        if not self.needs_dx:
            return None
        dx = self.buffer("dx", (*self.geometry.input_shape, dz.shape[-1]))
        self.compute.input_gradient(self.geometry, self.W, dz, dx, self.buffer)
        return dx

    def multiply_adds(self) -> int:
        """Count the products of every filter at every output pixel."""
        return math.prod(self.geometry.filter_shape) * math.prod(self.geometry.output_shape[1:])

    def workspace_size(self, images: int) -> int:
        """Count z and the algorithm's workspace."""
        outputs = math.prod(self.geometry.output_shape) * images
        return outputs + self.compute.workspace_size(self.geometry, images)

    def __repr__(self) -> str:
        fh, fw = self.filter_size
        return (
            f"Convolution({self.filters} x {fh}x{fw}, stride {self.stride}, padding {self.padding})"
        )
