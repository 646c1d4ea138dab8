"""The tutorial's convolution: a GEMM for each output row against the usual ways.

They are the whole column matrix, and row GEMMs whose operand is transposed by BLAS, not before.

    OPENBLAS_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_convolution.py

16 images of 1x28x28, 32 filters of 7x7, padding 1. All keep their buffers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dpcnn.nn import Convolution
from dpcnn.nn.convolution.im2col import row_windows
from dpcnn.nn.convolution.layer import by_output_row
from dpcnn.nn.layer import Array, Shape
from dpcnn.nn.network import Network

IMAGES = 16
INPUT: Shape = (1, 28, 28)
ARGUMENTS: Any = (32, (7, 7), 1, 1)


class WholeMatrixConvolution(Convolution):
    """The same layer the usual way: im2col of the whole micro-batch, one GEMM, col2im."""

    def forward(self, x: Array) -> Array:
        """Return W_row @ columns + b."""
        images = x.shape[-1]
        (channels, height, width), (_, ho, wo), p = (
            self.input_shape,
            self.output_shape,
            self.padding,
        )
        padded = self.buffer("padded", (channels, height + 2 * p, width + 2 * p, images))
        padded[:, p : p + height, p : p + width] = x
        columns = self.buffer("columns", (channels, *self.filter_size, ho, wo, images))
        for row, column in np.ndindex(*self.filter_size):
            columns[:, row, column] = padded[:, row : row + ho, column : column + wo]
        self.columns = columns.reshape(-1, ho * wo * images)
        z = self.buffer("z", (*self.output_shape, images))
        maps = z.reshape(self.filters, -1)
        np.matmul(self.W.reshape(self.filters, -1), self.columns, out=maps)
        maps += self.b[:, None]
        return z

    def backward(self, dz: Array) -> Array | None:
        """dW = dz @ columns^T, db = sum of dz, dx = col2im(W^T @ dz)."""
        maps = dz.reshape(self.filters, -1)
        np.matmul(maps, self.columns.T, out=self.dW.reshape(self.filters, -1))
        np.matmul(maps, np.ones(maps.shape[1], self.dtype), out=self.db)
        return self._dx(maps, dz.shape[-1]) if self.needs_dx else None

    def _dx(self, maps: Array, images: int) -> Array:
        (channels, height, width), (_, ho, wo), p = (
            self.input_shape,
            self.output_shape,
            self.padding,
        )
        dcolumns = self.buffer("dcolumns", (channels, *self.filter_size, ho, wo, images))
        np.matmul(self.W.reshape(self.filters, -1).T, maps, out=dcolumns.reshape(-1, maps.shape[1]))
        padded = self.buffer("dpadded", (channels, height + 2 * p, width + 2 * p, images))
        padded.fill(0)
        for row, column in np.ndindex(*self.filter_size):
            padded[:, row : row + ho, column : column + wo] += dcolumns[:, row, column]
        return padded[:, p : p + height, p : p + width]


class TransposingConvolution(Convolution):
    """The same row GEMMs, dW from transposed views of dz."""

    def backward(self, dz: Array) -> Array | None:
        """dW = columns @ dz^T, db = sum of dz."""
        unrolled = self.buffer("unrolled", (*self.unrolled_shape, dz.shape[-1]))
        windows = row_windows(unrolled, self.filter_size[0], self.stride)
        dW_rows = self.buffer("dW_rows", (*windows.shape[:2], self.filters))
        np.matmul(windows, by_output_row(dz).transpose(0, 2, 1), out=dW_rows)
        (fh, fw), sums = self.filter_size, dW_rows.sum(axis=0)
        self.dW[...] = sums.reshape(fh, -1, fw, self.filters).transpose(3, 1, 0, 2)
        maps = dz.reshape(self.filters, -1)
        np.matmul(maps, self.buffer("ones", (maps.shape[1],), fill=1), out=self.db)
        return self._input_gradient(by_output_row(dz), dz.shape[-1]) if self.needs_dx else None


def prepare(kind: type[Convolution], needs_dx: bool) -> tuple[Convolution, Array, Array]:
    """Return the layer with random weights, an input and an output gradient."""
    layer = kind(*ARGUMENTS)
    network = Network([layer], INPUT)
    network.initialize(seed=0)
    layer.needs_dx = needs_dx
    rng = np.random.default_rng(0)
    x = rng.random((*INPUT, IMAGES), np.float32)
    return layer, x, rng.standard_normal(layer.forward(x).shape, np.float32)


KINDS = [Convolution, TransposingConvolution, WholeMatrixConvolution]
kinds = pytest.mark.parametrize("kind", KINDS)


def test_all_compute_the_same() -> None:
    results = []
    for kind in KINDS:
        layer, x, dz = prepare(kind, needs_dx=True)
        results.append((layer.forward(x), layer.backward(dz), layer.dW, layer.db))
    for rows, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_allclose(rows, other, rtol=1e-4, atol=1e-3)


@kinds
@pytest.mark.benchmark(group="forward")
def test_forward(benchmark: BenchmarkFixture, kind: type[Convolution]) -> None:
    layer, x, _ = prepare(kind, needs_dx=False)
    benchmark(layer.forward, x)


@kinds
@pytest.mark.benchmark(group="backward, first layer (dW, db)")
def test_backward_of_the_first_layer(benchmark: BenchmarkFixture, kind: type[Convolution]) -> None:
    layer, _, dz = prepare(kind, needs_dx=False)
    benchmark(layer.backward, dz)


@kinds
@pytest.mark.benchmark(group="backward (dW, db, dx)")
def test_backward(benchmark: BenchmarkFixture, kind: type[Convolution]) -> None:
    layer, _, dz = prepare(kind, needs_dx=True)
    benchmark(layer.backward, dz)
