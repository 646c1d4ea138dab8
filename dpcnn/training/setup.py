"""How a run starts: run directory, checkpoint or none, options, dataset, and then a Trainer.

Collective functions: rank 0 decides and tells the others; an error of one is raised by all. What
can be wrong is found before the run directory is touched.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpcnn.data.dataset import Dataset, check, write_mapped
from dpcnn.data.loader import Loader
from dpcnn.data.sampler import StreamOrder, auto_microbatch_size
from dpcnn.data.sources import find
from dpcnn.errors import CheckpointError, OptionError
from dpcnn.models.build import check_memory, check_parameters, image_shape, plan_network
from dpcnn.models.user import import_layers, own_layers
from dpcnn.nn import Layer
from dpcnn.nn.config import to_config
from dpcnn.nn.network import Network
from dpcnn.options import Options, resumed
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.membership import enter
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory
from dpcnn.run.loggers import tensorboard
from dpcnn.system.environment import collect
from dpcnn.training.console import Console, console, on_terminal
from dpcnn.training.recovery import meet
from dpcnn.training.trainer import Trainer
from dpcnn.version import __version__


def prepare(
    options: Options,
    given: frozenset[str],
    comm: Communicator,
    threads: int,
    layers: Sequence[Layer] | None = None,
) -> Trainer:
    """Return the trainer that the options ask for, its header printed; collective.

    `given` are the options the user named, `threads` the BLAS threads of a rank, `layers` those
    of the user's own network, if they are not named by --model. Raises OptionError, DataError or
    CheckpointError, on all ranks.
    """
    out = console(options.progress, comm.rank)
    own = _own_layers(options, given, comm, layers)
    start = find_start(options, given, comm, out)
    options = start.options
    ranks = comm.node.size
    if options.tensorboard:
        comm.together(tensorboard.check)
    network = comm.together(lambda: _network(options, start.checkpoint, own, ranks))
    assert network is not None, "together has raised where it could not be built"
    network.initialize(options.seed)
    dataset = open_dataset(options, comm, out)
    comm.together(lambda: check_memory(options, network.plan, len(dataset.train), ranks))
    trainer = Trainer(options, network, dataset, comm, out, start.directory)
    if start.checkpoint is not None:
        trainer.restore(start.checkpoint)
    with contextlib.ExitStack() as undo:
        # Before a step that all ranks make together: once the header is out, no rank dies of a
        # signal.
        undo.enter_context(trainer.requests)
        undo.callback(trainer.directory.release)
        _begin(trainer, threads)
        undo.pop_all()
    return trainer


def _network(
    options: Options, checkpoint: Checkpoint | None, own: Sequence[Layer] | None, ranks: int = 1
) -> Network:
    """Return the network of a run, checked before it takes memory; its parameters are 0."""
    plan = plan_network(options, None if checkpoint is None else checkpoint.network, own)
    if checkpoint is not None:
        check_parameters(checkpoint.model, checkpoint.optimizer, plan)
    check_memory(options, plan, 1, ranks)
    return Network(plan)


def _begin(trainer: Trainer, threads: int) -> None:
    """Make the run directory this run's, and print the header; collective."""
    options, comm, directory = trainer.options, trainer.comm, trainer.directory
    environment = collect(__version__, comm.hosts, comm.library, threads)
    comm.together(
        lambda: directory.create(options.as_dict(), environment, trainer.metrics),
        only=comm.rank == 0,
    )
    path = comm.bcast(directory.path)
    if comm.rank != 0:
        directory.join(path)
    if options.reduce == "exact" and threads != 1:
        trainer.console.warn(
            f"{threads} BLAS threads a rank, as asked for: the bits may differ from those of one"
        )
    trainer.console.header(header(trainer, threads), layer_table(trainer.network))


def _own_layers(
    options: Options, given: frozenset[str], comm: Communicator, layers: Sequence[Layer] | None
) -> list[Layer] | None:
    """Return the layers of the user's own network, None for the tutorial's; collective.

    Raises OptionError, on all ranks, where some rank has no such layers, or others than rank 0.
    """
    own = comm.together(lambda: own_layers(options, given, layers))
    networks = comm.allgather(own and to_config(own))
    others = [rank for rank, network in enumerate(networks) if network != networks[0]]
    if others:
        raise OptionError(
            f"rank {others[0]} has the network {networks[others[0]]}, expected that of rank 0,"
            f" {networks[0]}"
        ).on_all_ranks()
    return own


