"""The layers: each shows build, forward and, right under it, backward.

Activations are (C, H, W, N), or (features, N) after Flatten: the batch is innermost, so that
copies are long runs and every GEMM is plain 2-D. Parameters `W`, `b` and their gradients `dW`,
`db` are views into the network's flat vectors. Buffers are made once for each micro-batch size
and used again: what forward and backward return is overwritten by the next call.
"""

from __future__ import annotations

import math
from functools import cache
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.errors import OptionError
from dpcnn.nn.checks import check_choice, check_int, check_pair
from dpcnn.nn.im2col import (
    fold_width,
    output_size,
    row_windows,
    turn,
    turned_windows,
    unroll_width,
)

Array = NDArray[Any]
Shape = tuple[int, ...]

# Dense layers multiply pieces of about so many products; OpenBLAS packs its operands beyond a
# million. Pieces of fewer inputs than WORTH are not worth their calls.
PIECE = 400_000
WORTH = 64


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


class Convolution(Layer):
    """K filters of F x F over all channels, stride S, zero padding P.

    filter_size: rows and columns, one integer for both. Input (C, H, W, N), output (K, Ho, Wo, N);
    W (K, C, F, F), b (K,). Each output row is one GEMM with a window of the width-unrolled input
    (see nn/im2col.py): it skips most of the copying of a whole column matrix, and OpenBLAS has fast
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


class ReLU(Layer):
    """max(x, 0), in place on its input: x times a gate of ones and zeros.

    The gate serves forward and backward, has no branches and keeps NaN (a diverged network shows
    it); np.maximum takes longer than all of it (tests/benchmarks/bench_layers.py).
    """

    def build(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        self.shape = input_shape
        return input_shape

    def forward(self, x: Array) -> Array:
        """Return x with its negative values set to 0, in place."""
        positive = self.buffer("positive", x.shape, bool)
        self.gate = self.buffer("gate", x.shape)
        np.greater(x, 0, out=positive)
        np.copyto(self.gate, positive)
        return np.multiply(x, self.gate, out=x)

    def backward(self, dy: Array) -> Array:
        """Return dy where x was positive and 0 elsewhere, in place."""
        return np.multiply(dy, self.gate, out=dy)

    def work_values(self, images: int) -> int:
        """Count the gate."""
        return math.prod(self.shape) * images


class Flatten(Layer):
    """(C, H, W, N) to (C*H*W, N): a view."""

    def build(self, input_shape: Shape) -> Shape:
        """Return (C*H*W,)."""
        self.input_shape = input_shape
        return (math.prod(input_shape),)

    def forward(self, x: Array) -> Array:
        """Return x as (C*H*W, N)."""
        return x.reshape(-1, x.shape[-1])

    def backward(self, dy: Array) -> Array:
        """Return dy as (C, H, W, N)."""
        return dy.reshape(*self.input_shape, dy.shape[-1])


class Dense(Layer):
    """Every input to every output: y = W^T @ x + b with W (inputs, outputs), b (outputs,).

    The products are made in pieces of the inputs that OpenBLAS has fast kernels for; over all
    inputs at once they take twice as long (tests/benchmarks/bench_layers.py).
    """

    W: Array
    b: Array
    dW: Array
    db: Array

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = check_int("Dense's outputs", outputs)

    def build(self, input_shape: Shape) -> Shape:
        """Return (outputs,) for (inputs,)."""
        if len(input_shape) != 1:
            raise OptionError(f"Dense takes flat input, not {input_shape}: put Flatten first")
        self.inputs = input_shape[0]
        self.parameter_shapes = {"W": (self.inputs, self.outputs), "b": (self.outputs,)}
        return (self.outputs,)

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw W from N(0, 1)/sqrt(inputs/2), as the tutorial does; b is 0."""
        self.W[...] = rng.standard_normal(self.W.shape) / np.sqrt(self.inputs / 2)
        self.b[...] = 0

    def forward(self, x: Array) -> Array:
        """Return y (outputs, N) for x (inputs, N)."""
        self.x = self._pieces(x, x.shape[-1])
        y = self.buffer("y", (self.outputs, x.shape[-1]))
        y_pieces = self.buffer("y_pieces", (len(self.x), *y.shape))
        W = self._pieces(self.W, x.shape[-1])
        np.matmul(W.transpose(0, 2, 1), self.x, out=y_pieces)
        y_pieces.sum(axis=0, out=y)
        y += self.b[:, None]
        return y

    def backward(self, dy: Array) -> Array | None:
        """dW = x @ dy^T, db = sum of dy, dx = W @ dy; dy is (outputs, N)."""
        images = dy.shape[-1]
        np.matmul(self.x, np.ascontiguousarray(dy.T), out=self._pieces(self.dW, images))
        dy.sum(axis=1, out=self.db)
        if not self.needs_dx:
            return None
        dx = self.buffer("dx", (self.inputs, images))
        np.matmul(self._pieces(self.W, images), dy, out=self._pieces(dx, images))
        return dx

    def work_values(self, images: int) -> int:
        """Count dx."""
        return self.inputs * images

    def _pieces(self, matrix: Array, images: int) -> Array:
        """View matrix (inputs, columns) as (pieces, inputs of a piece, columns)."""
        piece = equal_piece(self.inputs, PIECE // (self.outputs * images))
        return matrix.reshape(-1, piece, matrix.shape[1])

    def __repr__(self) -> str:
        return f"Dense({self.outputs})"


def image_maps(layer: Layer, input_shape: Shape) -> tuple[int, int, int]:
    """Return (C, H, W); raises OptionError for the shape of anything else."""
    if len(input_shape) != 3:
        kind = type(layer).__name__
        raise OptionError(f"{kind} takes maps (C, H, W), not {input_shape}: put it before Flatten")
    channels, height, width = input_shape
    return channels, height, width


def by_output_row(maps: Array) -> Array:
    """View maps (K, Ho, Wo, N), contiguous, as (Ho, K, Wo*N): one matrix for each output row."""
    filters, ho, wo, images = maps.shape
    return maps.reshape(filters, ho, wo * images).transpose(1, 0, 2)


@cache
def equal_piece(total: int, most: int) -> int:
    """Return the largest divisor of total that is WORTH to `most`; total where there is none."""
    return next((n for n in range(min(most, total), WORTH - 1, -1) if total % n == 0), total)
