"""ReLU by the maximum with a block of zeros, against a mask of ones and zeros, the maximum with the
number 0, and np.copyto(where=); Dense in pieces against its whole products; MaxPooling in training
and in evaluation.

    OPENBLAS_NUM_THREADS=1 python -m pytest -n 0 tests/benchmarks/bench_layers.py

The tutorial's activations, 32x24x24 for 16 images. Signs are random and new in every round: a
branch on data that was seen before is predicted, and would look faster than it is in training.
On one core of an AMD EPYC, forward and backward together, the mask took 1.2 times as long, the
maximum with 0 1.2 times, np.copyto 9 times. In evaluation, which needs only the maximum, the block
of zeros saves most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dpcnn.nn import Dense, Layer, MaxPooling, ReLU, dense
from dpcnn.nn.layer import Array
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan

SHAPE = (32, 24, 24, 16)
ROUNDS = 300


class MaximumReLU(Layer):
    """The maximum with the number 0, and a comparison for the way back."""

    def forward(self, x: Array) -> Array:
        """Return max(x, 0) in place."""
        self.positive = np.greater(x, 0, out=self.buffer("positive", x.shape, bool))
        return np.maximum(x, 0, out=x)

    def backward(self, dy: Array) -> Array:
        """Return dy where x was positive, in place."""
        return np.multiply(dy, self.positive, out=dy)


class MaskReLU(Layer):
    """x times a mask of ones and zeros, which is kept for the way back."""

    def forward(self, x: Array) -> Array:
        """Return max(x, 0) in place."""
        self.mask = self.buffer("mask", x.shape)
        np.copyto(self.mask, np.greater(x, 0, out=self.buffer("positive", x.shape, bool)))
        return np.multiply(x, self.mask, out=x)

    def backward(self, dy: Array) -> Array:
        """Return dy where x was positive, in place."""
        return np.multiply(dy, self.mask, out=dy)


class CopytoReLU(Layer):
    """np.copyto of zeros where x is negative, both ways."""

    def forward(self, x: Array) -> Array:
        """Return max(x, 0) in place."""
        self.negative = np.less_equal(x, 0, out=self.buffer("negative", x.shape, bool))
        np.copyto(x, 0, where=self.negative)
        return x

    def backward(self, dy: Array) -> Array:
        """Return dy where x was positive, in place."""
        np.copyto(dy, 0, where=self.negative)
        return dy


def refreshed(rng: np.random.Generator, array: Array) -> Array:
    rng.standard_normal(array.shape, array.dtype, out=array)
    return array


def measure(
    benchmark: BenchmarkFixture, prepare: Callable[[], Any], work: Callable[..., Any]
) -> None:
    """Time work(*prepare()), with prepare outside the clock and in every round."""
    benchmark.pedantic(work, setup=lambda: (prepare(), {}), rounds=ROUNDS, warmup_rounds=5)  # type: ignore[no-untyped-call]


kinds = pytest.mark.parametrize("kind", [ReLU, MaskReLU, MaximumReLU, CopytoReLU])


@kinds
@pytest.mark.benchmark(group="ReLU forward")
def test_forward(benchmark: BenchmarkFixture, kind: type[Layer]) -> None:
    rng, relu, x = np.random.default_rng(0), kind(), np.empty(SHAPE, np.float32)
    relu.context.training = True
    measure(benchmark, lambda: (refreshed(rng, x),), relu.forward)


@kinds
@pytest.mark.benchmark(group="ReLU backward")
def test_backward(benchmark: BenchmarkFixture, kind: type[Layer]) -> None:
    rng, relu, x = np.random.default_rng(0), kind(), np.empty(SHAPE, np.float32)
    relu.context.training = True

    def prepare() -> tuple[Array]:
        relu.forward(refreshed(rng, x))
        return (refreshed(rng, x),)

    measure(benchmark, prepare, relu.backward)


@pytest.mark.benchmark(group="ReLU forward")
def test_maximum_alone(benchmark: BenchmarkFixture) -> None:
    rng, x = np.random.default_rng(0), np.empty(SHAPE, np.float32)
    measure(benchmark, lambda: (refreshed(rng, x),), lambda a: np.maximum(a, 0, out=a))


@pytest.mark.parametrize("products", [dense.PRODUCTS, 10**12], ids=["pieces", "whole"])
@pytest.mark.benchmark(group="Dense forward and backward")
def test_dense(benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, products: int) -> None:
    monkeypatch.setattr(dense, "PRODUCTS", products)
    layer = Dense(10)
    network = Network(Plan([ReLU(), layer], (32 * 24 * 24,)))
    network.initialize(seed=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((layer.inputs, 16), np.float32)
    dy = rng.standard_normal((10, 16), np.float32)
    benchmark(lambda: (layer.forward(x), layer.backward(dy)))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("shape", [(32, 32, 32, 64), (64, 16, 16, 64), (16, 24, 24, 16)])
@pytest.mark.benchmark(group="MaxPooling forward")
def test_max_pooling(benchmark: BenchmarkFixture, shape: tuple[int, ...], training: bool) -> None:
    layer = MaxPooling(2)
    Network(Plan([layer], shape[:-1])).context.training = training
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    benchmark(layer.forward, x)