def reopen(
    run: Path, epoch: int | None, dataroot: str | None, model: str | None, comm: Communicator
) -> Trainer:
    """Return the trainer of a run before an epoch (None: the newest), to compute it again.

    Collective; nothing of the run is touched. Starts from the newest sound checkpoint at the
    beginning of that epoch or an earlier one, or from the initial weights. `dataroot` stands in
    for the recorded one; `model` names the function that makes the layers, needed where they are
    not dpcnn's. Raises OptionError or CheckpointError, on all ranks.
    """
    directory = RunDirectory(run)

    def find() -> tuple[Checkpoint, Checkpoint | None]:
        sound = [
            found for _, found in directory.read_checkpoints() if isinstance(found, Checkpoint)
        ]
        if not sound:
            raise CheckpointError(f"{run}: no sound checkpoint, expected a run directory")
        epochs = len(sound[0].metrics)
        if epochs == 0:
            raise CheckpointError(f"{run}: no epoch is finished, expected at least one")
        if sound[0].options["reduce"] != "exact":
            raise CheckpointError(f"{run}: trained with --reduce fast, expected --reduce exact")
        if epoch is not None and not 1 <= epoch <= epochs:
            raise OptionError(f"--epoch is {epoch}, expected 1 to {epochs}, the epochs of {run}")
        start = [
            found
            for found in sound
            if found.progress["epoch_step"] == 0 and found.progress["epoch"] <= (epoch or epochs)
        ]
        return sound[0], next(iter(start), None)

    newest, found = comm.bcast(comm.together(find, only=comm.rank == 0)) or (None, None)
    assert newest is not None, "rank 0 has found one or raised"
    trainer = _trainer_of(newest, directory, dataroot, model, comm)
    if found is not None:
        trainer.restore(found)
    trainer.metrics = newest.metrics
    return trainer


def stand_in(comm: Communicator) -> Trainer:
    """Return the trainer of a newcomer, which takes the place of a rank that died.

    It is one of a single process, and of the state that rank 0 tells, until it joins the others.
    """

    def prepare(told: tuple[Checkpoint, Path, str | None]) -> Trainer:
        checkpoint, path, model = told
        trainer = _trainer_of(checkpoint, RunDirectory(path), None, model, Communicator())
        trainer.adopt(checkpoint)
        trainer.directory.join(path)
        trainer.requests.listen()
        return trainer

    def meet_others(trainer: Trainer) -> None:
        trainer.comm = comm
        meet(trainer)

    return enter(comm, prepare, meet_others)


def _trainer_of(
    checkpoint: Checkpoint,
    directory: RunDirectory,
    dataroot: str | None,
    model: str | None,
    comm: Communicator,
) -> Trainer:
    """Return a trainer that prints nothing, of the checkpoint's options and data; collective.

    Its weights are the initial ones. `dataroot` and `model` as for `reopen`.
    """
    options = resumed(Options(), frozenset(), checkpoint.options)
    if dataroot is not None:
        options = replace(options, dataroot=dataroot)
    silent = Console()
    own = comm.together(lambda: import_layers(model) if model else None)
    network = comm.together(lambda: _network(options, checkpoint, own))
    assert network is not None, "together has raised where it could not be built"
    network.initialize(options.seed)
    dataset = open_dataset(options, comm, silent)
    trainer = Trainer(options, network, dataset, comm, silent, directory)
    trainer.check_dataset(checkpoint)
    return trainer


@dataclass(frozen=True)
class Start:
    """The run directory, the options in force, and the checkpoint to go on from, if any."""

    directory: RunDirectory
    options: Options
    checkpoint: Checkpoint | None


def find_start(
    options: Options, given: frozenset[str], comm: Communicator, console: Console
) -> Start:
    """Return what the options ask to start from; collective.

    `given` are the options the user named: on resuming, the others are the checkpoint's. Raises
    OptionError or CheckpointError.
    """
    start = comm.together(lambda: _find(options, given, console), only=comm.rank == 0)
    start = comm.bcast(start)
    assert start is not None, "rank 0 has found a start or raised"
    if start.options.microbatch_size is not None:
        return start
    size = auto_microbatch_size(start.options.minibatch_size, comm.size)
    return replace(start, options=replace(start.options, microbatch_size=size))


def _find(options: Options, given: frozenset[str], console: Console) -> Start:
    if options.resume in (None, "auto"):
        directory = _directory(options)
        found = directory.newest_checkpoint(console.warn) if options.resume == "auto" else None
    else:
        directory, found = _named(Path(options.resume), options, console)
    if found is None:
        return Start(directory, options, None)
    return Start(directory, resumed(options, given, found.options), found)


def _directory(options: Options) -> RunDirectory:
    """Return --run_dir, the newest run to resume, or a new one; never one that would be lost."""
    if options.run_dir is None:
        newest = RunDirectory.newest() if options.resume == "auto" else None
        return newest or RunDirectory.new()
    directory = RunDirectory(Path(options.run_dir))
    if options.resume is None and directory.has_run():
        raise OptionError(
            f"--run_dir {directory.path}: holds a run already, expected a new directory:"
            " go on with it with --resume auto, or name another"
        )
    return directory


