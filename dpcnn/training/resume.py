"""What a run starts from: its run directory, and a checkpoint or none. For rank 0 alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.options import Options, check_together, resumed
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """The run directory, the options in force, and the checkpoint to go on from, if any."""

    directory: RunDirectory
    options: Options
    checkpoint: Checkpoint | None


def find_start(options: Options, named: frozenset[str], warn: Warn) -> Start:
    """Return what the options ask to start from; `named` are the options that the user named.

    On resuming, the other options are the checkpoint's. Raises OptionError or CheckpointError.
    """
    if options.resume in (None, "auto"):
        directory = _choose_directory(options)
        checkpoint = directory.newest_checkpoint(warn) if options.resume == "auto" else None
    else:
        directory, checkpoint = _read_named(Path(options.resume), options, warn)
    if checkpoint is None:
        check_together(options)
        return Start(directory, options, None)
    return Start(directory, resumed(options, named, checkpoint.options), checkpoint)


def _choose_directory(options: Options) -> RunDirectory:
    """Return --run_dir, the newest run to resume, or a new one; never one that would be lost."""
    if options.run_dir is None:
        newest = RunDirectory.newest() if options.resume == "auto" else None
        return newest or RunDirectory.new()
    directory = RunDirectory(Path(options.run_dir))
    if options.resume is None and directory.has_run():
        raise OptionError(
            f"--run_dir {directory.path}: holds a run already, expected a new directory:"
            " name another, or resume this run with --resume auto"
        )
    return directory


def _read_named(path: Path, options: Options, warn: Warn) -> tuple[RunDirectory, Checkpoint]:
    """Return the checkpoint that --resume PATH names, and --run_dir or the run that it lies in."""
    if os.path.isdir(path):
        around = RunDirectory(path)
        checkpoint = around.newest_checkpoint(warn)
        if checkpoint is None:
            raise CheckpointError(f"--resume {path}: no sound checkpoint in this run directory")
    else:
        checkpoint = checkpoints.read(path)
        around = RunDirectory(path.absolute().parent.parent)
        if around.checkpoint_path(checkpoint.progress["step"]) != path.absolute():
            around = RunDirectory.new()
    if options.run_dir is None:
        return around, checkpoint
    directory = RunDirectory(Path(options.run_dir))
    if directory.has_run() and directory.path.resolve() != around.path.resolve():
        raise OptionError(
            f"--run_dir {directory.path}: holds another run than --resume {path}, expected a new"
            " directory or the checkpoint's own"
        )
    return directory, checkpoint
