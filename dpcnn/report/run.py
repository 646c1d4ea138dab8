"""One run, as far as the files of its directory can be read: it may be running, or broken."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.errors import OptionError
from dpcnn.options import OF_DATASET, OPTIONS
from dpcnn.report.files import Files, Object, as_line
from dpcnn.report.history import Session, sessions
from dpcnn.run import events, lock, outcome, steps
from dpcnn.run.directory import OPTIONS as OPTIONS_FILE
from dpcnn.run.directory import RunDirectory
from dpcnn.run.loggers import jsonl
from dpcnn.system.text import one_line

Array = NDArray[Any]


class Status(NamedTuple):
    """How a run stands, and whether that is good, busy, bad, or none of these ("")."""

    name: str
    kind: str


@dataclass(frozen=True)
class Run:
    """The contents of a run directory.

    metrics: one object an epoch; errors: the tracebacks that ranks left, by file name; exit_code:
    None if none is recorded; running: whether a process of this machine is at work on it;
    missing: sentences on what could not be read; steps: one object for every so many steps. The
    values inside the objects are unchecked.
    """

    path: Path
    options: Object
    environment: Object
    metrics: list[Object]
    sessions: list[Session]
    errors: dict[str, str]
    exit_code: int | None
    running: bool
    missing: list[str]
    steps: list[Object] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.resolve().name or str(self.path)

    def series(self, key: str) -> Array:
        """Return a metric's value for each epoch (epochs,), NaN where there is none."""
        return np.array([number(epoch.get(key)) for epoch in self.metrics])

    def steps_series(self, key: str) -> Array:
        """Return a metric's value within the epochs (points,), NaN where there is none."""
        return np.array([number(point.get(key)) for point in self.steps])

    def known(self, key: str) -> Array:
        """Return a metric's values for epochs and within them, those that there are."""
        values = np.concatenate([self.series(key), self.steps_series(key)])
        known: Array = values[~np.isnan(values)]
        return known

    def has(self, key: str) -> bool:
        """Tell whether some epoch has a value of a metric."""
        return not bool(np.isnan(self.series(key)).all())

    @property
    def epochs(self) -> Array:
        """The number of each epoch (epochs,)."""
        return self.series("epoch")

    @property
    def seconds(self) -> Array:
        """The time that training and evaluation had taken at the end of each epoch (epochs,)."""
        return np.nancumsum(self.series("seconds"))

    @property
    def judged_by(self) -> str:
        """The metric that tells which epoch is the best."""
        return "validation_accuracy" if self.has("validation_accuracy") else "test_accuracy"

    @property
    def best(self) -> int | None:
        """The place of the best epoch among the metrics, None if none has been measured."""
        accuracy = self.series(self.judged_by)
        return int(np.nanargmax(accuracy)) if np.isfinite(accuracy).any() else None

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights after the last epoch, "" if it is not known."""
        value = self.metrics[-1].get("weights_sha256") if self.metrics else None
        return "" if value is None else as_line(value)

    @property
    def last_step(self) -> int:
        """The newest step that is recorded, 0 without any."""
        values = [number(line.get("step")) for line in (*self.metrics[-1:], *self.steps[-1:])]
        happened = [event.step for session in self.sessions[-1:] for event in session.events]
        return int(max([0.0, *(v for v in values if v == v), *filter(None, happened)]))

    @property
    def changed_options(self) -> Object:
        """The options that differ from their defaults, without those that the dataset tells."""
        defaults = {name: option.default for name, option in OPTIONS.items()}
        return {
            name: value
            for name, value in self.options.items()
            if name not in OF_DATASET and value != defaults.get(name)
        }

    @property
    def status(self) -> Status:
        """How the run stands."""
        if self.running:
            return Status("running", "busy")
        if self.exit_code is None:
            return Status("interrupted", "bad")
        if self.exit_code == 0:
            return Status("finished", "good")
        if self.exit_code <= 128:
            return Status(f"failed with exit code {self.exit_code}", "bad")
        stops = self.sessions[-1].of_kind("stop") if self.sessions else []
        signal = stops[0].values.get("signal") if stops else None
        return Status(f"stopped by {as_line(signal or f'signal {self.exit_code - 128}')}", "")


def read(path: Path) -> Run:
    """Return what a run directory holds; raises OptionError if it is not a run directory."""
    if not path.is_dir() or not RunDirectory(path).has_run():
        raise OptionError(f"{path}: not a run directory, expected one such as runs/NAME")
    files = Files(path)
    options = files.object(OPTIONS_FILE, "the options")
    environment = files.object("environment.json", "the environment")
    metrics = files.lines(jsonl.NAME, lambda line: not math.isnan(number(line.get("epoch"))))
    points = _points(files)
    if not metrics:
        several = len(points) > 1
        curves = "the curves are those of its steps" if several else "there are no curves yet"
        files.missing.append(f"No epoch is finished: {curves}.")
    exit_code = _exit_code(files)
    running = exit_code is None and _is_locked(path / lock.NAME)
    history = files.lines(events.NAME, lambda line: "event" in line)
    return Run(
        path=path,
        options=options,
        environment=environment,
        metrics=metrics,
        sessions=sessions(history, running),
        errors=files.texts("errors/rank-*.txt"),
        exit_code=exit_code,
        running=running,
        missing=files.missing,
        steps=points,
    )


def labels(runs: Sequence[Run]) -> list[str]:
    """Return the name of each run, or its path if two have the same name."""
    names = [run.name for run in runs]
    unique = len(set(names)) == len(names)
    return [one_line(run.name if unique else run.path) for run in runs]


def number(value: Any) -> float:
    """Return a finite number as float, NaN for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:  # an integer that is too large for a float
        return math.nan


def _points(files: Files) -> list[Object]:
    """Return what the steps tell, none of a run of before there was such a file."""
    if not os.path.lexists(files.directory / steps.NAME):
        return []
    return files.lines(steps.NAME, lambda line: number(line.get("epoch")) >= 0)


def _exit_code(files: Files) -> int | None:
    """Return the recorded exit code, None without one."""
    if not (files.directory / outcome.NAME).exists():
        return None
    code = files.object(outcome.NAME, "the exit code").get("exit_code")
    return code if type(code) is int and 0 <= code < 256 else None


def _is_locked(path: Path) -> bool:
    """Tell whether a process of this machine holds the lock. Only looks: trying would take it."""
    try:
        inode = str(os.stat(path).st_ino)
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return False
    # 3: FLOCK  ADVISORY  WRITE 25237 fe:00:2149346 0 EOF
    return any("FLOCK" in fields and inode == fields[5].split(":")[-1] for fields in locks)
