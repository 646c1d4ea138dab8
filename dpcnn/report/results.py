"""What the network has learned, and what it makes of the test images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.sources import find
from dpcnn.errors import DataError, DpcnnError
from dpcnn.inference.model import Model, restore
from dpcnn.metrics.classification import Mistake, PerClass, confusion, mistakes, per_class
from dpcnn.models.build import check_dataset
from dpcnn.options import OPTIONS, Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.report.facts import Run
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory
from dpcnn.system.text import one_line
from dpcnn.training.console import Console
from dpcnn.training.setup import open_dataset

Array = NDArray[Any]

WORST = 25  # mistakes that are shown
GUESSES = 3  # classes that are shown of each
CHUNK = 1000  # images whose probabilities are in memory at a time
MATRIX = 1000  # classes of a confusion matrix at most


@dataclass(frozen=True)
class Guess:
    """A test image that was taken for another class: the most probable classes, best first."""

    image: Array
    label: int
    classes: list[int]
    probabilities: list[float]
    right: float  # the probability of the label


@dataclass(frozen=True)
class Results:
    """How the network of a checkpoint, after a step, does on the test images of its dataset.

    confusion: (classes, classes), None for too many of them; worst: the mistakes that the network
    was surest of.
    """

    step: int
    classes: int
    images: int
    accuracy: float
    confusion: Array | None
    per_class: PerClass
    mistakes: list[Mistake]
    worst: list[Guess]


@dataclass(frozen=True)
class Learned:
    """What there is of a run's network, dataset and results: None what cannot be had."""

    model: Model | None = None
    dataset: Dataset | None = None
    results: Results | None = None

    @property
    def filters(self) -> Array | None:
        """The filters of the first layer (K, C, F, F), None where it has none."""
        W = getattr(self.model.network.layers[0], "W", None) if self.model else None
        return W if W is not None and W.ndim == 4 else None


def learned(run: Run, dataroot: str | None = None) -> Learned:
    """Return what the run has learned; what is missing is added to run.missing.

    dataroot: where its dataset is now, None: where it was. Nothing is downloaded.
    """
    run.checkpoint = _newest_checkpoint(run)
    model = dataset = results = None
    try:
        model = restore(run.checkpoint) if run.checkpoint else None
    except DpcnnError as error:
        run.missing.append(f"The network cannot be shown: {one_line(error)}.")
    try:
        dataset = _dataset(run, model, dataroot)
    except DpcnnError as error:
        run.missing.append(
            f"The dataset, and how the network does on it, cannot be shown: {one_line(error)};"
            " name it with --dataroot."
        )
    if model and dataset:
        results = evaluate(model, dataset.test)
    return Learned(model, dataset, results)


def _newest_checkpoint(run: Run) -> Checkpoint | None:
    """Return the newest sound checkpoint, None without one; say which are not sound, and why."""
    any_file = False
    for _, found in RunDirectory(run.path).read_checkpoints():
        any_file = True
        if isinstance(found, Checkpoint):
            return found
        run.missing.append(f"{found}.")
    why = "none of the checkpoints can be read" if any_file else "there is no checkpoint"
    run.missing.append(
        f"What the network has learned, and whether the dataset is the one it was trained on,"
        f" cannot be known: {why}."
    )
    return None


def _dataset(run: Run, model: Model | None, dataroot: str | None) -> Dataset:
    """Return the dataset of a run; raises DpcnnError where it is not to be had, or another one."""
    options = model.options if model else _options(run)
    root = find.locate(dataroot or options.dataroot)
    if root is None and run.checkpoint is not None:
        root = find.DIGITS  # which `auto` takes where it finds no MNIST
    if root is None:
        raise DataError("found no MNIST here, and nothing is downloaded")
    dataset = open_dataset(replace(options, dataroot=root), Communicator(), Console())
    if run.checkpoint is not None:
        check_dataset(run.checkpoint, dataset.fingerprint(), dataset.source)
    return dataset


def _options(run: Run) -> Options:
    """Return the options of a run whose network is not to be had, perhaps of another version."""
    return Options(**{name: value for name, value in run.options.items() if name in OPTIONS})


def evaluate(model: Model, images: Images) -> Results:
    """Return how the model does on labelled images."""
    labels = images.labels.astype(np.int64)
    right, best, values = [], [], []
    for first in range(0, len(images), CHUNK):
        chunk = np.arange(first, min(first + CHUNK, len(images)))
        found = model.probabilities(images.rows(chunk))
        order = np.argsort(-found, axis=1, kind="stable")[:, :GUESSES]
        right.append(found[np.arange(len(found)), labels[chunk]])
        best.append(order)
        values.append(np.take_along_axis(found, order, axis=1))
    rights, classes, probable = map(np.concatenate, (right, best, values))
    predicted, count = classes[:, 0], model.network.plan.shapes[-1][0]
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(rights[wrong], kind="stable")][:WORST]
    return Results(
        step=model.checkpoint.progress["step"],
        classes=count,
        images=len(labels),
        accuracy=float((predicted == labels).mean()),
        confusion=confusion(labels, predicted, count) if count <= MATRIX else None,
        per_class=per_class(labels, predicted, count),
        mistakes=mistakes(labels, predicted),
        worst=[
            Guess(
                images.rows(np.array([index]))[0],
                int(labels[index]),
                classes[index].tolist(),
                probable[index].tolist(),
                float(rights[index]),
            )
            for index in worst
        ],
    )
