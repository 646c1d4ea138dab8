"""The layers between convolutions beside PyTorch's: a table of times and their ratios.

    MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=2000000000 \\
        python -m tests.benchmarks.bench_elementwise [LAYER ...]

Microseconds an image, forward and backward, on one thread: ours in micro-batches of 16, 32 and 64,
PyTorch's at 128 images, with the faster of its two memory layouts. The rounds take turns, so that
all meet the same clock and neighbours; the median counts. The allocator is told to keep its memory,
which is to PyTorch's advantage. On one core of an AMD EPYC, ours/PyTorch:

    batchnorm-relu at 16x32x32 0.73 0.69 0.68, at 64x16x16 0.89 0.76 0.77, at 128x8x8 1.29 1.10 1.05
    max-2          at 16x32x32 1.23 1.01 0.89, at 64x16x16 1.16 0.99 0.91, at 128x8x8 2.02 1.53 1.21

Small maps in small micro-batches lose: there the calls take as long as the work.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

import numpy as np
import torch

from dpcnn.nn import (
    GELU,
    AveragePooling,
    BatchNorm,
    GlobalAveragePooling,
    Layer,
    LeakyReLU,
    MaxPooling,
    ReLU,
    Sigmoid,
    SiLU,
    Tanh,
)
from dpcnn.nn.blocks import long_rows
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan

SHAPES = ((16, 32, 32), (32, 16, 16), (64, 8, 8), (64, 16, 16), (128, 8, 8))
MICROBATCHES = (16, 32, 64)
BATCH = 128  # of PyTorch
ROUNDS = 15
FORMATS = (torch.contiguous_format, torch.channels_last)
nn = torch.nn
LAYERS: dict[str, tuple[Callable[[], list[Layer]], Callable[[int], Any]]] = {
    "batchnorm": (lambda: [BatchNorm()], nn.BatchNorm2d),
    "batchnorm-relu": (
        lambda: [BatchNorm(), ReLU()],
        lambda channels: nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True)),
    ),
    "max-2": (lambda: [MaxPooling(2)], lambda _: nn.MaxPool2d(2)),
    "max-3-2": (lambda: [MaxPooling(3, 2, 1)], lambda _: nn.MaxPool2d(3, 2, 1)),
    "average-2": (lambda: [AveragePooling(2)], lambda _: nn.AvgPool2d(2)),
    "global": (lambda: [GlobalAveragePooling()], lambda _: nn.AdaptiveAvgPool2d(1)),
    "leaky": (lambda: [LeakyReLU()], lambda _: nn.LeakyReLU()),
    "gelu": (lambda: [GELU()], lambda _: nn.GELU(approximate="tanh")),
    "silu": (lambda: [SiLU()], lambda _: nn.SiLU()),
    "sigmoid": (lambda: [Sigmoid()], lambda _: nn.Sigmoid()),
    "tanh": (lambda: [Tanh()], lambda _: nn.Tanh()),
}
Round = Callable[[], float]  # -> microseconds an image


def ours(name: str, shape: tuple[int, ...], images: int) -> Round:
    layers = LAYERS[name][0]()
    network = Network(Plan(layers, shape))
    network.initialize(0)
    for layer in layers:
        layer.needs_dx = True
    rng = np.random.default_rng(0)
    first_x = rng.standard_normal((*shape, images), np.float32)
    x = first_x.copy()
    first_dy = np.ones_like(network.forward(x, training=True))
    dy = first_dy.copy()

    def run() -> float:
        np.copyto(x, first_x)  # layers overwrite what they get
        np.copyto(dy, first_dy)
        start = time.perf_counter()
        network.forward(x, training=True)
        with long_rows():  # as Network.backward does
            network.plan.root.backward(dy)
        return (time.perf_counter() - start) / images * 1e6

    return run


def theirs(name: str, shape: tuple[int, ...], memory_format: Any) -> Round:
    module = LAYERS[name][1](shape[0])
    x = torch.randn(BATCH, *shape).contiguous(memory_format=memory_format).requires_grad_()
    dy = torch.ones_like(module(x))

    def run() -> float:
        x.grad = None
        start = time.perf_counter()
        module(x).backward(dy)
        return (time.perf_counter() - start) / BATCH * 1e6

    return run


def times(name: str, shape: tuple[int, ...]) -> list[float]:
    """Return ours for each micro-batch, and the better of theirs."""
    runs = [ours(name, shape, images) for images in MICROBATCHES]
    runs += [theirs(name, shape, memory_format) for memory_format in FORMATS]
    rounds = []
    for _ in range(ROUNDS):
        rounds.append([[run(), run()][1] for run in runs])  # the first finds others' caches
    *mine, nchw, nhwc = np.median(rounds[2:], axis=0).tolist()
    return [*mine, min(nchw, nhwc)]


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    titles = [f"ours, {images}" for images in MICROBATCHES] + ["PyTorch", "ours/PyTorch"]
    print(f"{'layer':<15}{'C x H x W':>12}", *(f"{title:>14}" for title in titles))
    for name in names or LAYERS:
        for shape in SHAPES:
            *mine, best = times(name, shape)
            numbers = [f"{value:14.1f}" for value in (*mine, best)]
            ratios = " ".join(f"{value / best:.2f}" for value in mine)
            print(f"{name:<15}{'x'.join(map(str, shape)):>12}", *numbers, f"{ratios:>14}")


if __name__ == "__main__":
    main(sys.argv[1:])
