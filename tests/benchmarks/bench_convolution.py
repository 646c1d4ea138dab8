"""The tutorial's convolution: MEC's GEMM for each output row against the usual ways.

They are im2col of the whole micro-batch, and MEC with operands that BLAS transposes itself.

    OPENBLAS_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_convolution.py

16 images of 1x28x28, 32 filters of 7x7, padding 1. All keep their buffers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dpcnn.nn import Convolution
from dpcnn.nn.convolution.algorithm import Algorithm, Geometry, Workspace, in_turn
from dpcnn.nn.convolution.im2col import IM2COL
from dpcnn.nn.convolution.mec import MEC, by_output_row, input_gradient, lowered_shape, row_windows
from dpcnn.nn.layer import Array, Shape
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan

IMAGES = 16
INPUT: Shape = (1, 28, 28)
ARGUMENTS: Any = (32, (7, 7), 1, 1)


def from_transposed_dz(
    geometry: Geometry, x: Array, dz: Array, dW: Array, workspace: Workspace
) -> None:
    """Write dW, the sum over output rows of window @ dz^T: no copy of the windows is transposed."""
    lowered = workspace("lowered", lowered_shape(geometry, x.shape[-1]))
    windows = row_windows(lowered, geometry.rows)
    dW_rows = workspace("dW_rows", (*windows.shape[:2], len(dW)))
    np.matmul(windows, by_output_row(dz).transpose(0, 2, 1), out=dW_rows)
    filters, channels, fh, fw = dW.shape
    dW[...] = dW_rows.sum(axis=0).reshape(fh, channels, fw, filters).transpose(3, 1, 0, 2)


ALGORITHMS = {
    "mec": MEC,
    "mec, transposed by BLAS": MEC._replace(backward=in_turn(from_transposed_dz, input_gradient)),
    "im2col": IM2COL,
}
algorithms = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)


def prepare(algorithm: Algorithm, needs_dx: bool) -> tuple[Convolution, Array, Array]:
    """Return the layer with random weights, an input and an output gradient."""
    layer = Convolution(*ARGUMENTS)
    network = Network(Plan([layer], INPUT))
    network.initialize(seed=0)
    layer.compute = algorithm
    layer.needs_dx = needs_dx
    rng = np.random.default_rng(0)
    x = rng.random((*INPUT, IMAGES), np.float32)
    return layer, x, rng.standard_normal(layer.forward(x).shape, np.float32)


def test_all_compute_the_same() -> None:
    results = []
    for algorithm in ALGORITHMS.values():
        layer, x, dz = prepare(algorithm, needs_dx=True)
        results.append((layer.forward(x), layer.backward(dz), layer.dW, layer.db))
    for first, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_allclose(first, other, rtol=1e-4, atol=1e-3)


@algorithms
@pytest.mark.benchmark(group="forward")
def test_forward(benchmark: BenchmarkFixture, algorithm: Algorithm) -> None:
    layer, x, _ = prepare(algorithm, needs_dx=False)
    benchmark(layer.forward, x)


@algorithms
@pytest.mark.benchmark(group="backward, first layer (dW, db)")
def test_backward_of_the_first_layer(benchmark: BenchmarkFixture, algorithm: Algorithm) -> None:
    layer, _, dz = prepare(algorithm, needs_dx=False)
    benchmark(layer.backward, dz)


@algorithms
@pytest.mark.benchmark(group="backward (dW, db, dx)")
def test_backward(benchmark: BenchmarkFixture, algorithm: Algorithm) -> None:
    layer, _, dz = prepare(algorithm, needs_dx=True)
    benchmark(layer.backward, dz)
