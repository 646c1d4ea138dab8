"""The depthwise convolution by products of rows, against adding shifted maps one after the other.

    OPENBLAS_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_depthwise.py

16 images of 64x16x16, filters of 3x3, padding 1. Both keep their buffers. On one core of an AMD
EPYC adding took 8 times as long.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dpcnn.nn import Convolution
from dpcnn.nn.convolution.algorithm import Geometry, Workspace
from dpcnn.nn.convolution.depthwise import forward
from dpcnn.nn.layer import Array
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan

SHAPE = (64, 16, 16)
IMAGES = 16

Forward = Callable[[Geometry, Array, Array, Array, Workspace], None]


def shifted_adds(geometry: Geometry, W: Array, x: Array, z: Array, workspace: Workspace) -> None:
    """Write z, a few channels at a time that stay in the cache with their products."""
    product = workspace("product", (4, *z.shape[1:]))
    for start in range(0, len(x), len(product)):
        block = slice(start, start + len(product))
        z[block] = 0
        for (i, j), outputs, inputs in geometry.positions():
            seen = x[block][inputs]
            part = product[:, : seen.shape[1], : seen.shape[2]]
            np.multiply(seen, W[block, :, i, j, None, None], out=part)
            z[block][outputs] += part


def prepare() -> tuple[Convolution, Array]:
    """Return the built layer with random weights, and an input."""
    layer = Convolution(SHAPE[0], 3, padding=1, groups=SHAPE[0])
    Network(Plan([layer], SHAPE)).initialize(seed=0)
    return layer, np.random.default_rng(0).random((*SHAPE, IMAGES), np.float32)


def run(compute: Forward, layer: Convolution, x: Array) -> Array:
    z = layer.buffer("z", x.shape)
    compute(layer.geometry, layer.W, x, z, layer.buffer)
    return z


def test_both_compute_the_same() -> None:
    layer, x = prepare()
    products = run(forward, layer, x).copy()
    np.testing.assert_allclose(products, run(shifted_adds, layer, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compute", [forward, shifted_adds], ids=["products", "adds"])
def test_forward(benchmark: BenchmarkFixture, compute: Forward) -> None:
    layer, x = prepare()
    benchmark(run, compute, layer, x)
