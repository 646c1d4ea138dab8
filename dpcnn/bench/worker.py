"""One measurement of dpcnn, alone or under a launcher: rank 0 prints a line of JSON.

Started by `python -m dpcnn.bench`, afresh for each measurement, so that those of one round meet
the same machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from dpcnn.job import Job, run
from dpcnn.options import Options

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
    import numpy as np

    from dpcnn.building import build
    from dpcnn.position import Position
    from dpcnn.run.console import Console
    from dpcnn.run.directory import RunDirectory
    from dpcnn.start import open_dataset
    from dpcnn.trainer import Trainer

    options = Options(
        dataroot=arguments.dataroot,
        minibatch_size=arguments.minibatch,
        microbatch_size=min(16, arguments.minibatch),
        reduce=arguments.reduce,
    )
    silent = Console()
    network = build(options)
    network.initialize(options.seed)
    dataset = open_dataset(options, job.comm, silent)
    trainer = Trainer(options, network, dataset, job.comm, silent, RunDirectory(Path("unused")))
    order, seconds = trainer.epoch_order(), []
    for number in range(WARM_UP + arguments.steps):
        if number == WARM_UP:
            trainer.position = Position()
        if trainer.position.epoch_step == trainer.steps_in_epoch:
            trainer.position.epoch_step = 0
        started = time.perf_counter()
        trainer.step(order)
        seconds.append(time.perf_counter() - started)
    if job.comm.rank == 0:
        figures = {
            "step_seconds": float(np.median(seconds[WARM_UP:])),
            "compute_share": trainer.position.compute_seconds / trainer.position.seconds,
            "waiting_share": trainer.position.waiting_seconds / trainer.position.seconds,
            "flop_per_image": flop_per_image(network),
            "inference_seconds_per_image": _inference(trainer),
            "sgemm_flops": _sgemm_flops(),
        }
        print(json.dumps(figures), flush=True)
    return 0


def flop_per_image(network: Any) -> int:
    """Return the floating-point operations of training on one image.

    A layer with weights multiplies and adds once for each weight and output position, forward;
    as often for dW, and for dx, which the first layer does not compute.
    """
    total = 0
    for layer, shape in zip(network.layers, network.shapes[1:], strict=True):
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
