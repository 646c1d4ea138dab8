"""--dry_run: do each thing that a run does once, keep nothing, and say what the whole run costs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import NamedTuple

import numpy as np

from dpcnn.cli.arguments import Parsed
from dpcnn.cli.job import Job
from dpcnn.errors import CheckpointError, DivergenceError, DpcnnError
from dpcnn.models.build import plan_network
from dpcnn.models.user import user_network
from dpcnn.system.memory import peak
from dpcnn.system.text import warn
from dpcnn.training.console import console
from dpcnn.training.resume import find_start
from dpcnn.training.setup import NOTHING, Passed, Session, restore, set_up
from dpcnn.training.signals import requested
from dpcnn.training.trainer import Trainer

STEPS = 5  # of which the first makes the buffers, and does not count where there are more
IMAGES = 256  # of each set that is evaluated: four micro-batches
MEGABYTE = 2**20
DONE = "Dry run: steps, an evaluation, a checkpoint and a resume went well, and nothing is kept"
FINISHED = "Dry run: the run is finished, no step is left"


@dataclass(frozen=True)
class Cost:
    """What a run takes: seconds of a step and of an evaluation, bytes of a checkpoint and memory.

    steps, evaluations: how many are left. checkpoints: how many are kept. memory: bytes of each
    rank, on the host of the same place in `hosts`.
    """

    steps: int
    evaluations: int
    checkpoints: int
    step_seconds: float
    evaluation_seconds: float
    checkpoint_bytes: int
    memory: list[int]
    hosts: list[str]

    @property
    def seconds(self) -> float:
        """How long the rest of the run takes."""
        return self.steps * self.step_seconds + self.evaluations * self.evaluation_seconds

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """Yield what there is to say."""
        yield (
            f"time    {timedelta(seconds=round(self.seconds))} for {_count(self.steps, 'step')} of"
            f" {1000 * self.step_seconds:.3g} ms and {_count(self.evaluations, 'evaluation')} of"
            f" {self.evaluation_seconds:.3g} s"
        )
        yield f"memory  {_megabytes(max(self.memory))} a rank at most, {', '.join(self.on_hosts())}"
        size = self.checkpoints * self.checkpoint_bytes
        yield f"disk    {_megabytes(size)} at most, for {_count(self.checkpoints, 'checkpoint')}"

    def on_hosts(self) -> Iterator[str]:
        """Yield how much memory there is to be on each host, in words."""
        for host in dict.fromkeys(self.hosts):
            ranks = zip(self.memory, self.hosts, strict=True)
            yield f"{_megabytes(sum(size for size, at in ranks if at == host))} on {host}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:,.{0 if size > 10 * MEGABYTE else 1}f} MB"


class DryRun(NamedTuple):
    """A session whose run was tried, and what it costs: None if it is finished, or was stopped.

    What it has trained is in its memory alone: its directory is removed.
    """

    session: Session
    cost: Cost | None

    @property
    def exit_code(self) -> int:
        """0, or 128 + the signal that stopped it."""
        stop = self.session.trainer.state.stop
        return 0 if stop is None else 128 + stop


def dry_run(job: Job, parsed: Parsed, passed: Passed = NOTHING) -> DryRun:
    """Try what the options ask for, keep nothing, and say what it will cost; collective.

    Callbacks are not called. Raises what the run would raise.
    """
    passed = passed._replace(callbacks=None)
    session = set_up(parsed.options, parsed.named, job.comm, job.threads, passed)
    trainer, directory = session.trainer, session.directory
    try:
        with trainer.stops, trainer.warnings(), trainer.log.breakpoints():
            cost = _try(session, parsed, passed)
    finally:
        directory.release()
        if job.comm.rank == 0:
            directory.remove()
    if trainer.state.stop is None:
        out = console(parsed.options.shown, job.comm.rank)
        for line in (DONE, *cost.lines()) if cost else (FINISHED,):
            out.line(line)
    return DryRun(session, cost)


def _try(session: Session, parsed: Parsed, passed: Passed) -> Cost | None:
    """Do each thing that a run does once; return what the run costs.

    None if no step is left, or a signal has asked to stop.
    """
    trainer, comm = session.trainer, session.trainer.comm
    state, steps = trainer.state, trainer.loader.steps
    if state.progress.epoch_step == steps:  # saved before the epoch's evaluation
        state.progress = state.progress.next_epoch()
    if trainer.done():
        return None
    step, directory = state.progress.step, session.directory
    trainer.attach()
    seconds = _make_steps(trainer)
    if state.stop is not None:
        return None
    evaluation = _evaluate(trainer)
    if not all(comm.allgather(trainer.log.save_last(state))):
        raise DpcnnError("the checkpoint could not be saved").on_all_ranks()
    path = directory.checkpoint_path(state.progress.step)
    cost = Cost(
        steps=int(trainer.total) - step,
        evaluations=int(trainer.total) // steps - step // steps,
        checkpoints=session.options.keep_checkpoints + 1,
        step_seconds=statistics.median(seconds[1:] or seconds),
        evaluation_seconds=evaluation,
        checkpoint_bytes=comm.on_root(lambda: path.stat().st_size),
        memory=comm.allgather(peak()),
        hosts=comm.hosts,
    )
    _resume(session, parsed, passed)
    return cost


def _make_steps(trainer: Trainer) -> list[float]:
    """Make some steps, until a signal asks to stop; return the seconds of each."""
    comm, progress, seconds = trainer.comm, trainer.state.progress, []
    left = trainer.loader.minibatches(progress.epoch, progress.epoch_step, comm.rank, comm.size)
    for minibatch in islice(left, min(STEPS, int(trainer.total) - progress.step)):
        try:
            sums = trainer.step(minibatch)
        except DivergenceError as error:
            raise trainer.diagnosed(error) from None
        seconds.append(sum(trainer.clock.lap.values()))
        trainer.state.stop = requested(sums)
        if trainer.state.stop is not None:
            break
    return seconds


def _evaluate(trainer: Trainer) -> float:
    """Evaluate some images; return the seconds that all will take."""
    dataset = trainer.dataset
    trainer.dataset = replace(dataset, test=dataset.test.first(IMAGES), validation=None)
    try:
        seconds = trainer.evaluate().seconds
        share = sum(map(len, dataset.evaluated().values())) / len(trainer.dataset.test)
        return seconds * share
    except DivergenceError as error:
        reason = trainer.explained(error, None)
        raise DivergenceError(f"evaluation: {reason}").on_all_ranks() from None
    finally:
        trainer.dataset = dataset


def _resume(session: Session, parsed: Parsed, passed: Passed) -> None:
    """Read the checkpoint again, as a resumed run does, and take over its state; collective.

    Raises CheckpointError if that is another one, OptionError if its options are refused.
    """
    trainer, comm = session.trainer, session.trainer.comm
    before = trainer.network.weights_sha256()
    trainer.network.values.fill(np.nan)
    path = str(session.directory.path)
    options = replace(parsed.options, resume=path, resume_with=None, run_dir=None, dry_run=False)
    named = parsed.named - {"resume_with"} | {"resume"}
    start = comm.on_root(lambda: find_start(options, named, warn))
    checkpoint = start.checkpoint
    assert checkpoint is not None, "just saved"

    def restored() -> None:
        make = user_network(start.options, start.named, passed.network)
        plan_network(start.options, checkpoint.network, make)
        restore(trainer, checkpoint)
        if trainer.network.weights_sha256() != before:
            raise CheckpointError(f"{path}: other weights than were saved, expected the same")

    comm.on_all(restored)
