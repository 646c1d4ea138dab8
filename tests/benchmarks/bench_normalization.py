"""Normalisation in blocks of several sizes, and beside PyTorch's.

    OPENBLAS_NUM_THREADS=1 python -m pytest -n 0 tests/benchmarks/bench_normalization.py

The activations of a ResNet's first stage, 16x32x32 for 16 images: 1 MB. On one core of an AMD EPYC
with 512 KB of L2 cache, forward and backward took, median of 300 rounds:

    BatchNorm 0.15 and 0.18 ms in blocks of 1 MB, 0.18 and 0.20 ms of 256 KB; PyTorch 0.59 and 0.28
    GroupNorm 0.29 and 0.39 ms in blocks of 1 MB, 0.32 and 0.41 ms of 256 KB; PyTorch 0.10 and 0.24

That is PyTorch's usual memory layout; bench_elementwise.py has the faster of two for each shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dpcnn.nn import BatchNorm, GroupNorm, Layer, blocks
from dpcnn.nn.blocks import long_rows
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan

SHAPE = (16, 32, 32, 16)
ROUNDS = 300
LAYERS: dict[str, Callable[[], Layer]] = {"BatchNorm": BatchNorm, "GroupNorm": lambda: GroupNorm(4)}
names = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(params=[2**16, 2**18, 2**20])
def block_bytes(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", request.param)
    blocks.blocks.cache_clear()
    yield request.param
    blocks.blocks.cache_clear()


def time(benchmark: BenchmarkFixture, prepare: Callable[[], Any], work: Callable[..., Any]) -> None:
    """Time work(*prepare()), with prepare outside the clock: layers overwrite what they get."""
    with long_rows():  # as a network's forward and backward do
        benchmark.pedantic(work, setup=lambda: (prepare(), {}), rounds=ROUNDS, warmup_rounds=5)  # type: ignore[no-untyped-call]


@names
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.benchmark(group="normalisation")
def test_blocks(benchmark: BenchmarkFixture, block_bytes: int, name: str, backward: bool) -> None:
    layer = LAYERS[name]()
    network = Network(Plan([layer], SHAPE[:-1]))
    network.initialize(0)
    layer.needs_dx = network.context.training = True
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *SHAPE), np.float32)

    def before_backward() -> tuple[Any]:
        layer.forward(x.copy())
        return (dy.copy(),)

    if backward:
        time(benchmark, before_backward, layer.backward)
    else:
        time(benchmark, lambda: (x.copy(),), layer.forward)


@names
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.benchmark(group="normalisation")
def test_pytorch(benchmark: BenchmarkFixture, name: str, backward: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is what this is compared with")
    torch.set_num_threads(1)
    channels, height, width, images = SHAPE
    module = {"BatchNorm": torch.nn.BatchNorm2d, "GroupNorm": lambda c: torch.nn.GroupNorm(4, c)}
    layer, x = module[name](channels), torch.randn(images, channels, height, width)
    x.requires_grad_()
    dy = torch.randn(x.shape)
    if backward:
        time(benchmark, lambda: (layer(x),), lambda y: y.backward(dy))
    else:
        time(benchmark, lambda: (), lambda: layer(x))
