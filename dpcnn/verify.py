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
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpcnn.cli.arguments import CommandLine, add_model
from dpcnn.cli.job import Job, run
from dpcnn.errors import CheckpointError, DpcnnError

if TYPE_CHECKING:
    from dpcnn.training.trainer import Trainer

Parameters = dict[str, dict[str, Any]]  # layer -> parameter -> array


class VerificationError(DpcnnError):
    """The recorded bits are not those that the options, the data and the seed give."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    return run(lambda: _parse(arguments), _verify)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.verify",
        description="Compute epochs of a run again and compare the weights bit by bit.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory, such as runs/NAME")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--epoch", type=int, metavar="K", help="epoch K (default: the newest)")
    which.add_argument("--all", action="store_true", help="every epoch, from the initial weights")
    parser.add_argument("--dataroot", help="where the dataset is now (default: as recorded)")
    add_model(parser)
    return parser.parse_args(arguments)


def _verify(job: Job, arguments: argparse.Namespace) -> int:
    """Replay from the newest checkpoint before the first epoch in question; compare, tell."""
    from dpcnn.training.console import console
    from dpcnn.training.setup import reopen

    job.comm.together(lambda: _check_files(arguments.run), only=job.comm.rank == 0)
    first = 1 if arguments.all else arguments.epoch
    out = console("none", job.comm.rank)
    trainer = reopen(arguments.run, first, arguments.dataroot, arguments.model, job.comm)
    recorded = trainer.metrics
    first, begun = first or len(recorded), trainer.position.step
    for line in recorded[trainer.position.epoch - 1 : arguments.epoch]:
        trainer.replay_epoch()
        if line["epoch"] >= first:
            _compare(trainer, line)
            out.line(f"Epoch {line['epoch']}, the same bits: {line['weights_sha256']}")
    out.line(f"{trainer.position.step - begun:,} steps verified")
    return 0


def _compare(trainer: Trainer, line: dict[str, Any]) -> None:
    """Raise VerificationError, on all ranks, unless the weights are those recorded for the epoch.

    Recorded are their SHA-256, among the epoch's metrics, and a checkpoint while it is kept.
    """
    from dpcnn.run.checkpoint import read

    path = trainer.directory.checkpoint_path(line["step"])
    kept = trainer.comm.bcast(path.exists())
    if kept:
        recorded = trainer.comm.bcast(read(path).model if trainer.comm.rank == 0 else {})
        difference = _first_difference(trainer.network.named_parameters(), recorded)
        if difference:
            raise VerificationError(f"epoch {line['epoch']}: {difference} in {path}").on_all_ranks()
    found = trainer.weights_sha256()
    if found != line["weights_sha256"]:
        raise VerificationError(
            f"epoch {line['epoch']}: the weights' SHA-256 is {found}, recorded is"
            f" {line['weights_sha256']}"
        ).on_all_ranks()


def _check_files(run: Path) -> None:
    """Raise VerificationError for a damaged checkpoint, whichever epochs are in question."""
    from dpcnn.run.directory import RunDirectory

    for _, found in RunDirectory(run).read_checkpoints():
        if isinstance(found, CheckpointError):
            raise VerificationError(str(found))


def _first_difference(found: Parameters, recorded: Parameters) -> str | None:
    """Return the first parameter, in layer order, that is not the recorded one, in words."""
    for layer, parameters in found.items():
        for name, values in parameters.items():
            others = recorded.get(layer, {}).get(name)
            if others is None or others.shape != values.shape:
                return f"{layer}/{name} has shape {values.shape}, which is not the recorded"
            for index in zip(*(values.view("u4") != others.view("u4")).nonzero(), strict=True):
                where = ", ".join(map(str, index))
                return (
                    f"{layer}/{name}[{where}] is {values[index]:.9g}, recorded {others[index]:.9g}"
                )
    return None


if __name__ == "__main__":
    sys.exit(main())
