"""Runs made again from their checkpoints: to verify them, and on replacement ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dpcnn.data.dataset import Dataset
from dpcnn.errors import CheckpointError, OptionError
from dpcnn.models.user import import_network
from dpcnn.options import Options, resumed
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.membership import join
from dpcnn.run import validation
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory
from dpcnn.run.history import all_epochs, first_kept
from dpcnn.run.loggers import jsonl
from dpcnn.system.text import one_line
from dpcnn.training.config import Config, resolved
from dpcnn.training.console import Console
from dpcnn.training.datasets import check_dataset, fingerprint, located, open_dataset, prepared
from dpcnn.training.log import Log, StandbyLog
from dpcnn.training.pretrained import fine_tune
from dpcnn.training.recovery import Briefing, Recovery, Replacements
from dpcnn.training.setup import Session, initial_state, make_plan, restore
from dpcnn.training.signals import StopRequests
from dpcnn.training.state import State
from dpcnn.training.trainer import Trainer


def rebuild(
    checkpoint: Checkpoint, dataroot: str | None, model: str | None, comm: Communicator
) -> tuple[Options, State, Dataset]:
    """Return the options, the initial state and the dataset of a checkpoint's run; collective.

    dataroot stands in for the recorded one; model is the MODULE:FUNCTION that makes the layers,
    needed if some are not dpcnn's. Raises OptionError, DataError or CheckpointError, on all ranks.
    """
    options = resolved(resumed(Options(), frozenset(), checkpoint.options), comm.size)
    options = comm.on_root(lambda: located(options, checkpoint))
    if dataroot is not None:
        options = replace(options, dataroot=dataroot)
    network = comm.on_all(lambda: import_network(model) if model else None)
    plan = comm.on_all(lambda: make_plan(options, checkpoint, network, 1, 1))
    node = comm.split_by_node()
    dataset = open_dataset(options, comm, node, Console())
    digest = fingerprint(dataset, comm, node)
    comm.on_root(lambda: check_dataset(checkpoint, digest, dataset.source))
    dataset = replace(dataset, source=checkpoint.dataset["source"])
    dataset = prepared(dataset, options, checkpoint, comm)
    state = initial_state(options, plan, dataset, digest, checkpoint.changes)
    return options, state, dataset


def reopen(
    run: Path, epoch: int | None, dataroot: str | None, model: str | None, comm: Communicator
) -> tuple[Trainer, Checkpoint]:
    """Return a trainer of a run before an epoch (None: the newest), and its newest checkpoint.

    Collective; the trainer tells and keeps nothing. It starts from the newest sound checkpoint at
    the beginning of that epoch or an earlier one, or from the initial weights. dataroot and model
    as for `rebuild`. Raises OptionError, DataError or CheckpointError, on all ranks.
    """
    newest, start = comm.on_root(lambda: _newest_and_start(run, epoch))
    options, state, dataset = rebuild(newest, dataroot, model, comm)
    trainer = Trainer(Config.of(options), state, dataset, comm, Log(), Recovery(), StopRequests())
    if start is None:
        fine_tune(state, options, comm)
    else:
        comm.on_all(lambda: restore(trainer, start))
    return trainer, newest


def _newest_and_start(run: Path, epoch: int | None) -> tuple[Checkpoint, Checkpoint | None]:
    """Return the newest sound checkpoint, and that to replay an epoch from (None: the start)."""
    sound = [
        checkpoint
        for _, checkpoint in RunDirectory(run).read_checkpoints()
        if isinstance(checkpoint, Checkpoint)
    ]
    if not sound:
        raise CheckpointError(f"{run}: no sound checkpoint, expected a run directory")
    newest = sound[0]
    epochs = newest.epochs
    if epochs == 0:
        raise CheckpointError(f"{run}: no epoch is finished, expected at least one")
    if newest.options["reduce"] != "exact":
        raise CheckpointError(f"{run}: trained with --reduce fast, expected --reduce exact")
    if epoch is not None and not 1 <= epoch <= epochs:
        raise OptionError(f"--epoch is {epoch}, expected 1 to {epochs}, the epochs of {run}")
    starts = (
        checkpoint
        for checkpoint in sound
        if checkpoint.progress["epoch_step"] == 0
        and checkpoint.progress["epoch"] <= (epoch or epochs)
    )
    return newest, next(starts, None)


def recorded_epochs(run: Path, newest: Checkpoint) -> list[dict[str, Any]]:
    """Return the metrics of all epochs of a run whose newest checkpoint this is.

    Raises CheckpointError if those are missing or broken that only metrics.jsonl has.
    """
    try:
        lines = list(all_epochs(run, newest.metrics))
        validation.check_metrics(lines)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise CheckpointError(f"{run / jsonl.NAME}: {reason}, expected metrics") from error
    if [line["epoch"] for line in lines] != list(range(1, newest.epochs + 1)):
        raise CheckpointError(
            f"{run / jsonl.NAME}: lacks epochs, expected those before {first_kept(newest.metrics)}"
        )
    return lines


def replay_epoch(trainer: Trainer, recorded: dict[str, Any]) -> None:
    """Make the epoch's steps that are left and go to the next epoch, without an evaluation.

    recorded: the metrics of the epoch, on which the learning rate of later ones may depend.
    """
    comm, state = trainer.comm, trainer.state
    progress = state.progress
    left = trainer.loader.minibatches(progress.epoch, progress.epoch_step, comm.rank, comm.size)
    for minibatch in left:
        trainer.step(minibatch)
    state.remember(recorded)
    state.progress = progress.next_epoch()


def replacement(comm: Communicator) -> Session:
    """Return the session of a replacement rank, which has joined the others.

    It has the state that rank 0 had when it started this rank; the first sync of `run` gives it
    the newest.
    """
    stops = StopRequests()

    def prepare(briefing: Briefing) -> tuple[Briefing, Options, State, Dataset, RunDirectory]:
        directory = RunDirectory(briefing.directory)
        options, state, dataset = rebuild(briefing.checkpoint, None, briefing.model, Communicator())
        state.restore(briefing.checkpoint)
        directory.join(briefing.directory)
        stops.listen()
        return briefing, options, state, dataset, directory

    briefing, options, state, dataset, directory = join(comm, prepare)
    comm.timeout = options.timeout
    log = StandbyLog(options, directory)
    recovery = Recovery(Replacements(directory, briefing.model))
    trainer = Trainer(Config.of(options), state, dataset, comm, log, recovery, stops)
    return Session(trainer, options, directory)
