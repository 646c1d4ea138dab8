"""The run directory: what lies where, which checkpoints stay, which run is the newest.

runs/NAME/
  options.json  environment.json  jsonl.jsonl  jsonl.csv
  events.jsonl  outcome.json  .lock
  checkpoints/step-00000938.h5
  errors/rank-N.txt
  tensorboard/events.out.tfevents.*    with --tensorboard
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from dpcnn.errors import CheckpointError, DpcnnError, OptionError
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run import outcome
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.loggers import jsonl
from dpcnn.system.files import write_atomically

RUNS = Path("runs")
OPTIONS = "options.json"
LOCK = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # some clusters' file systems
_STEP = re.compile(r"step-(\d{8,})\.h5")


class TakenOverError(DpcnnError):
    """Another job has been at work in the run directory: its writer is not to be joined."""

    final = False


class RunDirectory:
    """One run's directory. Creating the object touches nothing on the disk."""

    def __init__(self, path: Path, unnamed: bool = False) -> None:
        self.path = path
        self.unnamed = unnamed
        self._lock: int | None = None
        self._job = ""
        self._behind = False

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "checkpoints"

    @classmethod
    def new(cls) -> RunDirectory:
        """Return runs/DATE-TIME; `create` appends a number if another run has that name."""
        return cls(RUNS / time.strftime("%Y%m%d-%H%M%S"), unnamed=True)

    @classmethod
    def newest(cls) -> RunDirectory | None:
        """Return the run in runs/ that was started or saved last, or None."""
        runs = [path.parent for path in RUNS.glob(f"*/{OPTIONS}")]
        return cls(max(runs, key=_last_change)) if runs else None

    def has_run(self) -> bool:
        """Tell whether a run has been kept here."""
        return os.path.exists(self.path / OPTIONS) or bool(self.checkpoint_steps())

    def create(
        self,
        options: dict[str, Any],
        environment: dict[str, Any],
        lines: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Make the directories, write options and environment, make the metrics those lines.

        Raises OptionError where it cannot be done, or another run is at work here.
        """
        try:
            self._claim()
            self._acquire(fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._job = uuid.uuid4().hex
            (self.path / outcome.NAME).unlink(missing_ok=True)  # before the run is told of
            self._settle(lines)
            self._write("environment.json", json.dumps(environment, indent=2) + "\n")
            self._write(OPTIONS, json.dumps(options, indent=2) + "\n")
        except OSError as error:
            raise OptionError(
                f"--run_dir {self.path}: {error.strerror}, expected a directory to write to"
            ) from error

    def join(self, path: Path) -> None:
        """Be ready to take over the directory, which another process of the job has created."""
        self.path = path
        self._job = self._owner()[1]

    def take_over(self, lines: Sequence[dict[str, Any]]) -> None:
        """Write here when the process that did so is gone, which is waited for.

        On a host with a disk of its own the run directory begins here. Raises TakenOverError if
        another job has been at work here since `join`.
        """
        self._acquire(fcntl.LOCK_EX)
        owner, job = self._owner()
        if job != self._job:
            self.release()
            raise TakenOverError(f"--run_dir {self.path}: taken over by another run ({owner})")
        self._settle(lines)

    def _acquire(self, how: int) -> None:
        """Take the lock, which goes with the process that has it."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._lock, how)
        except BlockingIOError:
            self.release()
            raise OptionError(
                f"--run_dir {self.path}: in use by another run ({self._owner()[0]}), expected a"
                " directory that no other run writes to"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise

    def _owner(self) -> tuple[str, str]:
        """Return which process had the lock last, in words, and the mark of its job."""
        try:
            text = (self.path / LOCK).read_bytes()[:200].decode(errors="replace")
        except FileNotFoundError:
            text = ""
        owner, _, job = text.partition("\n")
        return owner, job.strip()

    def _settle(self, lines: Sequence[dict[str, Any]]) -> None:
        """Make the directory this process's own; remove what a killed one left half written."""
        assert self._lock is not None, "_acquire has opened it"
        owner = f"process {os.getpid()} on {socket.gethostname()}\n{self._job}\n"
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, owner.encode(), 0)
        os.fsync(self._lock)  # ranks of other hosts join next
        outcome.tell(run_dir=str(self.path))
        for leftover in (*self.path.glob(".*.tmp"), *self.checkpoints.glob(".*.tmp")):
            leftover.unlink(missing_ok=True)
        self._write_metrics(lines)

    def add_metrics(self, lines: Sequence[dict[str, Any]]) -> None:
        """Add the newest line to the metrics; after an OSError, all that may be missing."""
        behind, self._behind = self._behind, True
        if behind:
            self._write_metrics(lines)
        else:
            jsonl.append(self.path, lines[-1])
        self._behind = False

    def _write_metrics(self, lines: Sequence[dict[str, Any]]) -> None:
        self._write(jsonl.NAME, jsonl.text(lines))
        self._write(jsonl.TABLE, jsonl.table(lines))

    def release(self) -> None:
        """Let another process write here."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_outcome(self, code: int) -> None:
        """Record that the run has ended by itself, with this exit code; if the disk takes it."""
        outcome.tell(run_dir=str(self.path), exit_code=code)
        with contextlib.suppress(OSError):
            self._write(outcome.NAME, json.dumps({"exit_code": code}) + "\n")

    def _claim(self) -> None:
        """Make the directory; an unnamed one becomes the first name that no other run has."""
        base, number = self.path, 1
        while True:
            try:
                self.path.mkdir(parents=True, exist_ok=not self.unnamed)
            except FileExistsError:
                if not self.unnamed:
                    raise
                number += 1
                self.path = base.with_name(f"{base.name}-{number}")
            else:
                self.unnamed = False
                return

    def checkpoint_path(self, step: int) -> Path:
        """Return where the checkpoint of a step lies."""
        return self.checkpoints / f"step-{step:08d}.h5"

    def checkpoint_steps(self) -> list[int]:
        """Return the steps that have a checkpoint file, newest first."""
        names = map(_STEP.fullmatch, glob("step-*.h5", root_dir=self.checkpoints))
        return sorted((int(match[1]) for match in names if match), reverse=True)

    def read_checkpoints(self) -> Iterator[tuple[Path, Checkpoint | CheckpointError]]:
        """Yield each checkpoint, newest first, or what is wrong with it."""
        for step in self.checkpoint_steps():
            path = self.checkpoint_path(step)
            try:
                yield path, checkpoints.read(path)
            except CheckpointError as error:
                yield path, error

    def newest_checkpoint(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """Return the newest sound checkpoint, None without one; `warn` of those that are not."""
        for _, found in self.read_checkpoints():
            if isinstance(found, Checkpoint):
                return found
            warn(f"{found}; taking the one before it")
        return None

    def save(self, checkpoint: Checkpoint, keep: int) -> Path:
        """Write a checkpoint, then delete those before it, but for the newest `keep` and the best.

        Those of later steps stay and do not count: a run that was resumed before them may have
        found them broken.
        """
        now = checkpoint.progress["step"]
        path = self.checkpoint_path(now)
        checkpoints.write(path, checkpoint)
        best = jsonl.best_step(checkpoint.metrics)
        for step in [each for each in self.checkpoint_steps() if each <= now][keep:]:
            if step != best:
                self.checkpoint_path(step).unlink(missing_ok=True)
        return path

    def write_error(self, rank: int, text: str) -> None:
        """Keep a rank's traceback in errors/rank-N.txt, if the disk takes it."""
        directory = self.path / "errors"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"rank-{rank}.txt").write_text(text)
        except OSError:
            return

    def _write(self, name: str, text: str) -> None:
        write_atomically(self.path / name, text.encode())


def _last_change(run: Path) -> float:
    """Return when a run's options or newest checkpoint were written."""
    times = [path.stat().st_mtime for path in (run / OPTIONS, *run.glob("checkpoints/step-*.h5"))]
    return max(times)
