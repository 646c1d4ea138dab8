"""A trained network in use: read from a run directory or a checkpoint, it classifies images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpcnn import evaluation
from dpcnn.building import build, check_parameters, image_shape
from dpcnn.data.dataset import Images, as_images
from dpcnn.errors import CheckpointError
from dpcnn.nn.layers import Layer
from dpcnn.nn.network import Network
from dpcnn.options import Options, restored
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory

Array = NDArray[Any]


@dataclass(frozen=True)
class Model:
    """A trained network, with the options it was trained with and the checkpoint it came from."""

    network: Network
    options: Options
    checkpoint: Checkpoint

    def probabilities(self, images: ArrayLike) -> Array:
        """Return the probability of each class for each image, (N, classes) float32.

        images: (N, C, H, W), (N, C*H*W), or (N, H, W) of one channel, uint8 or floats in [0, 1].
        Raises DataError for others.
        """
        pixels = as_images(np.asarray(images), image_shape(self.options))
        labels = np.zeros(len(pixels), np.uint8)
        return evaluation.probabilities(self.network, Images(pixels, labels))

    def predict(self, images: ArrayLike) -> Array:
        """Return the most probable class of each image, (N,); images as for `probabilities`."""
        classes: Array = self.probabilities(images).argmax(axis=1)
        return classes


def load(path: str | Path, network: Sequence[Layer] | None = None) -> Model:
    """Return the model of a checkpoint, or of the newest sound one in a run directory.

    network: the layers it was trained with, needed where some are not of dpcnn.nn. Raises
    CheckpointError for what cannot be read or is of another network.
    """
    found = newest(Path(path)) if Path(path).is_dir() else checkpoints.read(Path(path))
    options = restored(Options(), frozenset(), found.options)
    built = build(options, found, own=network)
    check_parameters(found, built)
    built.adopt(found.model)
    return Model(built, options, found)


def newest(run: Path) -> Checkpoint:
    """Return the newest sound checkpoint of a run directory; raises CheckpointError without one."""
    found = RunDirectory(run).newest_checkpoint(
        lambda text: print(f"warning: {text}", file=sys.stderr)
    )
    if found is None:
        raise CheckpointError(f"{run}: no sound checkpoint, expected a run directory")
    return found
