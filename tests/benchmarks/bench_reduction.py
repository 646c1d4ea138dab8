"""The reduction's cost a micro-batch: exact in blocks, exact in whole passes, and fast.

python -m pytest tests/benchmarks/bench_reduction.py
"""

from __future__ import annotations

import numpy as np
import pytest

from dpcnn.parallel import reduction
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.shared_memory import aligned_zeros

PARAMETERS = 185_930  # of the tutorial's network
MICROBATCHES = 4


def a_step(reduce: reduction.Reduction, gradient: np.ndarray, out: np.ndarray) -> None:
    for _ in range(MICROBATCHES):
        reduce.add(gradient)
    reduce.allreduce(out)


@pytest.mark.parametrize("block", [4096, 16384, 32768, 65536, 1 << 20])
def test_exact_by_block_size(benchmark, monkeypatch, block):
    monkeypatch.setattr(reduction, "BLOCK", block)
    reduce = reduction.ExactReduction.allocate(Communicator(), PARAMETERS, ())
    gradient = np.random.default_rng(0).standard_normal(PARAMETERS).astype(np.float32) * 1e-3
    benchmark(a_step, reduce, gradient, np.empty_like(gradient))


@pytest.mark.parametrize("offset", [0, 16])
def test_exact_by_alignment(benchmark, offset):
    """The offset of the sum in a cache line, in bytes."""
    room = aligned_zeros(PARAMETERS + offset, np.float64)[offset // 8 :][:PARAMETERS]
    reduce = reduction.ExactReduction(Communicator(), room, ())
    gradient = np.random.default_rng(0).standard_normal(PARAMETERS).astype(np.float32) * 1e-3
    benchmark(a_step, reduce, gradient, np.empty_like(gradient))


def test_fast(benchmark):
    reduce = reduction.Reduction.allocate(Communicator(), PARAMETERS, ())
    gradient = np.random.default_rng(0).standard_normal(PARAMETERS).astype(np.float32) * 1e-3
    benchmark(a_step, reduce, gradient, np.empty_like(gradient))
