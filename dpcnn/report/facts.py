"""What a run directory says of its run, as far as it can be read: it may be at work, or broken.

What is missing is said in `missing`, a line each, and leaves its part of the report empty. The
files may come from anywhere: values are taken for what they are, never for what they should be.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.errors import OptionError
from dpcnn.options import Options
from dpcnn.report.history import Session, sessions
from dpcnn.run import events, outcome, validation
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import LOCK, OPTIONS, RunDirectory
from dpcnn.run.loggers import jsonl
from dpcnn.system.files import UnsafeFileError, file_size
from dpcnn.system.text import one_line

Array = NDArray[Any]

LIMIT = 64 << 20  # bytes of a text file that is read
ERRORS = 20  # tracebacks that are shown
DEEPEST = 8  # levels of objects in a file
NEWEST = 5000  # lines of a file that are shown


@dataclass
class Run:
    """One run: the contents of its files, what was missing among them, and how it stands.

    Its checkpoint is read by `results.learned`.
    """

    path: Path
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    exit_code: int | None = None
    errors: dict[str, str] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    working: bool = False
    missing: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.resolve().name or str(self.path)

    def series(self, key: str) -> Array:
        """Return the numbers of a key of the metrics, an epoch each; NaN where there is none."""
        return np.array([number(line.get(key)) for line in self.metrics])

    @property
    def epochs(self) -> Array:
        """The epochs of the metrics."""
        return self.series("epoch")

    @property
    def seconds(self) -> Array:
        """The seconds that training and evaluation have taken until the end of each epoch."""
        return np.nancumsum(self.series("seconds"))

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights after the last epoch, "" where it is not known."""
        return str(self.metrics[-1].get("weights_sha256", "")) if self.metrics else ""

    def changed(self) -> list[str]:
        """Return the names of the options that differ from their defaults."""
        usual = Options().as_dict()
        return [name for name, value in self.options.items() if value != usual.get(name)]

    def status(self) -> str:
        """Say in a few words how the run stands."""
        code = self.exit_code
        if self.working:
            return "at work"
        if code is None:
            return "broken off"
        if code == 0:
            return "done"
        signal = next((each.facts.get("signal") for each in self.last_events("stop")), None)
        if code > 128:
            return f"stopped by {one_line(signal)}" if signal else f"stopped by signal {code - 128}"
        return f"failed with exit code {code}"

    def last_events(self, kind: str) -> list[Any]:
        """Return the events of a kind in the last session."""
        last = self.sessions[-1].events if self.sessions else []
        return [each for each in last if each.kind == kind]


def number(value: Any) -> float:
    """Return a finite number as float, NaN for anything else."""
    try:
        usable = isinstance(value, int | float) and not isinstance(value, bool)
        found = float(value) if usable else math.nan
    except OverflowError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def read(path: Path) -> Run:
    """Return what a run directory says; raises OptionError if it is none."""
    if not path.is_dir() or not RunDirectory(path).has_run():
        raise OptionError(f"{path}: not a run directory, expected one such as runs/NAME")
    run = Run(path)
    run.options = _object(run, OPTIONS, "the options")
    run.environment = _object(run, "environment.json", "the environment")
    run.metrics = _lines(run, jsonl.NAME, _is_epoch)
    if not run.metrics:
        run.missing.append("No epoch is finished: there are no curves yet.")
    run.sessions = sessions(_lines(run, events.NAME, lambda each: "event" in each))
    if (path / outcome.NAME).exists():
        code = _object(run, outcome.NAME, "the exit code").get("exit_code")
        run.exit_code = code if type(code) is int and 0 <= code < 256 else None
    run.working = run.exit_code is None and _is_locked(path / LOCK)
    run.errors = _tracebacks(run)
    return run


def _is_epoch(line: dict[str, Any]) -> bool:
    return not math.isnan(number(line.get("epoch")))


def _bytes(run: Run, name: str) -> bytes:
    """Return the bytes of a file of the run; raises UnsafeFileError or OSError."""
    size = file_size(run.path / name)
    if size > LIMIT:
        raise UnsafeFileError(f"{size:,} bytes, expected at most {LIMIT:,}")
    return (run.path / name).read_bytes()


def _parsed(text: bytes) -> Any:
    """Return the value of a JSON text; raises ValueError or RecursionError for one not to show."""
    value = validation.parse(text)
    if not _is_shallow(value, DEEPEST):
        raise ValueError("nested too deep")
    return value


def _is_shallow(value: Any, levels: int) -> bool:
    """Tell whether there are no objects and lists within each other past so many levels."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in inner)


def _object(run: Run, name: str, what: str) -> dict[str, Any]:
    """Return the JSON object of a file; an empty one, and what is missing, without one."""
    try:
        found = _parsed(_bytes(run, name))
    except (OSError, ValueError, RecursionError) as error:
        run.missing.append(f"{name}: {_reason(error)}; {what} cannot be shown.")
        return {}
    if not isinstance(found, dict):
        run.missing.append(f"{name} holds no object; {what} cannot be shown.")
        return {}
    return found


def _lines(run: Run, name: str, usable: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return the JSON objects of a file's lines that are usable; say which are not."""
    try:
        lines = _bytes(run, name).splitlines()
    except (OSError, ValueError) as error:
        run.missing.append(f"{name}: {_reason(error)}.")
        return []
    found, broken = [], []
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = _parsed(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and usable(value):
            found.append(value)
        else:
            broken.append(str(place))
    if len(found) > NEWEST:
        run.missing.append(f"{name}: of {len(found):,} lines the last {NEWEST:,} are shown.")
    if broken:
        places = ", ".join(broken[:10]) + (", ..." if len(broken) > 10 else "")
        run.missing.append(f"{name}: line {places} cannot be read and is left out.")
    return found[-NEWEST:]


def _reason(error: Exception) -> str:
    return one_line(getattr(error, "strerror", None) or error)


def _tracebacks(run: Run) -> dict[str, str]:
    """Return the texts that ranks left in errors/, by the name of the file."""
    texts = {}
    for path in sorted((run.path / "errors").glob("rank-*.txt"))[:ERRORS]:
        name = f"errors/{path.name}"
        try:
            texts[name] = _bytes(run, name).decode(errors="replace")[-10_000:]
        except (OSError, ValueError) as error:
            run.missing.append(f"{name}: {_reason(error)}.")
    return texts


def _is_locked(path: Path) -> bool:
    """Tell whether a process of this machine has the lock. Looks only: to try it would take it."""
    try:
        inode = str(os.stat(path).st_ino)
        held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return False
    # 3: FLOCK  ADVISORY  WRITE 25237 fe:00:2149346 0 EOF
    return any("FLOCK" in words and inode == words[5].split(":")[-1] for words in held)
