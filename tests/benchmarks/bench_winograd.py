"""3x3 convolutions of real networks: Winograd's algorithm against MEC.

    OPENBLAS_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_winograd.py

16 images; maps x channels -> filters. `auto` takes Winograd's from 32 channels and filters on, or
from 16 in rows of 24 outputs and more.
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dpcnn.nn import Convolution
from dpcnn.nn.layer import Array
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan

IMAGES = 16
CASES = [
    (32, 8, 16), (32, 16, 16), (28, 16, 16), (14, 16, 16), (32, 32, 32), (16, 32, 32),
    (16, 32, 64), (16, 64, 64), (8, 64, 64), (8, 64, 128), (8, 128, 128), (4, 128, 128),
]  # fmt: skip

cases = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case[0]}x{case[0]} {case[1]}->{case[2]}"
)
algorithms = pytest.mark.parametrize("algorithm", ["winograd", "mec"])


def prepare(case: tuple[int, int, int], algorithm: str) -> tuple[Convolution, Array, Array]:
    """Return the layer with random weights, an input and an output gradient."""
    size, channels, filters = case
    layer = Convolution(filters, 3, padding=1, algorithm=algorithm)
    Network(Plan([layer], (channels, size, size))).initialize(seed=0)
    layer.needs_dx = True
    rng = np.random.default_rng(0)
    x = rng.standard_normal((channels, size, size, IMAGES), np.float32)
    return layer, x, rng.standard_normal(layer.forward(x).shape, np.float32)


@cases
@algorithms
@pytest.mark.benchmark(group="forward")
def test_forward(benchmark: BenchmarkFixture, case: tuple[int, int, int], algorithm: str) -> None:
    layer, x, _ = prepare(case, algorithm)
    benchmark(layer.forward, x)


@cases
@algorithms
@pytest.mark.benchmark(group="backward")
def test_backward(benchmark: BenchmarkFixture, case: tuple[int, int, int], algorithm: str) -> None:
    layer, _, dz = prepare(case, algorithm)
    benchmark(layer.backward, dz)
