"""From micro-batch gradients to the step's mean gradient: one allreduce a step.

Every reduction is used alike: `add` each micro-batch's gradient and named scalars, then
`allreduce` once. Two of them:

**Exact** (the default). Floating-point addition depends on its order, and the order changes with
the number of ranks. Sums of multiples of 2^-b that stay below 2^(53-b)
are exact in float64, and exact sums have no order. So each micro-batch's float32 gradient is
rounded once to a multiple of GRID, by adding and subtracting a large constant in float64, and
everything after it, adding micro-batches and adding ranks, is exact. This is the fixed-point form
of the reproducible summation of Demmel and Nguyen, "Parallel Reproducible Summation", IEEE
Transactions on Computers 64(7), 2015: they choose the grid from the data with one more reduction;
a training step needs none, since the grid can be fixed well below what float32 gradients carry.

Why no sum leaves the exact range, whatever the order: each part also contributes its Euclidean
norm to a scalar, which bounds each of its values. Partial sums of any values are then bounded by
the sum of all norms, and that one adds up numbers that are not negative: if it ends within RANGE,
every partial sum anywhere was below it and exact; if some norm was past the range, infinite or
NaN, so is the sum, and every rank raises the same DivergenceError.

Why float64 and a fixed grid: one rank's sums, of the tutorial's 185,930 parameters and four
micro-batches, take 0.6 ms of a step of 8 (Zen 3), and float32 takes 0.2. 32-bit integers, scaled by
a power of two that the last gradient's norm gives, are as exact and take 0.5
(tests/benchmarks/bench_reduction.py): too little for a grid that the largest values make coarse, a
scale to keep in checkpoints, and steps that are reduced twice when it was too small. 64-bit
integers on the same grid save a pass for each micro-batch and lose it when they become float32.

**Fast** adds float32, micro-batches in their order and then ranks in theirs: the same from run to
run at one world size, and close to exact.
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dpcnn.errors import DivergenceError
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.shared_memory import aligned_zeros

Array = NDArray[Any]
Sums = dict[str, float]

# Grid and range were chosen from the tutorial's network on MNIST: the norm of a micro-batch's
# gradient stays below 7 at a learning rate of 0.01 and below 18 at 0.5; its values are typically
# 1e-4 at first and 1e-6 at the most daring rate. A float32 of 2^-16 (1.5e-5) or more lies on this
# grid already; smaller ones move by at most 2^-41 (5e-13).
GRID = 2.0**-40
# Multiples of GRID are exact in float64 up to 2^13; rounding with ROUNDER holds up to 2^11.
RANGE = 2.0**11
# In [2^12, 2^13) float64 has a spacing of GRID: adding this rounds to the grid, ties to even.
ROUNDER = 1.5 * 2.0**52 * GRID
# Scalars are sums of losses over images, counts and norms: they need range rather than depth.
SCALAR_RANGE = 2.0**28
SCALAR_ROUNDER = 1.5 * 2.0**52 * 2.0**-24
NORM = "gradient norm"
# Values rounded at a time: the temporaries stay in the cache, the calls' overhead stays small
# (tests/benchmarks/bench_reduction.py).
BLOCK = 32768


class Reduction:
    """The fast reduction, and the interface of both.

    `names` are those of the scalars; one that `add` leaves out counts as 0.
    """

    dtype: type = np.float32
    scalar_rounder = 0.0  # what a scalar is rounded by adding and subtracting

    def __init__(self, comm: Communicator, gradient: Array, names: tuple[str, ...]) -> None:
        self.comm = comm
        self.names = (*names, NORM)
        self._gradient = gradient
        self._scalars = dict.fromkeys(self.names, 0.0)
        self._parts = 0

    @classmethod
    def allocate(cls, comm: Communicator, size: int, names: tuple[str, ...]) -> Self:
        """Return a reduction of gradients (size,) and scalars of these names; collective."""
        gradient = comm.vector(size, cls.dtype, np.float32) if size else np.zeros(0, cls.dtype)
        return cls(comm, gradient, names)

    def add(self, gradient: Array, **scalars: float) -> None:
        """Add one micro-batch: its gradient (P,) float32 and scalars, none negative, by name."""
        scalars[NORM] = math.sqrt(float(np.dot(gradient, gradient)))
        self._add_gradient(gradient)
        self._parts += 1
        self.add_scalars(**scalars)

    def add_scalars(self, **scalars: float) -> None:
        """Add to named scalars alone."""
        rounder = self.scalar_rounder
        for name, value in scalars.items():
            self._scalars[name] += (value + rounder) - rounder

    def allreduce(self, gradient: Array) -> Sums:
        """Write the sum over all micro-batches of all ranks into gradient (P,); start anew.

        Collective. Returns the sums of the scalars. Raises DivergenceError, on every rank alike,
        for sums that are not finite or past the range.
        """
        if self._parts == 0:
            self._gradient.fill(0)
        scalars = np.array([*self._scalars.values()])
        with np.errstate(over="ignore", invalid="ignore"):  # _check says it in words
            self.comm.Allreduce(self._gradient, scalars, out=gradient)
        sums = dict(zip(self.names, scalars.tolist(), strict=True))
        self._scalars = dict.fromkeys(self.names, 0.0)
        self._parts = 0
        self._check(sums)
        return sums

    def _add_gradient(self, gradient: Array) -> None:
        """Add a part; the first one is written over what the last step left."""
        if self._parts == 0:
            np.copyto(self._gradient, gradient)
        else:
            np.add(self._gradient, gradient, out=self._gradient)

    def _check(self, sums: Sums) -> None:
        if not all(map(math.isfinite, sums.values())):
            raise DivergenceError(
                "the loss or its gradient is not finite (NaN or infinity)"
            ).on_all_ranks()


class ExactReduction(Reduction):
    """The exact reduction: the same bits for every number and order of parts."""

    dtype = np.float64
    scalar_rounder = SCALAR_ROUNDER

    def __init__(self, comm: Communicator, gradient: Array, names: tuple[str, ...]) -> None:
        super().__init__(comm, gradient, names)
        self._block = aligned_zeros(min(BLOCK, gradient.size), np.float64)
        self._limits = dict.fromkeys(self.names, SCALAR_RANGE) | {NORM: RANGE}

    def _add_gradient(self, gradient: Array) -> None:
        """Round a part to the grid and add it; the first is rounded where it will stay."""
        for start in range(0, gradient.size, BLOCK):
            part = gradient[start : start + BLOCK]
            total = self._gradient[start : start + BLOCK]
            rounded = total if self._parts == 0 else self._block[: part.size]
            np.copyto(rounded, part)
            rounded += ROUNDER
            rounded -= ROUNDER
            if rounded is not total:
                total += rounded

    def _check(self, sums: Sums) -> None:
        super()._check(sums)
        for name, limit in self._limits.items():
            if sums[name] > limit:
                raise DivergenceError(
                    f"the {name} reached {sums[name]:.3g}, past the {limit:.3g}"
                    " that the exact reduction can add: try a smaller --lr, or --reduce fast"
                ).on_all_ranks()


REDUCTIONS: dict[str, type[Reduction]] = {"exact": ExactReduction, "fast": Reduction}
