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

from dpcnn.cli.job import Job, run
from dpcnn.inference.evaluation import evaluate
from dpcnn.nn.network import Network
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.console import Console
from dpcnn.training.datasets import open_dataset
from dpcnn.training.measure import options_for, silent_trainer, time_steps
from dpcnn.training.trainer import Trainer

SGEMM = 1024  # rows and columns of the matrices that show the BLAS at its best


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dpcnn.bench.worker")
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--minibatch", type=int, required=True)
    parser.add_argument("--reduce", required=True)
    parser.add_argument("--steps", type=int, required=True)
    return run(parser.parse_args, _measure)


def _measure(job: Job, arguments: argparse.Namespace) -> int:
    """Time training steps, then evaluation and a large sgemm on rank 0; print the figures."""
    comm = job.comm
    options = options_for(arguments.minibatch, arguments.dataroot, arguments.reduce)
    dataset = open_dataset(options, comm, comm.split_by_node(), Console())
    trainer = silent_trainer(options, dataset, comm)
    figures = time_steps(trainer, arguments.steps)
    if comm.rank == 0:
        figures |= {
            "flop_per_image": flop_per_image(trainer.network),
            "inference_seconds_per_image": _inference(trainer),
            "sgemm_flops": _sgemm_flops(),
        }
        print(json.dumps(figures), flush=True)
    return 0


def flop_per_image(network: Network) -> int:
    """Return the floating-point operations of training on one image.

    A layer makes its products once in the forward pass, as often for dW, and again for dx, which
    the first layer does not compute.
    """
    layers = network.plan.leaves.values()
    return sum(2 * layer.multiply_adds() * (3 if layer.needs_dx else 2) for layer in layers)


def _inference(trainer: Trainer) -> float:
    """Return the seconds per image of evaluating the test set on this rank."""
    images = trainer.dataset.test
    alone = Communicator()
    evaluate(trainer.network, images.first(64), alone)
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
