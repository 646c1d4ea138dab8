"""Fine-tuning: initial weights taken from another run, by the names and shapes of its arrays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dpcnn.errors import OptionError
from dpcnn.inference.model import read
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.system.text import one_line
from dpcnn.training.state import State


@dataclass(frozen=True)
class Taken:
    """What a network has taken of another: the names of arrays, and why it has not the others."""

    source: str
    taken: list[str]
    left: list[str]

    def __str__(self) -> str:
        count = len(self.taken) + len(self.left)
        text = f"{self.source}, {len(self.taken)} of {count} arrays"
        return f"{text}; not {', '.join(self.left)}" if self.left else text


def fine_tune(state: State, options: Options, comm: Communicator) -> Taken | None:
    """Give the state the initial weights of --init_from, if it is set; collective.

    Those that are evaluated and used there: of a run that keeps averages, these. Raises OptionError
    if nothing fits, CheckpointError, on all ranks.
    """
    if options.init_from is None:
        return None
    path = Path(os.path.expanduser(options.init_from))
    checkpoint = comm.on_root(lambda: read(path))
    return comm.on_all(lambda: take(state, checkpoint, options.init_from or ""))


def take(state: State, checkpoint: Checkpoint, source: str) -> Taken:
    """Copy each array of the same name and shape, averages of the weights among them."""
    taken, left = [], []
    for layer, arrays in state.network.named_values().items():
        for key, array in arrays.items():
            name = f"{layer}/{key}"
            other = checkpoint.best_values.get(layer, {}).get(key)
            if other is None:
                left.append(f"{name} (not there)")
            elif other.shape != array.shape:
                left.append(f"{name} ({_by(other.shape)} there, {_by(array.shape)} here)")
            else:
                array[...] = other
                taken.append(name)
    if not taken:
        raise OptionError(
            f"--init_from {source}: no array fits, found {one_line(', '.join(left))}, expected a"
            " network with some layers of the same name and shape"
        )
    if state.average is not None:
        state.average.vector[...] = state.network.values
    return Taken(source, taken, left)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
