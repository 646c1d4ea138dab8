"""One measurement of dpcnn, alone or under a launcher: rank 0 prints a line of JSON.

Started by `python -m dpcnn.bench`, afresh for each measurement, so that those of one round meet
the same machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpcnn.cli.job import Job, run
from dpcnn.options import Options

if TYPE_CHECKING:
    from dpcnn.data.dataset import Dataset
    from dpcnn.data.loader import Minibatch
    from dpcnn.parallel.communicator import Communicator
    from dpcnn.training.trainer import Trainer

WARM_UP = 10  # steps that are not counted
SGEMM = 1024  # rows of the matrices that show what the BLAS can do at best


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dpcnn.bench.worker")
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--minibatch", type=int, required=True)
    parser.add_argument("--reduce", required=True)
    parser.add_argument("--steps", type=int, required=True)
    return run(parser.parse_args, _measure)


def _measure(job: Job, arguments: argparse.Namespace) -> int:
    """Train some steps, evaluate on one rank, multiply large matrices; print the figures."""
    from dpcnn.training.console import Console
    from dpcnn.training.setup import open_dataset

    options = options_for(arguments.minibatch, arguments.dataroot, arguments.reduce)
    dataset = open_dataset(options, job.comm, Console())
    trainer = make_trainer(options, dataset, job.comm)
    figures = clock(trainer, arguments.steps)
    if job.comm.rank == 0:
        figures |= {
            "flop_per_image": flop_per_image(trainer.network),
            "inference_seconds_per_image": _inference(trainer),
            "sgemm_flops": _sgemm_flops(),
        }
        print(json.dumps(figures), flush=True)
    return 0


def options_for(minibatch: int, dataroot: str = "digits", reduce: str = "exact") -> Options:
    """Return the options that are measured, in micro-batches of 16 where there are as many."""
    return Options(
        dataroot=dataroot,
        minibatch_size=minibatch,
        microbatch_size=min(16, minibatch),
        reduce=reduce,
    )


def make_trainer(options: Options, dataset: Dataset, comm: Communicator) -> Trainer:
    """Return a trainer of the tutorial's network that prints and keeps nothing; collective."""
    from dpcnn.models.build import plan_network
    from dpcnn.nn.network import Network
    from dpcnn.run.directory import RunDirectory
    from dpcnn.training.console import Console
    from dpcnn.training.trainer import Trainer

    network = Network(plan_network(options))
    network.initialize(options.seed)
    return Trainer(options, network, dataset, comm, Console(), RunDirectory(Path("unused")))


def clock(trainer: Trainer, steps: int) -> dict[str, float]:
    """Make some steps, after a few that do not count; return the seconds of one, collective.

    step_seconds and compute_seconds, a rank's own work, are medians; the shares are of all steps.
    """
    from dpcnn.training.state import Position

    minibatches = _endless(trainer)
    seconds, computing = [], []
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            trainer.position = Position()
        computed, started = trainer.position.compute_seconds, time.perf_counter()
        trainer.step(next(minibatches))
        seconds.append(time.perf_counter() - started)
        computing.append(trainer.position.compute_seconds - computed)
    position = trainer.position
    return {
        "step_seconds": statistics.median(seconds[WARM_UP:]),
        "compute_seconds": statistics.median(computing[WARM_UP:]),
        "compute_share": position.compute_seconds / position.seconds,
        "waiting_share": position.waiting_seconds / position.seconds,
    }


def _endless(trainer: Trainer) -> Iterator[Minibatch]:
    """Yield the minibatches of the first epoch over and over."""
    while True:
        yield from trainer.loader.minibatches(1, 0, trainer.comm.rank, trainer.comm.size)


def flop_per_image(network: Any) -> int:
    """Return the floating-point operations of training on one image.

    A layer with weights multiplies and adds once for each weight and output position, forward;
    as often for dW, and for dx, which the first layer does not compute.
    """
    total = 0
    for layer, shape in zip(network.layers, network.plan.shapes[1:], strict=True):
        if "W" in layer.parameter_shapes:
            positions = 1
            for extent in shape[1:]:
                positions *= extent
            total += 2 * layer.W.size * positions * (3 if layer.needs_dx else 2)
    return total


def _inference(trainer: Any) -> float:
    """Return the seconds an image that evaluating the test set takes."""
    trainer.evaluate(trainer.dataset.test.first(64))
    started = time.perf_counter()
    trainer.evaluate(trainer.dataset.test)
    return (time.perf_counter() - started) / len(trainer.dataset.test)


def _sgemm_flops() -> float:
    """Return the floating-point operations a second of a large float32 product, at best."""
    import numpy as np

    a = np.ones((SGEMM, SGEMM), np.float32)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * SGEMM**3 / best


if __name__ == "__main__":
    sys.exit(main())
