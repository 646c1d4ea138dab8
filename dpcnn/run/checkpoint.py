"""Checkpoints: the whole state of a run in one HDF5 file, written so that no crash loses it.

    /model/<layer>/<parameter>    float32
    /optimizer/<slot>             float32, one value for each parameter
    attributes                    JSON texts: `position`, `options`, `metrics`, `dataset`; `format`

The HDF5 image is made in memory and stands behind a block of 512 bytes, a user block, which HDF5
readers skip. It holds the SHA-256 of the image: a reader knows that every byte is as written
before HDF5 parses one. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dpcnn.errors import CheckpointError
from dpcnn.files import read_bytes

Array = NDArray[Any]

FORMAT = 1
USER_BLOCK = 512  # the smallest that HDF5 allows
MAGIC = b"dpcnn checkpoint, SHA-256 of what follows this block: "
TEXTS = ("position", "options", "metrics", "dataset")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step.

    model: layer -> parameter -> array; optimizer: slot -> vector; position: the step, epoch and
    running sums; options: as they were given; metrics: the lines so far; dataset: its fingerprint
    and source.
    """

    model: dict[str, dict[str, Array]]
    optimizer: dict[str, Array]
    position: dict[str, Any]
    options: dict[str, Any]
    metrics: list[dict[str, Any]]
    dataset: dict[str, Any]


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that `path` is either the old file or the whole new one.

    Temporary file in the same directory, write, fsync, rename, fsync of the directory. Raises
    OSError where the disk does not take it; the temporary file is gone then.
    """
    write_atomically(path, _image(checkpoint))


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by one with this content, durably, or leave it as it is and raise OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path) -> Checkpoint:
    """Return the checkpoint of a file; raises CheckpointError that says what is wrong with it."""
    try:
        content = read_bytes(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}, expected a checkpoint") from error
    block, image = content[:USER_BLOCK], content[USER_BLOCK:]
    if not block.startswith(MAGIC):
        raise CheckpointError(f"{path}: not a dpcnn checkpoint (its first bytes are not one's)")
    if block != _user_block(image):
        raise CheckpointError(f"{path}: damaged or cut off (its SHA-256 is not the recorded one)")
    try:
        return _parse(image)
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of format {FORMAT} ({error})") from error


def _image(checkpoint: Checkpoint) -> bytes:
    """Return the file's bytes."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver="latest") as file:
        file.attrs["format"] = FORMAT
        for name in TEXTS:
            file.attrs[name] = np.bytes_(json.dumps(getattr(checkpoint, name)))
        for layer, parameters in checkpoint.model.items():
            for name, array in parameters.items():
                file[f"model/{layer}/{name}"] = array
        for slot, vector in checkpoint.optimizer.items():
            file[f"optimizer/{slot}"] = vector
    image = memory.getvalue()
    return _user_block(image) + image


def _user_block(image: bytes) -> bytes:
    """Return the block that stands before an HDF5 image."""
    return (MAGIC + hashlib.sha256(image).hexdigest().encode() + b"\n").ljust(USER_BLOCK, b"\0")


def _parse(image: bytes) -> Checkpoint:
    with h5py.File(io.BytesIO(image), "r") as file:
        if file.attrs["format"] != FORMAT:
            raise ValueError(f"it is of format {file.attrs['format']}")
        texts = {name: json.loads(bytes(file.attrs[name])) for name in TEXTS}
        model = {
            layer: {name: array[()] for name, array in parameters.items()}
            for layer, parameters in file["model"].items()
        }
        optimizer = {slot: vector[()] for slot, vector in file.get("optimizer", {}).items()}
    return Checkpoint(model=model, optimizer=optimizer, **texts)
