"""What the model needs to know, measured without training together: rank 0 prints a line of JSON.

Every rank trains by itself, so that it tells what one does where no other disturbs it, or, with a
rank on each core, where all compute at once. Then they add vectors, which needs no training.
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

FEW, MANY = 1, 4  # micro-batches of the two minibatches that tell a step's work from theirs
SHORT, LONG = 16, 1 << 18  # float64 in a vector: mere latency, and about the tutorial's gradient
REPEATS = 200


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dpcnn.bench.calibration")
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--steps", type=int, nargs=2, required=True, metavar=("FEW", "MANY"))
    return run(parser.parse_args, _calibrate)


def _calibrate(job: Job, arguments: argparse.Namespace) -> int:
    """Measure work, then messages where there are two ranks; print the figures of the slowest."""
    comm = job.comm
    timed = []
    for microbatches, steps in zip((FEW, MANY), arguments.steps, strict=True):
        options = options_for(microbatches * AUTO_MICROBATCH, arguments.dataroot)
        dataset = open_dataset(options, comm, comm.split_by_node(), Console())
        trainer = silent_trainer(options, dataset, Communicator())
        comm.allgather(None)  # all begin together
        timed.append(time_steps(trainer, steps))
    few, many = (max(comm.allgather(each["compute_seconds"])) for each in timed)
    figures = {
        "few_seconds": few,
        "many_seconds": many,
        "cast_seconds": timed[0]["step_seconds"] - timed[0]["compute_seconds"],
        "adding_seconds": _adding(),
        "parameters": trainer.network.parameters.size,
    }
    if comm.size > 1:
        figures |= _messages(comm)
    if comm.rank == 0:
        print(json.dumps(figures), flush=True)
    return 0


def _adding() -> float:
    """Return the seconds in which one float64 vector (LONG,) is added to another."""
    total, values, seconds = np.ones(LONG), np.ones(LONG), []
    for _ in range(REPEATS):
        started = time.perf_counter()
        np.add(total, values, out=total)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _messages(comm: Communicator) -> dict[str, float]:
    """Return the seconds of allreduces of short and of long vectors, in shared memory and sent."""
    return {
        f"{way}_{name}_seconds": allreduce_seconds(comm, length, way == "shared", REPEATS)
        for way in ("shared", "sent")
        for name, length in (("short", SHORT), ("long", LONG))
    }


if __name__ == "__main__":
    sys.exit(main())
