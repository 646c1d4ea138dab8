"""A trained network in use: read from a run directory or a checkpoint, it classifies images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpcnn.data.dataset import Images, as_images
from dpcnn.data.normalize import NONE, Normalization, from_config
from dpcnn.errors import CheckpointError
from dpcnn.inference import evaluation
from dpcnn.models.build import check_arrays, check_memory, plan_network
from dpcnn.models.user import Make
from dpcnn.nn.layer import Layer
from dpcnn.nn.network import Network, sha256
from dpcnn.options import Options, resumed
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory

Array = NDArray[Any]


@dataclass(frozen=True)
class Model:
    """A trained network, with the options it was trained with and the checkpoint it came from.

    normalization: what is done to images before the network sees them. Of a run that keeps averages
    of its weights (--ema, --lookahead), the network has these.
    """

    network: Network
    options: Options = field(repr=False)
    checkpoint: Checkpoint = field(repr=False)
    normalization: Normalization = NONE

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the trained parameters, also where the network has their averages."""
        if not self.checkpoint.average:
            return self.network.weights_sha256()
        trained = self.checkpoint.model
        return sha256(
            trained[slot.layer.name][slot.key] for slot in self.network.plan.slots if slot.trained
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes 0, 1, ..., their numbers if the dataset had none.

        They may come from anyone: not every terminal may be shown them.
        """
        names = self.checkpoint.dataset["class_names"]
        classes = self.network.plan.output_shape[0]
        return tuple(map(str, names if len(names) == classes else range(classes)))

    def probabilities(self, images: ArrayLike) -> Array:
        """Return the probability of each class for each image, (N, classes) float32.

        images: (N, C, H, W), (N, C*H*W), or (N, H, W) of one channel, uint8 or floats in [0, 1].
        Raises DataError for others.
        """
        pixels = as_images(np.asarray(images), self.options.image_shape)
        labels = np.zeros(len(pixels), np.uint8)
        return evaluation.probabilities(
            self.network,
            Images(pixels, labels, normalization=self.normalization),
            tta=self.options.tta,
        )

    def predict(self, images: ArrayLike) -> Array:
        """Return the most probable class of each image, (N,); images as for `probabilities`."""
        classes: Array = self.probabilities(images).argmax(axis=1)
        return classes


def load(
    path: str | Path, network: Sequence[Layer] | Make | None = None, best: bool = False
) -> Model:
    """Return the model of a checkpoint, or of the newest sound one in a run directory.

    network: the layers it was trained with, or a function that makes them of the run's options;
    needed where some are not of dpcnn.nn. best: that after the best epoch of a run. Raises
    CheckpointError for what cannot be read or is of another network.
    """
    return restore(read(Path(path), best), network)


def read(path: Path, best: bool = False) -> Checkpoint:
    """Return the checkpoint of a file, or the newest sound one of a run directory.

    best: that after the best epoch. Raises CheckpointError for a broken file, or a directory
    without a sound one.
    """
    if not path.is_dir():
        if best:
            raise CheckpointError(f"{path}: a checkpoint, expected a run directory with --best")
        return checkpoints.read(path)
    directory = RunDirectory(path)
    checkpoint = directory.best_checkpoint() if best else directory.newest_checkpoint()
    if checkpoint is None:
        what = " of a finished epoch" if best else ""
        raise CheckpointError(f"{path}: no sound checkpoint{what}, expected a run directory")
    return checkpoint


def restore(checkpoint: Checkpoint, network: Sequence[Layer] | Make | None = None) -> Model:
    """Return the model of a checkpoint; network as for `load`. Raises CheckpointError."""
    options = resumed(Options(), frozenset(), checkpoint.options)
    plan = plan_network(options, checkpoint.network, network)
    check_arrays(options, plan, checkpoint.model, checkpoint.average, checkpoint.optimizer)
    check_memory(options, plan, 1, ranks=1)
    normalization = recorded_normalization(checkpoint, options)
    restored = Network(plan)
    restored.restore(checkpoint.best_values)
    return Model(restored, options, checkpoint, normalization)


def recorded_normalization(checkpoint: Checkpoint, options: Options) -> Normalization:
    """Return the normalisation of a checkpoint whose options these are; raises CheckpointError."""
    channels, _, _ = options.image_shape
    return from_config(checkpoint.dataset["normalization"], options.normalize, channels)
