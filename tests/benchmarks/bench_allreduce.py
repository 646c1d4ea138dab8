"""The allreduce of a step against the library's own, interleaved, with computing between them.

    mpirun -n 2 python -m tests.benchmarks.bench_allreduce

blocking: MPI_Allreduce of float64; polled: MPI_Iallreduce, polled as all waits of dpcnn are; ours:
MPICommunicator.Allreduce of a vector that is sent; shared: of one from MPICommunicator.vector,
which ranks of one node read in shared memory. With more ranks than cores leave out the blocking
one, which then takes seconds: python -m tests.benchmarks.bench_allreduce polled ours shared.
"""

from __future__ import annotations

import sys
import time

import dpcnn  # noqa: F401  (one BLAS thread, before NumPy)

import numpy as np  # isort: skip

from dpcnn.parallel.mpi import MPI, MPICommunicator

ROUNDS = 300
VALUES = 185_930  # the tutorial's gradient
COMPUTE = 0.002  # seconds


class Blocking(MPICommunicator):
    """Waits inside the MPI library."""

    def Allreduce(self, values: np.ndarray, scalars: np.ndarray, out: np.ndarray) -> None:
        self._comm.Allreduce(MPI.IN_PLACE, values, MPI.SUM)
        np.copyto(out, values, casting="same_kind")


class Polled(MPICommunicator):
    """Leaves the sum to the library and polls."""

    def Allreduce(self, values: np.ndarray, scalars: np.ndarray, out: np.ndarray) -> None:
        self._wait([self._comm.Iallreduce(MPI.IN_PLACE, values, MPI.SUM)])
        np.copyto(out, values, casting="same_kind")


WAYS = {"blocking": Blocking, "polled": Polled, "ours": MPICommunicator, "shared": MPICommunicator}


def main() -> None:
    MPICommunicator.world()  # starts MPI
    ways = {name: WAYS[name].of(MPI.COMM_WORLD) for name in sys.argv[1:] or WAYS}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    vectors = {name: np.ones(VALUES) for name in ways}
    if "shared" in ways:
        vectors["shared"] = ways["shared"].vector(VALUES, np.float64, np.float32)
    scalars, out = np.ones(7), np.empty(VALUES, np.float32)
    work = np.ones(100_000)
    for _ in range(ROUNDS):
        for name, comm in ways.items():
            until = time.thread_time() + COMPUTE
            while time.thread_time() < until:
                work.sum()
            vectors[name].fill(1)
            started = time.perf_counter()
            comm.Allreduce(vectors[name], scalars, out)
            seconds[name].append(time.perf_counter() - started)
    if MPI.COMM_WORLD.Get_rank() == 0:
        for name, times in seconds.items():
            print(f"{MPI.COMM_WORLD.Get_size()} ranks, {name}: {np.median(times) * 1e6:.0f} us")


if __name__ == "__main__":
    main()
