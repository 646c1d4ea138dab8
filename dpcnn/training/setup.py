"""How a run is set up: options, checkpoint, network and dataset become a Trainer.

Collective functions: rank 0 decides and tells the others, and an error of one rank is raised by
all. Everything that can be wrong is found before the run directory is touched.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.digits import preparation
from dpcnn.errors import OptionError
from dpcnn.models.build import check_arrays, check_memory, check_microbatch, plan_network
from dpcnn.models.user import Make, user_network
from dpcnn.nn.config import to_config
from dpcnn.nn.contract import rehearse
from dpcnn.nn.layer import Layer
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.options import Change, Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory
from dpcnn.run.loggers import tensorboard
from dpcnn.system import environment
from dpcnn.training.callbacks import Callbacks
from dpcnn.training.config import Config, resolved
from dpcnn.training.console import Console, console
from dpcnn.training.datasets import (
    Read,
    check_dataset,
    fingerprint,
    fitted,
    located,
    marked,
    open_dataset,
    prepared,
    root_of,
)
from dpcnn.training.debugging import TRAINERS
from dpcnn.training.header import changed, header, layer_table
from dpcnn.training.log import RootLog, StandbyLog
from dpcnn.training.optimization import make_average, make_optimizer, vectors
from dpcnn.training.pretrained import fine_tune
from dpcnn.training.recovery import Recovery, Replacements
from dpcnn.training.resume import Start, check_network, find_start
from dpcnn.training.signals import StopRequests
from dpcnn.training.state import Identity, State, check_progress
from dpcnn.training.trainer import Trainer
from dpcnn.version import __version__

FITTED_VALUES = 2**24  # of the images that a first layer is fitted to: 5461 of CIFAR-10


class Passed(NamedTuple):
    """What a call from Python passes that no command line can.

    network: the layers, if --model does not name them; read: what reads the dataset, if it is not
    --dataroot's; at_once: what a second Ctrl-C does, given the exit code, if not end the process.
    """

    network: Sequence[Layer] | None = None
    read: Read | None = None
    callbacks: Callbacks | None = None
    at_once: Callable[[int], object] | None = None


NOTHING = Passed()


@dataclass(frozen=True)
class Session:
    """A run that is ready to begin: its trainer, options and directory."""

    trainer: Trainer
    options: Options
    directory: RunDirectory

    def end(self, code: int) -> None:
        """Keep how the run has ended: for rank 0, or a rank that ends it alone."""
        self.trainer.log.end(self.trainer.state, code)


def set_up(
    options: Options,
    named: frozenset[str],
    comm: Communicator,
    threads: int,
    passed: Passed = NOTHING,
) -> Session:
    """Return the session that the options ask for, its header printed; collective.

    `named` are the options that the user named, `threads` the BLAS threads of a rank. Raises
    OptionError, DataError or CheckpointError, on all ranks.
    """
    out = console(options.shown, comm.rank)
    start = comm.on_root(lambda: _start(options, named, out))
    make = comm.on_all(lambda: user_network(start.options, start.named, passed.network))
    checkpoint, directory = start.checkpoint, start.directory
    options = resolved(start.options, comm.size)
    if checkpoint is not None and "dataroot" not in named:
        options = comm.on_root(lambda: located(options, checkpoint))
    node = comm.split_by_node()
    if options.tensorboard:
        comm.on_all(tensorboard.check)
    dataset = open_dataset(options, comm, node, out, not start.resumed, read=passed.read)
    dataset = marked(dataset, options, named, checkpoint)
    options = fitted(options, dataset)
    layers = _same_layers(options, make, comm)
    sizes = len(dataset.train), node.size
    plan = comm.on_all(lambda: make_plan(options, checkpoint, layers, *sizes))
    digest = fingerprint(dataset, comm, node)
    dataset = prepared(dataset, options, checkpoint, comm)
    state = comm.on_all(lambda: initial_state(options, plan, dataset, digest, start.changes))
    log = _log(comm, options, directory, out, passed.callbacks)
    model = options.model if "model" in named else None
    recovery = Recovery(Replacements(directory, model) if options.respawn else None)
    parts = state, dataset, comm, log, recovery, StopRequests(passed.at_once)
    trainer = comm.on_all(lambda: TRAINERS[options.debug](Config.of(options), *parts))
    taken = fine_tune(state, options, comm) if checkpoint is None else None
    if checkpoint is not None:
        comm.on_all(lambda: restore(trainer, checkpoint))
    comm.timeout = options.timeout
    _begin(trainer, options, replace(start, initial=str(taken or "")), threads, out)
    return Session(trainer, options, directory)


def _start(options: Options, named: frozenset[str], out: Console) -> Start:
    """Return what the options ask to start from; a dry run writes in a directory of its own."""
    start = find_start(options, named, out.warn)
    return replace(start, directory=start.directory.aside()) if options.dry_run else start


def _log(
    comm: Communicator,
    options: Options,
    directory: RunDirectory,
    out: Console,
    callbacks: Callbacks | None,
) -> StandbyLog:
    if comm.rank:
        return StandbyLog(options, directory, callbacks)
    return RootLog(options, directory, out, callbacks)


def _same_layers(options: Options, make: Make | None, comm: Communicator) -> list[Layer] | None:
    """Return the layers of the network that the user names, None if there is none; collective.

    Raises OptionError, on all ranks, if some rank has no such layers, or others than rank 0.
    """
    layers = comm.on_all(lambda: None if make is None else make(options))
    configs = comm.allgather(None if layers is None else to_config(layers))
    others = [rank for rank, config in enumerate(configs) if config != configs[0]]
    if others:
        raise OptionError(
            f"rank {others[0]} has the network {configs[others[0]]}, expected that of rank 0,"
            f" {configs[0]}"
        ).on_all_ranks()
    return layers


def make_plan(
    options: Options,
    checkpoint: Checkpoint | None,
    layers: Sequence[Layer] | Make | None,
    images: int,
    ranks: int,
) -> Plan:
    """Return the plan of the run's network, which fits the options, the checkpoint and the memory.

    images: how many there are to train on; ranks: how many train on this node. Raises OptionError
    or CheckpointError.
    """
    plan = plan_network(options, None if checkpoint is None else checkpoint.network, layers)
    if checkpoint is not None:
        check_arrays(options, plan, checkpoint.model, checkpoint.average, checkpoint.optimizer)
    check_microbatch(options, plan)
    check_memory(options, plan, images, ranks, vectors(options))
    return plan


def initial_state(
    options: Options,
    plan: Plan,
    dataset: Dataset,
    fingerprint: str,
    changes: Sequence[Change] = (),
) -> State:
    """Return the state before the first step, of a dataset with this fingerprint.

    changes: of its learning rates, also those that are still to come. Raises ContractError that
    names a layer of the user's own which does not do what it promises.
    """
    network = Network(plan)
    network.initialize(options.seed)
    rehearse(network, options.microbatch_size or 1)
    _fit(network, dataset.train)
    recorded = {
        "fingerprint": fingerprint,
        "source": dataset.source,
        "normalization": dataset.train.normalization.config(),
        "prepare": preparation(dataset),
        "class_names": list(dataset.class_names),
        "root": root_of(options),
    }
    identity = Identity(options.as_dict(), recorded, to_config(plan.layers), changes)
    average = make_average(options, network.values)
    return State(network, make_optimizer(options, plan), identity, average)


def _fit(network: Network, images: Images) -> None:
    """Fit the network's first layer to training images, if it is one to be fitted."""
    first = next(iter(network.plan.leaves.values()))
    if first.fits_images:
        count = max(1, FITTED_VALUES // math.prod(images.shape))
        first.fit(images.load(np.arange(min(count, len(images)))))


def restore(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Take over the state of a checkpoint; raises CheckpointError if it is of another run."""
    dataset = trainer.state.identity.dataset
    check_dataset(checkpoint, dataset["fingerprint"], dataset["source"])
    images, size = trainer.loader.visited, trainer.config.minibatch_size
    trainer.state.check(checkpoint)
    check_progress(checkpoint.progress, trainer.loader.steps, images, size)
    trainer.state.restore(checkpoint)


def _begin(trainer: Trainer, options: Options, start: Start, threads: int, out: Console) -> None:
    """Make the run directory this run's, and print the header; collective.

    From now on signals ask the run to stop: once the header is out, no rank dies of one before the
    first step that all ranks make together. If it fails, signals and the directory are as before.
    """
    with contextlib.ExitStack() as undo:
        undo.enter_context(trainer.stops)
        undo.callback(start.directory.release)
        _create_and_tell(trainer, options, start, threads, out)
        undo.pop_all()


def _create_and_tell(
    trainer: Trainer, options: Options, start: Start, threads: int, out: Console
) -> None:
    comm, state, directory = trainer.comm, trainer.state, start.directory
    facts = environment.collect(__version__, comm.hosts, comm.library, threads)

    def create() -> Path:
        if start.resumed and start.checkpoint is None:
            check_network(directory, state.identity.network)
        kept = state.metrics, state.identity.network, state.progress.step
        directory.create(options.as_dict(), facts, *kept)
        return directory.path

    path = comm.on_root(create)
    if comm.rank != 0:
        directory.join(path)
    if options.reduce == "exact" and threads != 1:
        out.warn(
            f"{threads} BLAS threads a rank, as asked for: the bits may differ from those of one"
        )
    place = "none: this is a dry run" if options.dry_run else str(path)
    facts_to_tell = header(options, trainer, comm, threads, place, start.resumed)
    if start.initial:
        facts_to_tell["initial weights"] = start.initial
    facts_to_tell |= changed(start.changed)
    out.header(facts_to_tell, layer_table(trainer.network))
    trainer.log.begin(state, comm.hosts, start.changed)
