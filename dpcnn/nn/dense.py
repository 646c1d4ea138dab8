"""The fully connected layer."""

from __future__ import annotations

from functools import cache

import numpy as np

from dpcnn.errors import OptionError
from dpcnn.nn.checks import check_bool, check_choice, check_int
from dpcnn.nn.initializers import INITIALIZERS, Weights
from dpcnn.nn.layer import Array, Layer, Shape

PRODUCTS = 400_000  # m*n*k of a piece's GEMM at most; beyond a million OpenBLAS packs its operands
SMALLEST_PIECE = 64  # inputs; with fewer, the calls cost more than they save


class Dense(Layer):
    """Every input to every output: y = W^T @ x + b with W (inputs, outputs), b (outputs,).

    The products are computed in pieces of the inputs, for which OpenBLAS has fast kernels; over all
    inputs at once they take twice as long (tests/benchmarks/bench_layers.py).

    bias: whether b is there. initializer: how W is drawn, a name of `initializers`; b is 0.
    """

    W: Array
    b: Array
    dW: Array
    db: Array
    overwrites_x = overwrites_dy = False

    def __init__(self, outputs: int, bias: bool = True, initializer: str = "he_normal") -> None:
        super().__init__()
        self.outputs = check_int("Dense's outputs", outputs)
        self.bias = check_bool("Dense's bias", bias)
        self.initializer = check_choice("Dense's initializer", initializer, tuple(INITIALIZERS))

    def build(self, input_shape: Shape) -> Shape:
        """Return (outputs,) for (inputs,)."""
        if len(input_shape) != 1:
            raise OptionError(f"Dense takes flat input, not {input_shape}: put Flatten first")
        self.inputs = input_shape[0]
        self.parameter_shapes = {"W": (self.inputs, self.outputs)}
        if self.bias:
            self.parameter_shapes["b"] = (self.outputs,)
        return (self.outputs,)

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw W as the initializer says; b is 0."""
        filters = self.W.T[None, :, :, None, None]
        INITIALIZERS[self.initializer](Weights(self.W, filters, self.inputs), rng)
        if self.bias:
            self.b[...] = 0

    def forward(self, x: Array) -> Array:
        """Return y (outputs, N) for x (inputs, N)."""
        self.x = self._pieces(x, x.shape[-1])
        y = self.buffer("y", (self.outputs, x.shape[-1]))
        y_pieces = self.buffer("y_pieces", (len(self.x), *y.shape))
        W = self._pieces(self.W, x.shape[-1])
        np.matmul(W.transpose(0, 2, 1), self.x, out=y_pieces)
        y_pieces.sum(axis=0, out=y)
        if self.bias:
            y += self.b[:, None]
        return y

    def backward(self, dy: Array) -> Array | None:
        """Write dW = x @ dy^T and db = sum of dy, (outputs, N); return dx = W @ dy if needed."""
        images = dy.shape[-1]
        np.matmul(self.x, np.ascontiguousarray(dy.T), out=self._pieces(self.dW, images))
        if self.bias:
            dy.sum(axis=1, out=self.db)
        if not self.needs_dx:
            return None
        dx = self.buffer("dx", (self.inputs, images))
        np.matmul(self._pieces(self.W, images), dy, out=self._pieces(dx, images))
        return dx

    def multiply_adds(self) -> int:
        """Count the products of one matrix-vector product."""
        return self.inputs * self.outputs

    def workspace_size(self, images: int) -> int:
        """Count dx."""
        return self.inputs * images

    def _pieces(self, matrix: Array, images: int) -> Array:
        """View matrix (inputs, columns) as (pieces, inputs of a piece, columns)."""
        piece = piece_size(self.inputs, PRODUCTS // (self.outputs * images))
        return matrix.reshape(-1, piece, matrix.shape[1])

    def __repr__(self) -> str:
        return f"Dense({self.outputs}{'' if self.bias else ', no bias'})"


@cache
def piece_size(inputs: int, most: int) -> int:
    """Return the largest divisor of inputs from SMALLEST_PIECE to `most`; inputs if none is."""
    sizes = range(min(most, inputs), SMALLEST_PIECE - 1, -1)
    return next((size for size in sizes if inputs % size == 0), inputs)
