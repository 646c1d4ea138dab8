"""The allreduce of a step, three ways, interleaved, with a step's computing between them.

    mpirun -n 2 python -m tests.benchmarks.bench_allreduce

blocking: MPI_Allreduce alone; barrier: a polled MPI_Ibarrier first, as MPICommunicator does;
polled: MPI_Iallreduce, as CrowdedMPICommunicator does, for more ranks than cores. There the
blocking calls take seconds: give 3 rounds as an argument.
"""

from __future__ import annotations

import sys
import time

import dpcnn  # noqa: F401  (one BLAS thread, before NumPy)

import numpy as np  # isort: skip

from dpcnn.parallel.mpi import MPI, CrowdedMPICommunicator, MPICommunicator

VALUES = 185_937  # float64: the tutorial's gradient and the scalars
COMPUTE = 0.002  # seconds


class BlockingMPICommunicator(MPICommunicator):
    """Waits inside the MPI library."""

    def Allreduce(self, buffer: np.ndarray) -> None:
        self._comm.Allreduce(MPI.IN_PLACE, buffer, MPI.SUM)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    ways = {
        "blocking": BlockingMPICommunicator(MPI.COMM_WORLD),
        "barrier": MPICommunicator(MPI.COMM_WORLD),
        "polled": CrowdedMPICommunicator(MPI.COMM_WORLD),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    buffer, work = np.zeros(VALUES), np.ones(100_000)
    for _ in range(rounds):
        for name, comm in ways.items():
            until = time.thread_time() + COMPUTE
            while time.thread_time() < until:
                work.sum()
            started = time.perf_counter()
            comm.Allreduce(buffer)
            seconds[name].append(time.perf_counter() - started)
    if MPI.COMM_WORLD.Get_rank() == 0:
        for name, times in seconds.items():
            print(f"{MPI.COMM_WORLD.Get_size()} ranks, {name}: {np.median(times) * 1e6:.0f} us")


if __name__ == "__main__":
    main()
