"""Checkpoints: the whole state of a run in one HDF5 file, written so that no crash loses it.

    /model/<layer>/<name>         float32: parameters, and state that is not trained
    /average/<layer>/<name>       float32: moving averages of the same, where the run keeps them
    /optimizer/<slot>             float32, one value for each parameter
    attributes                    `format`, and a JSON text for each of TEXTS

Before the HDF5 image stands a block of 512 bytes, which HDF5 readers skip as a user block. It holds
the SHA-256 of the image, so that a reader knows that every byte is as written before HDF5 parses
one. No object is pickled. As anyone can compute a SHA-256, what is read is checked all the same:
the names, the types, the sizes, and every value that is used later.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dpcnn.errors import CheckpointError
from dpcnn.run import validation
from dpcnn.system import safe_hdf5
from dpcnn.system.files import UnsafeFileError, file_size, open_inside, write_atomically
from dpcnn.system.text import one_line

Array = NDArray[Any]

FORMAT = 1
USER_BLOCK = 512  # bytes, the smallest that HDF5 allows
MAGIC = b"dpcnn checkpoint, SHA-256 of what follows this block: "
TEXTS = ("progress", "options", "metrics", "dataset", "network", "changes")
MOST_GROUPS = 10_000
LIMIT = 4 << 30  # bytes of a file that is read: 1,000 million parameters


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step.

    model: layer -> parameter or state -> array; optimizer: slot -> vector; progress: step, epoch
    and the running sums of the epoch; options: those of the run; metrics: a line for each epoch
    that is kept (history.py); dataset: its fingerprint and source; network: the configs of its
    layers (nn/config.py); changes: of its learning rates, made on resuming (options/changes.py);
    average: of all in `model`, empty if the run keeps none.
    """

    model: dict[str, dict[str, Array]]
    optimizer: dict[str, Array]
    progress: dict[str, Any]
    options: dict[str, Any]
    metrics: list[dict[str, Any]]
    dataset: dict[str, Any]
    network: list[dict[str, Any]]
    changes: Sequence[Mapping[str, Any]] = ()
    average: dict[str, dict[str, Array]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """How many epochs are finished."""
        return int(self.metrics[-1]["epoch"]) if self.metrics else 0

    @property
    def best_values(self) -> dict[str, dict[str, Array]]:
        """What is evaluated and used: the averages, where they are kept, else the model."""
        return self.average or self.model

    def copy(self) -> Checkpoint:
        """Return one that keeps its values while training goes on.

        The lines of the metrics do not change: only their list is copied.
        """
        whole = copy.deepcopy(replace(self, metrics=[]))
        return replace(whole, metrics=list(self.metrics))


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that `path` is either the old file or the whole new one.

    Raises OSError if the disk does not take it.
    """
    write_atomically(path, _content(checkpoint))


def read(path: Path, limit: int = LIMIT, directory: Path | None = None) -> Checkpoint:
    """Return the checkpoint of a file of at most `limit` bytes.

    directory: the one that a file lies in which nobody has named, where no link is followed.
    Raises CheckpointError, one line that says what is wrong with it.
    """
    block, image = _read(path, limit, directory)
    if block != _user_block(image):
        raise CheckpointError(
            f"{path}: damaged or cut off (its SHA-256 differs from the recorded one)"
        )
    try:
        return _parse(image)
    except safe_hdf5.UNREADABLE as error:
        reason = one_line(error)
        raise CheckpointError(f"{path}: not a checkpoint of format {FORMAT} ({reason})") from error


def _read(path: Path, limit: int, directory: Path | None) -> tuple[bytes, bytes]:
    """Return the user block of a file and the image behind it."""
    place = path.resolve() if directory is None else path
    parent = place.parent if directory is None else directory
    try:
        if directory is None:
            file_size(path)
        with open_inside(parent, str(place.relative_to(parent))) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise CheckpointError(f"{path}: {size:,} bytes, expected at most {limit:,}")
            block = file.read(USER_BLOCK)
            if not block.startswith(MAGIC):
                raise CheckpointError(
                    f"{path}: not a dpcnn checkpoint (it does not begin like one)"
                )
            return block, file.read(size)
    except (UnsafeFileError, OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise CheckpointError(f"{path}: {reason}, expected a checkpoint") from error


def _content(checkpoint: Checkpoint) -> bytes:
    """Return the bytes of a checkpoint's file."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver="latest") as file:
        file.attrs["format"] = FORMAT
        for name in TEXTS:
            file.attrs[name] = np.bytes_(json.dumps(getattr(checkpoint, name)))
        for group in ("model", "average"):
            for layer, parameters in getattr(checkpoint, group).items():
                for name, array in parameters.items():
                    file[f"{group}/{layer}/{name}"] = array
        for slot, vector in checkpoint.optimizer.items():
            file[f"optimizer/{slot}"] = vector
    image = memory.getvalue()
    return _user_block(image) + image


def _user_block(image: bytes) -> bytes:
    """Return the block that stands before an HDF5 image."""
    return (MAGIC + hashlib.sha256(image).hexdigest().encode() + b"\n").ljust(USER_BLOCK, b"\0")


def _parse(image: bytes) -> Checkpoint:
    """Return the checkpoint in an HDF5 image; raises one of UNREADABLE for what is none."""
    with h5py.File(io.BytesIO(image), "r") as file:
        number = safe_hdf5.attribute(file, "format", "i", 8)
        if number != FORMAT:
            raise ValueError(f"its format is {number}")
        _check_names(file, {"model", "average", "optimizer"})
        _check_names(file.attrs, {"format", *TEXTS})
        texts = {name: safe_hdf5.attribute(file, name, "S", len(image)) for name in TEXTS}
        arrays = _Arrays(len(image))
        model = arrays.read_layers(safe_hdf5.group(file, "model"))
        groups = [*file]
        average = (
            arrays.read_layers(safe_hdf5.group(file, "average")) if "average" in groups else {}
        )
        optimizer = arrays.read(file, "optimizer") if "optimizer" in groups else {}
    values = {name: validation.parse(text) for name, text in texts.items()}
    validation.check(**values)
    return Checkpoint(model=model, average=average, optimizer=optimizer, **values)


class _Arrays:
    """Reads float32 arrays that together take no more memory than the file they lie in."""

    def __init__(self, limit: int) -> None:
        self._bytes_left = limit
        self._groups_left = MOST_GROUPS

    def read_layers(self, parent: h5py.Group, path: str = "") -> dict[str, dict[str, Array]]:
        """Return layer -> name -> array, of a group that holds layers, and layers in layers."""
        layers: dict[str, dict[str, Array]] = {}
        for name in parent:
            self._groups_left -= 1  # a group may lie in itself
            if self._groups_left < 0:
                raise ValueError(f"it holds more than {MOST_GROUPS:,} groups")
            group = safe_hdf5.group(parent, name)
            layer = f"{path}/{name}" if path else name
            keys = {key for key in group if safe_hdf5.is_group(group, key)}
            if keys == set(group):
                layers |= self.read_layers(group, layer)
            else:
                layers[layer] = self.read(parent, name)
        return layers

    def read(self, parent: h5py.Group, name: str) -> dict[str, Array]:
        """Return the arrays of the group of that name, which holds nothing else."""
        group = safe_hdf5.group(parent, name)
        return {key: self._array(group, key) for key in group}

    def _array(self, group: h5py.Group, key: str) -> Array:
        dataset = safe_hdf5.array(group, key, self._bytes_left, compressed=False)
        if dataset.dtype != np.float32:
            raise ValueError(f"{dataset.name} holds {dataset.dtype}, expected float32")
        self._bytes_left -= dataset.nbytes  # one array may have any number of names
        array: Array = dataset[()]
        return array


def _check_names(names: Iterable[str], known: set[str]) -> None:
    unknown = sorted(set(names) - known)
    if unknown:
        raise ValueError(f"it holds {', '.join(unknown)}, expected only {', '.join(sorted(known))}")
