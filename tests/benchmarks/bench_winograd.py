"""3x3 and 5x5 convolutions of real networks: Winograd's algorithms against MEC.

    OPENBLAS_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_winograd.py

16 images; filters, maps, channels -> filters. dpcnn/nn/convolution/choice.py has the sums, and what
`auto` takes by them. Then 64 images, and what dpcnn/nn/convolution/by_pixel.py makes of them in
evaluation: 0.8 to 1.0 of the time of the forward of training.
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dpcnn.nn import Convolution
from dpcnn.nn.convolution.algorithm import MANY_IMAGES
from dpcnn.nn.layer import Array
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan

IMAGES = 16
CASES = [
    (3, 32, 8, 16), (3, 32, 16, 16), (3, 28, 16, 16), (3, 14, 16, 16), (3, 32, 32, 32),
    (3, 16, 32, 32), (3, 16, 32, 64), (3, 16, 64, 64), (3, 8, 64, 64), (3, 8, 64, 128),
    (3, 8, 128, 128), (3, 4, 128, 128),
    (5, 14, 8, 16), (5, 8, 16, 32), (5, 28, 16, 16), (5, 8, 32, 64),
]  # fmt: skip
Case = tuple[int, int, int, int]

cases = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: "{0}x{0}, {1}x{1} {2}->{3}".format(*case)
)
algorithms = pytest.mark.parametrize("algorithm", ["winograd", "winograd2d", "mec"])


def prepare(case: Case, algorithm: str, images: int = IMAGES) -> tuple[Convolution, Array, Array]:
    """Return the layer with random weights, an input and an output gradient."""
    filter_size, size, channels, filters = case
    if algorithm == "winograd" and filter_size == 5:
        pytest.skip("it computes 3x3 filters only")
    layer = Convolution(filters, filter_size, padding="same", algorithm=algorithm)
    Network(Plan([layer], (channels, size, size))).initialize(seed=0)
    layer.needs_dx = True
    rng = np.random.default_rng(0)
    x = rng.standard_normal((channels, size, size, images), np.float32)
    return layer, x, rng.standard_normal(layer.forward(x).shape, np.float32)


@cases
@algorithms
@pytest.mark.benchmark(group="forward")
def test_forward(benchmark: BenchmarkFixture, case: Case, algorithm: str) -> None:
    layer, x, _ = prepare(case, algorithm)
    benchmark(layer.forward, x)


@cases
@algorithms
@pytest.mark.benchmark(group="backward")
def test_backward(benchmark: BenchmarkFixture, case: Case, algorithm: str) -> None:
    layer, _, dz = prepare(case, algorithm)
    benchmark(layer.backward, dz)


@cases
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("algorithm", ["winograd", "winograd2d"])
@pytest.mark.benchmark(group="forward of 64 images")
def test_many_images(
    benchmark: BenchmarkFixture, case: Case, algorithm: str, training: bool
) -> None:
    layer, x, _ = prepare(case, algorithm, MANY_IMAGES)
    layer.context.training = training
    benchmark(layer.forward, x)
