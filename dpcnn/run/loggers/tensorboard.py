"""The metrics as TensorBoard reads them: an event file for each process that has written some."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from dpcnn.errors import OptionError
from dpcnn.run.loggers.jsonl import Metrics

FOLDER = "tensorboard"
CURVES = {
    "loss/train": "loss",
    "loss/test": "test_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/test": "test_accuracy",
    "learning_rate": "learning_rate",
    "speed/images_per_second": "images_per_second",
    "seconds/epoch": "seconds",
    "seconds/compute": "compute_seconds",
    "seconds/communication": "communication_seconds",
    "seconds/waiting": "waiting_seconds",
    "seconds/evaluation": "evaluation_seconds",
    "world_size": "world_size",
}

_started = int(time.time())  # TensorBoard reads a directory's files in the order of this number


def check() -> None:
    """Raise OptionError where event files cannot be written."""
    try:
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise OptionError(
            f"--tensorboard: found no tensorboard in this environment ({error}), expected one: "
            "pip install tensorboard"
        ) from error


def append(directory: Path, line: Metrics) -> None:
    """Add one epoch to the event file of this process in a run directory.

    The first one begins a session: TensorBoard then drops what earlier ones had from that step on,
    which a resumed run makes again. Raises OSError.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    name = f"events.out.tfevents.{_started}.{socket.gethostname()}.{os.getpid()}"
    now, step = time.time(), line["step"]
    values = [Summary.Value(tag=tag, simple_value=line[key]) for tag, key in CURVES.items()]
    events = [Event(wall_time=now, step=step, summary=Summary(value=values))]
    with (folder / name).open("ab") as file:
        if file.tell() == 0:
            start = SessionLog(status=SessionLog.START)
            events.insert(0, Event(wall_time=now, file_version="brain.Event:2"))
            events.insert(1, Event(wall_time=now, step=step, session_log=start))
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
