"""Verify a run: compute an epoch again and compare the weights with the recorded ones.

    python -m dpcnn.verify RUN                  the newest epoch
    python -m dpcnn.verify RUN --epoch K        epoch K
    python -m dpcnn.verify RUN --all            every epoch, from the initial weights on
    mpirun -n 4 python -m dpcnn.verify RUN      on any number of ranks

A run is a function of its options, its data and its seed. Agreement proves that the result is what
the options say; a difference points to a changed file, faulty memory, another library or another
kind of CPU. Exit code 0: the same bits; 1: not the same; 2: nothing here can be verified.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dpcnn.cli.arguments import CommandLine, add_model, file_path
from dpcnn.cli.job import Job, run
from dpcnn.errors import CheckpointError, DpcnnError
from dpcnn.run.checkpoint import Checkpoint, read
from dpcnn.run.directory import RunDirectory
from dpcnn.training.console import console
from dpcnn.training.replay import recorded_epochs, reopen, replay_epoch
from dpcnn.training.trainer import Trainer

Parameters = Mapping[str, Mapping[str, NDArray[Any]]]  # layer -> parameter -> array


class VerificationError(DpcnnError):
    """The recorded bits are not those that the options, the data and the seed give."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    return run(lambda: _parse(arguments), _verify)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.verify",
        description="Recompute epochs of a run and compare the weights bit by bit.",
    )
    parser.add_argument(
        "run", type=file_path, metavar="RUN", help="run directory, such as runs/NAME"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--epoch", type=int, metavar="K", help="epoch K (default: the newest)")
    which.add_argument("--all", action="store_true", help="every epoch, from the initial weights")
    parser.add_argument(
        "--dataroot",
        type=os.path.expanduser,
        help="where the dataset is now (default: where it was)",
    )
    add_model(parser)
    return parser.parse_args(arguments)


def _verify(job: Job, options: argparse.Namespace) -> int:
    """Replay from the newest checkpoint before the first epoch in question; compare, tell."""
    comm, out = job.comm, console("none", job.comm.rank)
    comm.on_root(lambda: _check_files(options.run))
    first_epoch = 1 if options.all else options.epoch
    trainer, newest = reopen(options.run, first_epoch, options.dataroot, options.model, comm)
    trainer.attach()
    state, begun = trainer.state, trainer.state.progress.step
    first_epoch = first_epoch or newest.epochs
    lines = comm.on_root(lambda: recorded_epochs(options.run, newest))
    for line in lines[state.progress.epoch - 1 : options.epoch]:
        replay_epoch(trainer, line)
        if line["epoch"] >= first_epoch:
            _compare(trainer, line, RunDirectory(options.run))
            out.line(f"Epoch {line['epoch']}, the same bits: {line['weights_sha256']}")
    count = state.progress.step - begun
    out.line(f"{count:,} step{'s' * (count != 1)} verified")
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
