"""Measures what the cost model needs, without joint training: rank 0 prints a line of JSON.

Every rank trains on its own: on one rank this gives the time of an undisturbed rank, with a rank on
each core the time when all of them compute at once. Then the ranks allreduce vectors, without
training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import numpy as np

from dpcnn.cli.job import Job, run
from dpcnn.data.sampler import AUTO_MICROBATCH
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.measure import allreduce_seconds
from dpcnn.training.console import Console
from dpcnn.training.datasets import open_dataset
from dpcnn.training.measure import options_for, silent_trainer, time_steps

FEW, MANY = 1, 4  # micro-batches in two minibatches: separates the work per step from theirs
SHORT, LONG = 16, 1 << 18  # float64 in a vector: latency only, and about the tutorial's gradient
REPEATS = 200  # of each addition and allreduce


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dpcnn.bench.calibration")
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--steps", type=int, nargs=2, required=True, metavar=("FEW", "MANY"))
    return run(parser.parse_args, _calibrate)


def _calibrate(job: Job, arguments: argparse.Namespace) -> int:
    """Measure computing, then messages if there are several ranks; print the slowest figures."""
    comm = job.comm
    timings = []
    for microbatches, steps in zip((FEW, MANY), arguments.steps, strict=True):
        options = options_for(microbatches * AUTO_MICROBATCH, arguments.dataroot)
        dataset = open_dataset(options, comm, comm.split_by_node(), Console())
        trainer = silent_trainer(options, dataset, Communicator())
        comm.allgather(None)  # all ranks start together
        timings.append(time_steps(trainer, steps))
    few, many = (max(comm.allgather(timing["compute_seconds"])) for timing in timings)
    figures = {
        "few_seconds": few,
        "many_seconds": many,
        "cast_seconds": timings[0]["step_seconds"] - timings[0]["compute_seconds"],
        "adding_seconds": _adding_seconds(),
        "parameters": trainer.network.parameters.size,
    }
    if comm.size > 1:
        figures |= _allreduce_figures(comm)
    if comm.rank == 0:
        print(json.dumps(figures), flush=True)
    return 0


def _adding_seconds() -> float:
    """Return the median seconds of adding one float64 vector (LONG,) to another."""
    total = np.ones(LONG)
    values = np.ones(LONG)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        np.add(total, values, out=total)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _allreduce_figures(comm: Communicator) -> dict[str, float]:
    """Return the seconds of allreduces of short and long vectors, in shared memory and sent."""
    return {
        f"{way}_{name}_seconds": allreduce_seconds(comm, length, way == "shared", REPEATS)
        for way in ("shared", "sent")
        for name, length in (("short", SHORT), ("long", LONG))
    }


if __name__ == "__main__":
    sys.exit(main())
