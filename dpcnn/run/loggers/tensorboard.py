"""tensorboard/: the metrics as event files, which TensorBoard shows as curves."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from dpcnn.errors import OptionError
from dpcnn.run.loggers.logger import Metrics
from dpcnn.system.files import make_folder, open_inside

FOLDER = "tensorboard"
CURVES = {
    "loss/train": "loss",
    "loss/test": "test_loss",
    "loss/validation": "validation_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/test": "test_accuracy",
    "accuracy/validation": "validation_accuracy",
    "learning_rate": "learning_rate",
    "speed/images_per_second": "images_per_second",
    "seconds/epoch": "seconds",
    "seconds/compute": "compute_seconds",
    "seconds/communication": "communication_seconds",
    "seconds/waiting": "waiting_seconds",
    "seconds/evaluation": "evaluation_seconds",
    "world_size": "world_size",
}
LAYERS = "layers"  # of a line: an object for each layer, whose numbers are curves too


def check() -> None:
    """Raise OptionError if event files cannot be written."""
    try:
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise OptionError(
            f"--tensorboard needs the package tensorboard ({error}): pip install tensorboard"
        ) from error


class TensorBoard:
    """Keeps curves over steps. A rewrite begins a file, which the epochs after it go to.

    TensorBoard reads a directory's files in the order of their names. An event at the beginning of
    each, the start of a session at step 0, makes it drop what the earlier files say.
    """

    def __init__(self) -> None:
        self._file: str | None = None  # its name in the run directory

    def append(self, directory: Path, line: Metrics) -> None:
        """Add an epoch; raises OSError."""
        if self._file is None:
            self.rewrite(directory, [line])
            return
        with open_inside(directory, self._file, "ab") as file:
            _write(file, [_epoch(line, time.time())])

    def rewrite(self, directory: Path, lines: Iterable[Metrics]) -> None:
        """Begin a file with these epochs, at about the times when they ended; raises OSError."""
        make_folder(directory, FOLDER)
        shown = [
            {key: line.get(key) for key in ("step", LAYERS, *CURVES.values())} for line in lines
        ]
        process = f"{socket.gethostname()}.{os.getpid()}"
        name = f"{FOLDER}/events.out.tfevents.{time.time():.6f}.{process}"
        with open_inside(directory, name, "wb") as file:
            _write(file, _session(shown))
        self._file = name


def _session(lines: Sequence[Metrics]) -> Iterator[Any]:
    """Yield the events of a new file with these epochs."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    now = time.time()
    seconds = [_number(line.get("seconds")) or 0.0 for line in lines]
    begun = now - sum(seconds)
    yield Event(wall_time=begun, file_version="brain.Event:2")
    yield Event(wall_time=begun, step=0, session_log=SessionLog(status=SessionLog.START))
    for number, line in enumerate(lines, 1):
        yield _epoch(line, begun + sum(seconds[:number]))


def _epoch(line: Metrics, ended: float) -> Any:
    """Return the event of an epoch, with those curves that it has a number for."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    numbers = {tag: _number(line.get(key)) for tag, key in CURVES.items()} | _of_layers(line)
    values = [
        Summary.Value(tag=tag, simple_value=number)
        for tag, number in numbers.items()
        if number is not None
    ]
    return Event(wall_time=ended, step=line["step"], summary=Summary(value=values))


def _of_layers(line: Metrics) -> dict[str, float | None]:
    """Return the numbers of each layer by tag, such as gradient/convolution1."""
    return {
        f"{key}/{layer['layer']}": _number(value)
        for layer in line.get(LAYERS) or ()
        for key, value in layer.items()
    }


def _number(value: Any) -> float | None:
    """Return a number, None for what is none: a checkpoint may be of another version."""
    return float(value) if isinstance(value, int | float) else None


def _write(file: IO[bytes], events: Iterable[Any]) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
