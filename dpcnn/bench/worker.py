"""One measurement of dpcnn, on one rank or under mpirun: rank 0 prints a line of JSON.

`python -m dpcnn.bench` starts it anew for each measurement, so that all measurements of a round
run under the same conditions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from dpcnn.bench import workload
from dpcnn.bench.workload import Workload
from dpcnn.cli.job import Job, run
from dpcnn.inference.evaluation import MANY, evaluate
from dpcnn.parallel.communicator import Communicator
from dpcnn.system import blas
from dpcnn.training.measure import silent_trainer, time_steps
from dpcnn.training.trainer import Trainer

SGEMM = 1024  # rows and columns of the matrices that show the BLAS at its best


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dpcnn.bench.worker")
    workload.add_arguments(parser)
    parser.add_argument("--reduce", default="exact")
    parser.add_argument("--microbatch", type=int)
    return run(parser.parse_args, _measure)


def _measure(job: Job, arguments: argparse.Namespace) -> int:
    """Time training steps, then evaluation and a large sgemm on rank 0; print the figures."""
    comm, measured = job.comm, Workload.of(arguments)
    options = measured.options(arguments.reduce, arguments.microbatch)
    trainer = silent_trainer(options, measured.dataset(comm), comm)
    figures = time_steps(trainer, arguments.steps, workload.warm_up(arguments.steps))
    figures["flop_per_image"] = workload.flop_per_image(trainer.network.plan)
    if comm.size == 1:
        count = arguments.steps * arguments.minibatch
        figures["inference_seconds_per_image"] = _inference(trainer, count)
    if comm.rank == 0:
        figures["sgemm_flops"] = _sgemm_flops()
        print(json.dumps(figures | {"kernels": blas.loaded()["kernels"] or ""}), flush=True)
    return 0


def _inference(trainer: Trainer, count: int) -> float:
    """Return the seconds per image of evaluating so many images of the test set."""
    images = trainer.dataset.test.first(max(MANY, count))
    alone = Communicator()
    evaluate(trainer.network, images.first(MANY), alone)  # makes the buffers
    started = time.perf_counter()
    evaluate(trainer.network, images, alone)
    return (time.perf_counter() - started) / len(images)


def _sgemm_flops() -> float:
    """Return the floating-point operations per second of a large float32 product, the best of 5."""
    a = np.ones((SGEMM, SGEMM), np.float32)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * SGEMM**3 / best


if __name__ == "__main__":
    sys.exit(main())
