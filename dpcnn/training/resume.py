"""What a run starts from: its run directory, and a checkpoint or none. For rank 0 alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dpcnn.data.sources.find import DIGITS, locate
from dpcnn.errors import CheckpointError, OptionError
from dpcnn.models.zoo import ZOO
from dpcnn.options import (
    Change,
    Differences,
    Options,
    change_from,
    check_order,
    check_together,
    differences,
    resumed_with_changes,
)
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RUNS, RunDirectory

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """The run directory, the options in force, and the checkpoint to go on from, if any.

    named: the options that the user named, or named when the run began. resumed: of which run this
    is the continuation, and why of that, in words; "" for a new run. initial: whose weights it
    begins with, in words. changes: what --resume_with has changed so far; changed: and what now.
    """

    directory: RunDirectory
    options: Options
    named: frozenset[str]
    checkpoint: Checkpoint | None = None
    resumed: str = ""
    initial: str = ""
    changes: Sequence[Change] = ()
    changed: Differences = field(default_factory=dict)


def find_start(options: Options, named: frozenset[str], warn: Warn) -> Start:
    """Return what the options ask to start from; `named` are the options that the user named.

    On resuming, the other options are the checkpoint's. Raises OptionError or CheckpointError.
    """
    if options.resume is None:
        _check_new(options)
        return Start(_new_directory(options), options, named)
    if options.resume == "auto":
        return _resume_auto(options, named, warn)
    directory, checkpoint = _read_named(Path(options.resume), options, warn)
    return _from_checkpoint(directory, checkpoint, options, named)


def _resume_auto(options: Options, named: frozenset[str], warn: Warn) -> Start:
    """Return the start from the newest sound checkpoint, or from the options of a run without one.

    Where there is no run it is the start of a new one. A run whose checkpoints cannot be read is
    not begun anew: they would be written over.
    """
    if options.run_dir is None:
        found, why = _newest_run(options, named, warn), f"; the newest run in {RUNS}/"
        directory = found or RunDirectory.new()
    else:
        directory, why = RunDirectory(Path(options.run_dir)), ""
    checkpoint = directory.newest_checkpoint(warn)
    if checkpoint is not None:
        return _from_checkpoint(directory, checkpoint, options, named, why)
    if directory.checkpoint_steps():
        raise CheckpointError(
            f"--resume auto: no checkpoint in {directory.path} can be read, expected a sound one:"
            " name another directory with --run_dir to begin anew"
        )
    recorded = directory.recorded_options()
    if recorded is None:
        _check_new(options)
        return Start(directory, options, named)
    before, options = resumed_with_changes(options, named, recorded, "the run")
    return Start(
        directory,
        options,
        _with_model(options, named, directory),
        resumed=f"from the beginning, with its options, as it has no checkpoint yet{why}",
        changed=differences(before, options),
    )


def _check_new(options: Options) -> None:
    """Raise OptionError for options that do not go together, or not with a new run."""
    check_together(options)
    if options.resume_with is not None:
        raise OptionError(
            f"--resume_with is {options.resume_with}, and no run is resumed: expected one, such as"
            " --resume auto; of a new run set the options themselves"
        )


def _from_checkpoint(
    directory: RunDirectory,
    checkpoint: Checkpoint,
    options: Options,
    named: frozenset[str],
    why: str = "",
) -> Start:
    """Return the start from a checkpoint, with its options."""
    step, epoch = (checkpoint.progress[name] for name in ("step", "epoch"))
    where = f"after step {step}, epoch {epoch}{why}"
    check_order(checkpoint.changes, step)
    before, options = resumed_with_changes(options, named, checkpoint.options)
    changed = differences(before, options)
    changes = [*checkpoint.changes, *([change_from(before, step)] if changed else [])]
    return Start(directory, options, named, checkpoint, where, changes=changes, changed=changed)


def _with_model(options: Options, named: frozenset[str], directory: RunDirectory) -> frozenset[str]:
    """Return the named options with the recorded model, if it is the zoo's.

    Raises CheckpointError for a network of the user's own: only what the user names is imported.
    """
    if options.model is None or "model" in named:
        return named
    if options.model not in ZOO:
        raise CheckpointError(
            f"--resume auto: {directory.path} has no checkpoint, and its network is not dpcnn's:"
            f" expected --model as it began, {options.model}"
        )
    return named | {"model"}


def check_network(directory: RunDirectory, network: list[dict[str, Any]]) -> None:
    """Raise OptionError unless a run without a checkpoint began with these layers, if it tells."""
    recorded = directory.recorded_network()
    if recorded is None or recorded == json.loads(json.dumps(network)):
        return
    layers = zip_longest(recorded, network)
    number, (before, now) = next(
        (number, pair) for number, pair in enumerate(layers, 1) if pair[0] != pair[1]
    )
    raise OptionError(
        f"--resume auto: {directory.path} began with another network: its layer {number} is"
        f" {_in_words(before)}, found {_in_words(now)}: name the same with --model, or pass it to"
        " dpcnn.train"
    )


def _in_words(layer: dict[str, Any] | None) -> str:
    return "missing" if layer is None else json.dumps(layer)


def _newest_run(options: Options, named: frozenset[str], warn: Warn) -> RunDirectory | None:
    """Return the newest run in runs/ that nobody writes to, of the data that the user named."""
    for directory in RunDirectory.newest_first():
        user = directory.user()
        if user is not None:
            warn(f"{directory.path} is not resumed: in use by another run ({user})")
        elif "dataroot" in named and _is_of_other_data(directory, options.dataroot):
            warn(f"{directory.path} is not resumed: it is of other data than {options.dataroot}")
        else:
            return directory
    return None


def _is_of_other_data(directory: RunDirectory, dataroot: str) -> bool:
    """Tell whether a run is certainly not of this data; the fingerprint tells the rest later."""
    try:
        recorded = (directory.recorded_options() or {}).get("dataroot")
    except CheckpointError:
        return False
    places = locate(dataroot), locate(str(recorded))
    if DIGITS in places:
        return places[0] != places[1]
    sizes = {os.stat(place).st_size for place in places if place and os.path.isfile(place)}
    return len(sizes) > 1


def _new_directory(options: Options) -> RunDirectory:
    """Return --run_dir or a new one; never one that would be lost."""
    if options.run_dir is None:
        return RunDirectory.new()
    directory = RunDirectory(Path(options.run_dir))
    if directory.has_run():
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
    directory.before = around.path
    return directory, checkpoint
