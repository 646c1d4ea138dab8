"""The run directory: what lies where, which checkpoints stay, which run is the newest.

runs/NAME/
  options.json  network.json  environment.json
  metrics.jsonl  metrics.csv  steps.jsonl  events.jsonl  outcome.json  .lock
  checkpoints/step-00000938.h5  checkpoints/best.h5
  errors/rank-N.txt
  tensorboard/events.out.tfevents.*    with --tensorboard
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run import events, loggers, outcome, steps, validation
from dpcnn.run.best import best_epoch
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.history import all_epochs
from dpcnn.run.lock import Lock
from dpcnn.run.loggers.logger import Metrics
from dpcnn.system.files import (
    link_atomically,
    make_folder,
    open_inside,
    refuse_links,
    write_atomically,
)
from dpcnn.system.text import one_line, warn

RUNS = Path("runs")
OPTIONS = "options.json"
NETWORK = "network.json"
LONGEST = 1 << 20  # bytes that are read of either
ENVIRONMENT = "environment.json"
FOLDER = "checkpoints"
BEST = "best.h5"  # in FOLDER: another name of the checkpoint after the best epoch
ERRORS = "errors"
# What is added to, and never replaced: a link here would have a file elsewhere changed.
KEPT = (events.NAME, steps.NAME, ERRORS, loggers.tensorboard.FOLDER)
_STEP = re.compile(r"step-(\d{8,})\.h5")


class RunDirectory:
    """One run's directory. Creating the object touches nothing on the disk.

    unnamed: whether `create` may choose another name. loggers: what the metrics are kept by.
    before: the directory that the run comes from, where it goes on in another.
    """

    def __init__(self, path: Path, unnamed: bool = False) -> None:
        self.path = path
        self.unnamed = unnamed
        self.loggers = loggers.choose(tensorboard=False)
        self.before: Path | None = None
        self._lock = Lock(path)
        self._metrics_lack_lines = True
        self.made_again = False

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / FOLDER

    @classmethod
    def new(cls) -> RunDirectory:
        """Return runs/DATE-TIME; `create` appends a number if another run has that name."""
        return cls(RUNS / time.strftime("%Y%m%d-%H%M%S"), unnamed=True)

    @classmethod
    def newest_first(cls) -> list[RunDirectory]:
        """Return the runs in runs/, the one first that was started or saved last."""
        runs = [path.parent for path in RUNS.glob(f"*/{OPTIONS}")]
        return [cls(run) for run in sorted(runs, key=_last_change, reverse=True)]

    def aside(self) -> RunDirectory:
        """Return a new directory on the same disk, hidden, for a run that is not kept."""
        place = next(parent for parent in self.path.absolute().parents if parent.is_dir())
        aside = RunDirectory(place / f".dpcnn-{uuid.uuid4().hex[:12]}")
        aside.before = self.before or self.path
        return aside

    def remove(self) -> None:
        """Remove all that is here, as far as the disk lets go of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def user(self) -> str | None:
        """Return the process that writes here, in words; None if there is none."""
        return self._lock.holder()

    def recorded_options(self) -> dict[str, Any] | None:
        """Return the options that a run began with here, None if no run has.

        Raises CheckpointError if they cannot be read.
        """
        options: dict[str, Any] | None = self._recorded(OPTIONS, validation.check_options)
        return options

    def recorded_network(self) -> list[dict[str, Any]] | None:
        """Return the configs of the layers that a run began with here, None if no run has.

        Raises CheckpointError if they cannot be read.
        """
        network: list[dict[str, Any]] | None = self._recorded(NETWORK, validation.check_network)
        return network

    def _recorded(self, name: str, check: Callable[[Any], None]) -> Any:
        """Return what was written in a file when the run began, None without it."""
        path = self.path / name
        if not os.path.lexists(path):
            return None
        try:
            with open_inside(self.path, name) as file:
                value = validation.parse(file.read(LONGEST))
            check(value)
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            what = path.stem
            raise CheckpointError(f"{path}: {reason}, expected the {what} of the run") from error
        return value

    def has_run(self) -> bool:
        """Tell whether a run has been kept here."""
        return os.path.exists(self.path / OPTIONS) or bool(self.checkpoint_steps())

    def create(
        self,
        options: dict[str, Any],
        environment: dict[str, Any],
        metrics: Sequence[Metrics] = (),
        network: Sequence[dict[str, Any]] = (),
        step: int = 0,
    ) -> None:
        """Make the directory this process's to write in, of a run with these options and layers.

        metrics: those that its state keeps; step: that it goes on from.

        Raises OptionError if that is not possible, or another run writes here.
        """
        try:
            self._make()
            self._lock.acquire()
            (self.path / outcome.NAME).unlink(missing_ok=True)  # before the run is told of
            self._settle(metrics, step)
            self._write(ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
            self._write_identity(options, network)
        except OSError as error:
            raise OptionError(
                f"--run_dir {self.path}: {error.strerror}, expected a directory to write to"
            ) from error

    def join(self, path: Path) -> None:
        """Be ready to take over the directory, which another process of the job has created."""
        self.path = path
        self._lock = Lock(path)
        self._lock.join()

    def take_over(self, metrics: Sequence[Metrics], step: int = 0) -> None:
        """Wait until the process that writes here is gone, and write in its place.

        On a host with a disk of its own the run directory begins here. Raises TakenOverError if
        another job has written here since `join`, and OSError.
        """
        make_folder(self.path, FOLDER)
        refuse_links(self.path, *KEPT)
        self._lock.take_over()
        self._settle(metrics, step)

    def release(self) -> None:
        """Let another process write here."""
        self._lock.release()

    def _make(self) -> None:
        """Make the directories; an unnamed one becomes the first name that no other run has."""
        base, number = self.path, 1
        while True:
            try:
                self.path.mkdir(parents=True, exist_ok=not self.unnamed)
                break
            except FileExistsError:
                if not self.unnamed:
                    raise
                number += 1
                self.path = base.with_name(f"{base.name}-{number}")
        self.unnamed = False
        self._lock = Lock(self.path)
        make_folder(self.path, FOLDER)
        refuse_links(self.path, *KEPT)

    def _make_again(self, checkpoint: Checkpoint) -> None:
        """Make the directory that somebody has removed: a checkpoint has all to go on with."""
        make_folder(self.path, FOLDER)
        self._lock.renew()
        self._write_identity(checkpoint.options, checkpoint.network)
        self._metrics_lack_lines = True
        self.made_again = True

    def _settle(self, metrics: Sequence[Metrics], step: int) -> None:
        """Begin to write here: remove what a killed process left half written."""
        outcome.tell(run_dir=str(self.path))
        for leftover in (*self.path.glob(".*.tmp"), *self.checkpoints.glob(".*.tmp")):
            leftover.unlink(missing_ok=True)
        steps.settle(self.before or self.path, self.path, step)
        self._rewrite_metrics(metrics)
        self._settle_best(metrics)

    def _settle_best(self, metrics: Sequence[Metrics]) -> None:
        """See that the best checkpoint, if there is one, is that of these metrics.

        A killed process may not have come to naming it, and a run that goes on from an earlier
        step may leave the epoch it was of behind.
        """
        best = best_epoch(metrics)
        if best is None or not self._is_sound(self.best_path, best):
            self.best_path.unlink(missing_ok=True)
            if best is not None and self._is_sound(self.checkpoint_path(best["step"]), best):
                link_atomically(self.best_path, self.checkpoint_path(best["step"]))

    def _is_sound(self, path: Path, line: Metrics) -> bool:
        """Tell whether a file is a sound checkpoint after the epoch with this line of metrics."""
        try:
            return _is_after(checkpoints.read(path, directory=self.path), line)
        except CheckpointError:
            return False

    def add_metrics(self, lines: Sequence[Metrics]) -> None:
        """Add the newest of the kept lines to the metrics; after an OSError, all that may lack."""
        if self._metrics_lack_lines:
            self._rewrite_metrics(lines)
            return
        self._metrics_lack_lines = True
        for logger in self.loggers:
            logger.append(self.path, lines[-1])
        self._metrics_lack_lines = False

    def complete_metrics(self, lines: Sequence[Metrics]) -> None:
        """Write the kept lines where some may lack; raises OSError."""
        if self._metrics_lack_lines:
            self._rewrite_metrics(lines)

    def _rewrite_metrics(self, lines: Sequence[Metrics]) -> None:
        self._metrics_lack_lines = True
        for logger in self.loggers:
            logger.rewrite(self.path, all_epochs(self.before or self.path, lines))
        self.before = None
        self._metrics_lack_lines = False

    def write_outcome(self, code: int) -> None:
        """Record that the run has ended by itself, with this exit code, if the disk takes it."""
        outcome.tell(run_dir=str(self.path), exit_code=code)
        with contextlib.suppress(OSError):
            self._write(outcome.NAME, json.dumps({"exit_code": code}) + "\n")

    def write_error(self, rank: int, text: str) -> None:
        """Keep a rank's traceback in errors/rank-N.txt, if the disk takes it."""
        with contextlib.suppress(OSError):
            make_folder(self.path, ERRORS)
            with open_inside(self.path, f"{ERRORS}/rank-{rank}.txt", "w") as file:
                file.write(text)

    def _write_identity(self, options: dict[str, Any], network: Sequence[dict[str, Any]]) -> None:
        """Write what a run without a checkpoint is resumed from."""
        self._write(NETWORK, json.dumps(network, indent=2) + "\n")
        self._write(OPTIONS, json.dumps(options, indent=2) + "\n")

    def _write(self, name: str, text: str) -> None:
        write_atomically(self.path / name, text.encode())

    def checkpoint_path(self, step: int) -> Path:
        """Return where the checkpoint of a step lies."""
        return self.checkpoints / f"step-{step:08d}.h5"

    @property
    def best_path(self) -> Path:
        """Where the checkpoint after the best epoch lies, under a name of its own."""
        return self.checkpoints / BEST

    def checkpoint_steps(self) -> list[int]:
        """Return the steps that have a checkpoint file, newest first."""
        names = map(_STEP.fullmatch, glob("step-*.h5", root_dir=self.checkpoints))
        return sorted((int(match[1]) for match in names if match), reverse=True)

    def read_checkpoints(self) -> Iterator[tuple[Path, Checkpoint | CheckpointError]]:
        """Yield path and checkpoint, newest first; in place of a broken one what is wrong."""
        for step in self.checkpoint_steps():
            path = self.checkpoint_path(step)
            try:
                yield path, checkpoints.read(path, directory=self.path)
            except CheckpointError as error:
                yield path, error

    def newest_checkpoint(self, warn: Callable[[str], None] = warn) -> Checkpoint | None:
        """Return the newest sound checkpoint, None without one; `warn` of those that are not."""
        for _, checkpoint in self.read_checkpoints():
            if isinstance(checkpoint, Checkpoint):
                return checkpoint
            warn(f"{checkpoint}; taking the one before it")
        return None

    def best_checkpoint(self, warn: Callable[[str], None] = warn) -> Checkpoint | None:
        """Return the sound checkpoint after the best epoch, None without one.

        The newest checkpoint tells which epoch that is; `warn` as for `newest_checkpoint`.
        """
        newest = self.newest_checkpoint(warn)
        best = None if newest is None else best_epoch(newest.metrics)
        paths = [self.best_path]
        paths += [] if best is None else [self.checkpoint_path(best["step"])]
        for path in paths:
            with contextlib.suppress(CheckpointError):
                checkpoint = checkpoints.read(path, directory=self.path)
                if newest is None or _is_after(checkpoint, best):
                    return checkpoint
        return None

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint after the best epoch under that name alone; raises OSError."""
        if os.path.lexists(self.path):
            checkpoints.write(self.best_path, checkpoint)

    def save(self, checkpoint: Checkpoint, keep: int) -> Path:
        """Write a checkpoint, then delete those before it, but for the newest `keep` and the best.

        One after the best epoch is named best.h5 too. A directory that somebody has removed is made
        again.
        Those of later steps stay and do not count: a run that was resumed before them may have
        found them broken. Raises OSError.
        """
        if not os.path.lexists(self.path):
            self._make_again(checkpoint)
        now = checkpoint.progress["step"]
        path = self.checkpoint_path(now)
        checkpoints.write(path, checkpoint)
        best = best_epoch(checkpoint.metrics)
        if _is_after(checkpoint, best):
            link_atomically(self.best_path, path)
        for step in [step for step in self.checkpoint_steps() if step <= now][keep:]:
            if best is None or step != best["step"]:
                self.checkpoint_path(step).unlink(missing_ok=True)
        return path


def _is_after(checkpoint: Checkpoint, line: Metrics | None) -> bool:
    """Tell whether a checkpoint is of the end of the epoch with this line of metrics."""
    if line is None or not checkpoint.metrics:
        return False
    last = checkpoint.metrics[-1]
    same = all(last[key] == line[key] for key in ("epoch", "step", "weights_sha256"))
    return same and last["step"] == checkpoint.progress["step"]


def _last_change(run: Path) -> float:
    """Return when a run's options or newest checkpoint were written."""
    times = [path.stat().st_mtime for path in (run / OPTIONS, *run.glob("checkpoints/step-*.h5"))]
    return max(times)