def _named(path: Path, options: Options, console: Console) -> tuple[RunDirectory, Checkpoint]:
    """Return --run_dir, or the run directory around it, and the checkpoint --resume PATH names."""
    if os.path.isdir(path):
        around = RunDirectory(path)
        found = around.newest_checkpoint(console.warn)
        if found is None:
            raise CheckpointError(f"--resume {path}: no sound checkpoint in this run directory")
    else:
        found = checkpoints.read(path)
        around = RunDirectory(path.absolute().parent.parent)
        if around.checkpoint_path(found.progress["step"]) != path.absolute():
            around = RunDirectory.new()
    if options.run_dir is None:
        return around, found
    directory = RunDirectory(Path(options.run_dir))
    if directory.has_run() and directory.path.resolve() != around.path.resolve():
        raise OptionError(
            f"--run_dir {directory.path}: holds another run than --resume {path}, expected a new"
            " directory or that of the checkpoint"
        )
    return directory, found


def open_dataset(options: Options, comm: Communicator, console: Console) -> Dataset:
    """Return the dataset, one copy of it for all ranks of a node; collective.

    Rank 0 finds or downloads it; the first rank of each node reads it and writes the arrays to a
    file that its neighbours map. With --stream it stays on the disk, where each rank has it open.
    Raises DataError.
    """
    progress = options.progress == "bar" or (options.progress == "auto" and on_terminal())
    root = comm.together(
        lambda: find.resolve(options.dataroot, options.mirror, progress, console.warn),
        only=comm.rank == 0,
    )
    root = comm.bcast(root)
    assert root is not None, "rank 0 has found a dataset or raised"
    shape = image_shape(options)

    with find.scratch(options.stream) as folder:

        def load() -> Dataset:
            stored = folder if options.stream else None
            dataset = find.load(root, shape, options.num_class, stored)
            dataset = dataset.limited(options.train_limit, options.test_limit)
            check(dataset, shape, options.num_class, comm.size)
            return dataset

        dataset = comm.together(load, only=comm.node.rank == 0)
        return _share(dataset, comm.node, None if options.stream else folder / "dataset")


def _share(dataset: Dataset | None, node: Communicator, path: Path | None) -> Dataset:
    """Return the first rank's dataset on every rank of the node; None: it is on the disk already.

    Else it is written to a new file, which is memory that they share.
    """
    if node.size == 1:
        assert dataset is not None, "the first rank of the node has read it"
        return dataset
    mapped = None if dataset is None or path is None else write_mapped(dataset, path)
    mapped, stored = node.bcast((mapped, dataset if path is None else None))
    shared = stored if mapped is None else mapped.open()
    assert shared is not None, "the first rank of the node has read it"
    node.allgather(None)  # all have it open: the files may go, their contents stay
    return shared


def header(trainer: Trainer, threads: int) -> dict[str, str]:
    """Return what is about to be trained, in words by name."""
    options, comm, data = trainer.options, trainer.comm, trainer.dataset
    hosts = ", ".join(f"{comm.hosts.count(host)} on {host}" for host in dict.fromkeys(comm.hosts))
    shape = " x ".join(map(str, data.train.shape))
    facts = {
        "dataset": data.source,
        "images": f"{len(data.train):,} to train on, {len(data.test):,} to test on, {shape}",
        **_streaming(trainer.loader),
        "ranks": f"{comm.size} ({hosts}), BLAS threads a rank: {threads}",
        "MPI": comm.library,
        "minibatch": f"{options.minibatch_size} images, in micro-batches of"
        f" {options.microbatch_size}; {trainer.steps_in_epoch:,} steps an epoch",
        **_smaller_microbatch(options, comm.size),
        "reduction": options.reduce,
        **({"model": options.model} if options.model else {}),
        "parameters": f"{trainer.network.parameters.size:,}",
        "run directory": str(trainer.directory.path),
    }
    if trainer.position.step:
        facts["resumed"] = f"after step {trainer.position.step}, epoch {trainer.position.epoch}"
    return facts


def _streaming(loader: Loader) -> dict[str, str]:
    """Return a line for the header if the images stay on the disk: what the order depends on."""
    order = loader.order(1)
    if not isinstance(order, StreamOrder):
        return {}
    return {
        "stream": f"read in chunks of {order.chunk:,} images,"
        f" shuffled in windows of {order.chunk * order.window:,}"
    }


def _smaller_microbatch(options: Options, size: int) -> dict[str, str]:
    """Return a line for the header if the micro-batch is smaller because of the ranks."""
    usual = auto_microbatch_size(options.minibatch_size)
    if options.microbatch_size == usual or options.microbatch_size != auto_microbatch_size(
        options.minibatch_size, size
    ):
        return {}
    return {
        "note": f"micro-batches of {usual} would leave some of {size} ranks without work;"
        f" the bits differ from a run with {usual}"
    }


def layer_table(network: Network) -> list[tuple[str, str, str, str]]:
    """Return a row of words for each layer: name, what it is, output shape, parameters."""
    return [
        (row.name, row.layer, "x".join(map(str, row.output_shape)), f"{row.parameters:,}")
        for row in network.plan.table()
    ]
