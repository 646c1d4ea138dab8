"""Verifying a run: its epochs are computed again and compared with what it has recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dpcnn.cli.job import together
from dpcnn.errors import CheckpointError, DpcnnError
from dpcnn.parallel.communicator import Communicator
from dpcnn.run.checkpoint import Checkpoint, read
from dpcnn.run.directory import RunDirectory
from dpcnn.training.replay import recorded_epochs, reopen, replay_epoch
from dpcnn.training.trainer import Trainer

Parameters = Mapping[str, Mapping[str, NDArray[Any]]]  # layer -> parameter -> array


class VerificationError(DpcnnError):
    """The recorded bits are not those that the options, the data and the seed give."""


def verify(
    run: str | Path,
    *,
    epoch: int | None = None,
    all: bool = False,
    dataroot: str | Path | None = None,
    model: str | None = None,
) -> int:
    """Compute an epoch of a run again, and return how many steps have given the recorded bits.

    As `python -m dpcnn.verify` does, under mpirun too. epoch: which (None: the newest); all: every
    one, from the initial weights. dataroot: where the dataset is now; model: MODULE:FUNCTION, if
    some layers are your own. Raises VerificationError for other bits, DpcnnError for what cannot be
    verified.
    """
    root = None if dataroot is None else str(dataroot)
    first = 1 if all else epoch
    return together(lambda comm: verify_run(comm, Path(run), first, epoch, root, model))


def verify_run(
    comm: Communicator,
    run: Path,
    first: int | None,
    last: int | None,
    dataroot: str | None,
    model: str | None,
    tell: Callable[[str], None] = lambda line: None,
) -> int:
    """Replay from the newest checkpoint before the first epoch in question; compare; collective.

    first, last: epochs, None for the newest. tell: is called with a line for each epoch. Returns
    the number of steps.
    """
    comm.on_root(lambda: _check_files(run))
    trainer, newest = reopen(run, first, dataroot, model, comm)
    trainer.attach()
    state, begun = trainer.state, trainer.state.progress.step
    first = first or newest.epochs
    lines = comm.on_root(lambda: recorded_epochs(run, newest))
    for line in lines[state.progress.epoch - 1 : last]:
        replay_epoch(trainer, line)
        if line["epoch"] >= first:
            _compare(trainer, line, RunDirectory(run))
            tell(f"Epoch {line['epoch']}, the same bits: {line['weights_sha256']}")
    return state.progress.step - begun


def _compare(trainer: Trainer, line: dict[str, Any], directory: RunDirectory) -> None:
    """Raise VerificationError, on all ranks, unless the weights are those recorded for the epoch.

    Recorded are their SHA-256, among the epoch's metrics, and a checkpoint while it is kept.
    """
    comm, network = trainer.comm, trainer.network
    path = directory.checkpoint_path(line["step"])
    recorded = comm.on_root(lambda: read(path) if path.exists() else None)
    if recorded is not None:
        difference = _difference(trainer.state.checkpoint(), recorded)
        if difference:
            raise VerificationError(f"epoch {line['epoch']}: {difference} in {path}").on_all_ranks()
    sha256 = network.weights_sha256()
    if sha256 != line["weights_sha256"]:
        raise VerificationError(
            f"epoch {line['epoch']}: the weights' SHA-256 is {sha256}, recorded is"
            f" {line['weights_sha256']}"
        ).on_all_ranks()


def _check_files(run: Path) -> None:
    """Raise VerificationError for a damaged checkpoint, whichever epochs are in question."""
    for _, checkpoint in RunDirectory(run).read_checkpoints():
        if isinstance(checkpoint, CheckpointError):
            raise VerificationError(str(checkpoint))


def _difference(computed: Checkpoint, recorded: Checkpoint) -> str | None:
    """Return the first value of a state that is not the recorded one, in words."""
    return (
        _first_difference(computed.model, recorded.model)
        or _first_difference(computed.average, recorded.average, "average/")
        or _first_difference({"optimizer": computed.optimizer}, {"optimizer": recorded.optimizer})
    )


def _first_difference(computed: Parameters, recorded: Parameters, prefix: str = "") -> str | None:
    """Return the first parameter, in layer order, that is not the recorded one, in words.

    prefix: what comes before the names of the layers.
    """
    for layer, parameters in computed.items():
        for name, values in parameters.items():
            others = recorded.get(layer, {}).get(name)
            if others is None or others.shape != values.shape:
                return f"{prefix}{layer}/{name} has shape {values.shape}, unlike the recorded one"
            for index in zip(*(values.view("u4") != others.view("u4")).nonzero(), strict=True):
                where = ", ".join(map(str, index))
                return (
                    f"{prefix}{layer}/{name}[{where}] is {values[index]:.9g},"
                    f" recorded {others[index]:.9g}"
                )
    return None
