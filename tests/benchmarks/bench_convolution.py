"""The tutorial's convolution: one GEMM for each output row against the whole column matrix.

    OPENBLAS_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_convolution.py

16 images of 1x28x28, 32 filters of 7x7, padding 1. Both twins keep their buffers. On one core of an
AMD EPYC (2 MiB of L2 for two cores) the whole matrix took, in median times of the rows, forward and
backward (with dx): 2.0 and 1.3 (1.6) with OpenBLAS's SkylakeX kernels, which it also has for small
matrices; 1.1 and 1.1 (1.1) with OPENBLAS_CORETYPE=Haswell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dpcnn.nn.layers import Array, Convolution, Shape
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


def prepare(kind: type[Convolution], needs_dx: bool) -> tuple[Convolution, Array, Array]:
    """Return the layer with random weights, an input and an output gradient."""
    layer = kind(*ARGUMENTS)
    network = Network([layer], INPUT)
    network.initialize(seed=0)
    layer.needs_dx = needs_dx
    rng = np.random.default_rng(0)
    x = rng.random((*INPUT, IMAGES), np.float32)
    return layer, x, rng.standard_normal(layer.forward(x).shape, np.float32)


both = pytest.mark.parametrize("kind", [Convolution, WholeMatrixConvolution])


def test_both_compute_the_same() -> None:
    results = []
    for kind in (Convolution, WholeMatrixConvolution):
        layer, x, dz = prepare(kind, needs_dx=True)
        results.append((layer.forward(x), layer.backward(dz), layer.dW, layer.db))
    for rows, whole in zip(*results, strict=True):
        np.testing.assert_allclose(rows, whole, rtol=1e-4, atol=1e-3)


@both
@pytest.mark.benchmark(group="forward")
def test_forward(benchmark: BenchmarkFixture, kind: type[Convolution]) -> None:
    layer, x, _ = prepare(kind, needs_dx=False)
    benchmark(layer.forward, x)


@both
@pytest.mark.benchmark(group="backward, first layer (dW, db)")
def test_backward_of_the_first_layer(benchmark: BenchmarkFixture, kind: type[Convolution]) -> None:
    layer, _, dz = prepare(kind, needs_dx=False)
    benchmark(layer.backward, dz)


@both
@pytest.mark.benchmark(group="backward (dW, db, dx)")
def test_backward(benchmark: BenchmarkFixture, kind: type[Convolution]) -> None:
    layer, _, dz = prepare(kind, needs_dx=True)
    benchmark(layer.backward, dz)
