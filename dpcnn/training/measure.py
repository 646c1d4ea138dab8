"""Steps of training that are timed and told to nobody: for dpcnn.bench and dpcnn.doctor."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from dpcnn.data.dataset import Dataset
from dpcnn.data.loader import Minibatch
from dpcnn.data.sampler import AUTO_MICROBATCH
from dpcnn.models.build import plan_network
from dpcnn.models.user import import_network
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.config import Config, resolved
from dpcnn.training.datasets import fitted
from dpcnn.training.log import Log
from dpcnn.training.recovery import Recovery
from dpcnn.training.setup import initial_state
from dpcnn.training.signals import StopRequests
from dpcnn.training.state import Progress
from dpcnn.training.trainer import Trainer


def options_for(minibatch: int, dataroot: str = "digits", reduce: str = "exact") -> Options:
    """Return the options that are measured, in micro-batches of 16 if there are as many images."""
    return Options(
        dataroot=dataroot,
        minibatch_size=minibatch,
        microbatch_size=min(AUTO_MICROBATCH, minibatch),
        reduce=reduce,
    )


def silent_trainer(options: Options, dataset: Dataset, comm: Communicator) -> Trainer:
    """Return a trainer of the options' network that tells and keeps nothing."""
    options = resolved(fitted(options, dataset), comm.size)
    make = None if options.model is None else import_network(options.model)
    plan = plan_network(options, own=make)
    state = initial_state(options, plan, dataset, fingerprint="")
    config, stops = Config.of(options), StopRequests()
    return Trainer(config, state, dataset, comm, Log(), Recovery(), stops)


def time_steps(trainer: Trainer, steps: int, warm_up: int = 10) -> dict[str, float]:
    """Make some steps, after `warm_up` that do not count; return the seconds of one. Collective.

    step_seconds and compute_seconds, a rank's own work, are medians; the shares are of all steps.
    """
    trainer.attach()
    minibatches = _without_end(trainer)
    seconds, computing = [], []
    for number in range(warm_up + steps):
        if number == warm_up:
            trainer.state.progress = Progress()
        started = time.perf_counter()
        trainer.step(next(minibatches))
        seconds.append(time.perf_counter() - started)
        computing.append(trainer.clock.lap["compute"])
    progress = trainer.state.progress
    return {
        "step_seconds": statistics.median(seconds[warm_up:]),
        "compute_seconds": statistics.median(computing[warm_up:]),
        "compute_share": progress.compute_seconds / progress.seconds,
        "waiting_share": progress.waiting_seconds / progress.seconds,
    }


def _without_end(trainer: Trainer) -> Iterator[Minibatch]:
    """Yield the minibatches of the first epoch again and again."""
    while True:
        yield from trainer.loader.minibatches(1, 0, trainer.comm.rank, trainer.comm.size)
