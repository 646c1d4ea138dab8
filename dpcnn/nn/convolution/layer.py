"""The convolution as a layer."""

from __future__ import annotations

import math

import numpy as np

from dpcnn.nn.checks import check_choice, check_int, check_pair
from dpcnn.nn.convolution.im2col import (
    fold_width,
    output_size,
    row_windows,
    turn,
    turned_windows,
    unroll_width,
)
from dpcnn.nn.layer import Array, Layer, Shape, image_maps


class Convolution(Layer):
    """K filters of F x F over all channels, stride S, zero padding P.

    filter_size: rows and columns, one integer for both. Input (C, H, W, N), output (K, Ho, Wo, N);
    W (K, C, F, F), b (K,). Each output row is one GEMM with a window of the width-unrolled input
    (see im2col.py): it skips most of the copying of a whole column matrix, and OpenBLAS has fast
    kernels for matrices of this size, as long as neither operand is transposed
    (tests/benchmarks/bench_convolution.py compares).

    scale: W is drawn so that the output is as large as the input, whatever the number of `inputs`
    of a filter (He et al., "Delving deep into rectifiers", 2015), or as the tutorial does, by the
    number of `filters`; through several convolutions that grows until nothing is learnt.
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
    ) -> None:
        super().__init__()
        self.filters = check_int("Convolution's filters", filters)
        self.filter_size = check_pair("Convolution's filter_size", filter_size)
        self.stride = check_int("Convolution's stride", stride)
        self.padding = check_int("Convolution's padding", padding, low=0)
        self.scale = check_choice("Convolution's scale", scale, ("inputs", "filters"))

    def build(self, input_shape: Shape) -> Shape:
        """Return (K, Ho, Wo) for (C, H, W); raises OptionError if the filter does not fit."""
        channels, height, width = image_maps(self, input_shape)
        fh, fw = self.filter_size
        ho = output_size(height, fh, self.stride, self.padding, "height")
        wo = output_size(width, fw, self.stride, self.padding, "width")
        self.parameter_shapes = {"W": (self.filters, channels, fh, fw), "b": (self.filters,)}
        self.unrolled_shape = (height + 2 * self.padding, channels, fw, wo)
        self.input_shape, self.output_shape = input_shape, (self.filters, ho, wo)
        return self.output_shape

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw W from N(0, 1)/sqrt(n/2), n inputs of a filter, or filters; b is 0."""
        count = self.filters if self.scale == "filters" else self.W[0].size
        self.W[...] = rng.standard_normal(self.W.shape) / np.sqrt(count / 2)
        self.b[...] = 0

    def forward(self, x: Array) -> Array:
        """Return z = W * x + b, shape (K, Ho, Wo, N)."""
        images = x.shape[-1]
        unrolled = self.buffer("unrolled", (*self.unrolled_shape, images))
        z = self.buffer("z", (*self.output_shape, images))
        unroll_width(x, unrolled, self.stride, self.padding)
        windows = row_windows(unrolled, self.filter_size[0], self.stride)
        np.matmul(self._W_row(), windows, out=by_output_row(z))
        maps = z.reshape(self.filters, -1)
        np.add(maps, self.b[:, None], out=maps)
        return z

    def backward(self, dz: Array) -> Array | None:
        """dW = dz @ columns^T, db = sum of dz, dx = col2im(W^T @ dz); dz is (K, Ho, Wo, N)."""
        images, dz_rows = dz.shape[-1], by_output_row(dz)
        rows, channels, fw, wo = self.unrolled_shape
        fh = self.filter_size[0]
        turned = self.buffer("turned", (wo * images, rows, channels, fw))
        turn(self.buffer("unrolled", (*self.unrolled_shape, images)), turned)
        windows = turned_windows(turned, fh, self.stride)
        dW_rows = self.buffer("dW_rows", (len(windows), self.filters, windows.shape[2]))
        np.matmul(dz_rows, windows, out=dW_rows)
        dW = dW_rows.sum(axis=0).reshape(self.filters, fh, channels, fw)
        self.dW[...] = dW.transpose(0, 2, 1, 3)
        maps = dz.reshape(self.filters, -1)
        ones = self.buffer("ones", (maps.shape[1],), fill=1)
        np.matmul(maps, ones, out=self.db)  # a BLAS call; three times as fast as maps.sum(1)
        return self._input_gradient(dz_rows, images) if self.needs_dx else None

    def work_values(self, images: int) -> int:
        """Count z, the unrolled input, turned and not, and dW by output row."""
        outputs, unrolled = math.prod(self.output_shape), math.prod(self.unrolled_shape)
        dW_rows = self.output_shape[1] * math.prod(self.parameter_shapes["W"])
        return (outputs + 2 * unrolled) * images + dW_rows

    def _input_gradient(self, dz_rows: Array, images: int) -> Array:
        """Return dx (C, H, W, N): W^T @ dz of each output row, added to the row's window."""
        unrolled = self.buffer("dunrolled", (*self.unrolled_shape, images))
        dx = self.buffer("dx", (*self.input_shape, images))
        unrolled.fill(0)
        dx.fill(0)
        fh = self.filter_size[0]
        window = self.buffer("dwindow", (fh, *self.unrolled_shape[1:], images))
        W_row_T = np.ascontiguousarray(self._W_row().T)
        for row, dz_row in enumerate(dz_rows):
            np.matmul(W_row_T, dz_row, out=window.reshape(len(W_row_T), -1))
            unrolled[row * self.stride : row * self.stride + fh] += window
        fold_width(unrolled, dx, self.stride, self.padding)
        return dx

    def _W_row(self) -> Array:
        """Return W as (K, F*C*F), the order of the windows' rows (a view when C is 1)."""
        return self.W.transpose(0, 2, 1, 3).reshape(self.filters, -1)

    def __repr__(self) -> str:
        fh, fw = self.filter_size
        return (
            f"Convolution({self.filters} x {fh}x{fw}, stride {self.stride}, padding {self.padding})"
        )


def by_output_row(maps: Array) -> Array:
    """View maps (K, Ho, Wo, N), contiguous, as (Ho, K, Wo*N): one matrix for each output row."""
    filters, ho, wo, images = maps.shape
    return maps.reshape(filters, ho, wo * images).transpose(1, 0, 2)
