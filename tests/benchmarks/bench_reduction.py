"""The cost of a step's sums: exact in blocks, exact in whole passes, in integers, and fast.

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


class Integers(reduction.Reduction):
    """Sums of 32-bit integers, scaled by a power of two: exact, as long as none overflows."""

    dtype = np.int32
    scale = np.float32(2.0**28)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._floats = aligned_zeros(reduction.BLOCK, np.float32)
        self._integers = aligned_zeros(reduction.BLOCK, np.int32)

    def _add_gradient(self, gradient):
        for start in range(0, gradient.size, reduction.BLOCK):
            part = gradient[start : start + reduction.BLOCK]
            scaled = np.multiply(part, self.scale, out=self._floats[: part.size])
            rounded = self._integers[: part.size]
            np.copyto(rounded, np.rint(scaled, out=scaled), casting="unsafe")
            total = self._gradient[start : start + reduction.BLOCK]
            if self._parts == 0:
                np.copyto(total, rounded)
            else:
                total += rounded

    def allreduce(self, gradient):
        sums = super().allreduce(gradient)
        gradient /= self.scale
        return sums


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


def test_integers(benchmark):
    reduce = Integers.allocate(Communicator(), PARAMETERS, ())
    gradient = np.random.default_rng(0).standard_normal(PARAMETERS).astype(np.float32) * 1e-3
    out = np.empty_like(gradient)
    benchmark(a_step, reduce, gradient, out)
    np.testing.assert_allclose(out, MICROBATCHES * gradient, atol=MICROBATCHES / Integers.scale)


def test_fast(benchmark):
    reduce = reduction.Reduction.allocate(Communicator(), PARAMETERS, ())
    gradient = np.random.default_rng(0).standard_normal(PARAMETERS).astype(np.float32) * 1e-3
    benchmark(a_step, reduce, gradient, np.empty_like(gradient))
