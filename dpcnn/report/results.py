"""What a run has trained: its network, its dataset, and how the one does on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.data import words
from dpcnn.data.augment import NOTHING, Augmentation
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.sources import find
from dpcnn.data.sources.catalog import SOURCES
from dpcnn.errors import DataError, DpcnnError
from dpcnn.inference.model import Model, restore
from dpcnn.metrics.classification import Mistake, PerClass, confusion, mistakes, per_class
from dpcnn.models.user import Make
from dpcnn.nn.layer import Layer
from dpcnn.options import OPTIONS, Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.report.run import Run
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory
from dpcnn.system.text import one_line
from dpcnn.training.console import Console
from dpcnn.training.datasets import check_dataset, located, open_dataset, split

Array = NDArray[Any]

WORST = 25  # mistakes that are kept
GUESSES = 3  # classes that are kept of each
NAME = 30  # characters of the name of a class
CHUNK = 1000  # images whose probabilities are in memory at a time
NO_COPIES = "none"  # of --tta
MATRIX = 1000  # classes up to which there is a confusion matrix

Own = Sequence[Layer] | Make  # the layers of a network, or what makes them


@dataclass(frozen=True)
class Guess:
    """What a network makes of one image (C, H, W): the most probable classes, best first."""

    image: Array
    label: int
    label_probability: float
    classes: list[int]
    probabilities: list[float]

    def candidates(self) -> list[tuple[int, float]]:
        """Return the most probable classes with their probabilities, the label among them."""
        pairs = list(zip(self.classes, self.probabilities, strict=True))
        if self.label not in self.classes:
            pairs[-1] = (self.label, self.label_probability)
        return pairs


@dataclass(frozen=True)
class Results:
    """How a network does on the test images.

    confusion: (classes, classes), None if there are too many of them; worst: the wrongly
    classified images whose label got the lowest probability, lowest first.
    """

    classes: int
    images: int
    correct: int
    confusion: Array | None
    per_class: PerClass
    mistakes: list[Mistake]
    worst: list[Guess]

    @property
    def accuracy(self) -> float:
        """The share of the images that is classified correctly."""
        return self.correct / self.images


class Bank(NamedTuple):
    """Filters W (K, C, F, F) of a layer, and what they are called."""

    title: str
    W: Array


@dataclass(frozen=True)
class Trained:
    """What a run has trained; None for what cannot be read, which `missing` gives reasons for.

    augmentation: what --augment stands for, if the dataset can be read.
    """

    checkpoint: Checkpoint | None = None
    model: Model | None = None
    dataset: Dataset | None = None
    augmentation: Augmentation = NOTHING
    results: Results | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def tta(self) -> str:
        """The --tta whose copies the results do without, "" if the run has none."""
        tta = self.model.options.tta if self.model else NO_COPIES
        return "" if tta == NO_COPIES else tta

    def name(self, label: int) -> str:
        """Return the name of a class, its number if the dataset has none."""
        recorded = self.checkpoint.dataset.get("class_names") if self.checkpoint else None
        named = recorded or (self.dataset and self.dataset.class_names)
        return one_line(named[label])[:NAME] if named and label < len(named) else f"{label}"

    @property
    def filters(self) -> list[Bank]:
        """The filters that see the image: of the first layer, and through one that is not trained.

        Empty if the first layer has no filters.
        """
        return [] if self.model is None else _banks([*self.model.network.plan.leaves.values()])


def load(
    run: Run, dataroot: str | None = None, best: bool = False, network: Own | None = None
) -> Trained:
    """Return what the run has trained, from its newest sound checkpoint, or that of its best epoch.

    dataroot: where the dataset is now, None: where it was. network: what makes its layers, needed
    if some are not dpcnn's. Nothing is downloaded. Raises DpcnnError if the run has another
    network.
    """
    missing: list[str] = []
    checkpoint = RunDirectory(run.path).best_checkpoint(missing.append) if best else None
    if best and checkpoint is None:
        missing.append("There is no checkpoint of the best epoch: the newest is shown.")
    checkpoint = checkpoint or _newest_checkpoint(run.path, missing)
    model, dataset, augmentation = None, None, NOTHING
    try:
        model = restore(checkpoint, network) if checkpoint else None
    except DpcnnError as error:
        if network is not None:
            raise
        missing.append(f"The network cannot be shown: {one_line(error)}.")
    try:
        options = model.options if model else _options(run)
        dataset = _dataset(options, checkpoint, dataroot)
        augmentation = words.parse(options.augment, dataset.train.shape)
    except DpcnnError as error:
        missing.append(
            f"The dataset and the results on it cannot be shown: {one_line(error)}; name the"
            " dataset with --dataroot."
        )
    results = evaluate(model, dataset.test) if model and dataset else None
    return Trained(checkpoint, model, dataset, augmentation, results, missing)


def _newest_checkpoint(path: Path, missing: list[str]) -> Checkpoint | None:
    """Return the newest sound checkpoint of a run directory, None without one."""
    reason = "There is no checkpoint"
    for _, checkpoint in RunDirectory(path).read_checkpoints():
        if isinstance(checkpoint, Checkpoint):
            return checkpoint
        missing.append(f"{checkpoint}.")  # an error: what is wrong with it
        reason = "None of the checkpoints can be read"
    missing.append(
        f"{reason}: the network cannot be shown, and the dataset shown may not be the one it was"
        " trained on."
    )
    return None


def _options(run: Run) -> Options:
    """Return the options of a run, perhaps of another version, as far as this one knows them."""
    return Options(**{name: value for name, value in run.options.items() if name in OPTIONS})


def _dataset(options: Options, checkpoint: Checkpoint | None, dataroot: str | None) -> Dataset:
    """Return the dataset of a run; raises DpcnnError if it cannot be read or is another one."""
    if dataroot is None and checkpoint is not None:
        options = located(options, checkpoint)
    word = dataroot or options.dataroot
    root = find.locate(word)
    if root is None and checkpoint is not None and word == find.AUTO:
        root = find.DIGITS  # what `auto` falls back to; the fingerprint tells whether it did
    if root is None:
        title = SOURCES[find.MNIST if word == find.AUTO else word].title
        raise DataError(f"no {title} on this machine, and a report downloads nothing")
    alone = Communicator()
    dataset = open_dataset(replace(options, dataroot=root), alone, alone, Console())
    if checkpoint is not None:
        check_dataset(checkpoint, dataset.fingerprint(), dataset.source)
    return split(dataset, options, world_size=1)


def _banks(leaves: Sequence[Layer]) -> list[Bank]:
    """Return the filters that see the image, of a network with these layers."""
    filters = {leaf: getattr(leaf, "W", None) for leaf in leaves}
    filtering = [(leaf, W) for leaf, W in filters.items() if W is not None and W.ndim == 4]
    if not filtering or filtering[0][0] is not leaves[0]:
        return []
    (first, W), others = filtering[0], filtering[1:]
    if "W" in first.parameter_shapes:
        return [Bank(f"{first.name}: filters", W)]
    banks = [Bank(f"{first.name}: filters, not trained", W)]
    for second, V in others[:1]:
        if V.shape[1] == len(W):
            title = f"{second.name}: filters, seen through {first.name}"
            banks.append(Bank(title, seen_through(W, V)))
    return banks


def seen_through(first: Array, second: Array) -> Array:
    """Return filters (L, C, F+G-1, F+G-1) of the image, for (L, K, G, G) of what (K, C, F, F) give.

    What they make of the image to first order, if a smooth activation is between the two.
    """
    (_, channels, height, width), (count, _, rows, columns) = first.shape, second.shape
    W = np.zeros((count, channels, height + rows - 1, width + columns - 1), np.float32)
    for row, column in np.ndindex(rows, columns):
        part = np.tensordot(second[:, :, row, column], first, 1)
        W[:, :, row : row + height, column : column + width] += part
    return W


def evaluate(model: Model, images: Images) -> Results:
    """Return how the model does on labelled images, each as it is, without the copies of --tta.

    A report is made by one process, which the copies would keep busy for minutes. All epochs but a
    run's last are evaluated without them too.
    """
    model = replace(model, options=replace(model.options, tta=NO_COPIES))
    labels = images.labels.astype(np.int64)
    of_label, classes, probabilities = _probabilities(model, images)
    predicted = classes[:, 0]
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(of_label[wrong], kind="stable")][:WORST]
    count = model.network.plan.output_shape[0]
    return Results(
        classes=count,
        images=len(labels),
        correct=len(labels) - len(wrong),
        confusion=confusion(labels, predicted, count) if count <= MATRIX else None,
        per_class=per_class(labels, predicted, count),
        mistakes=mistakes(labels, predicted),
        worst=[
            Guess(
                image=images.rows(np.array([index]))[0],
                label=int(labels[index]),
                label_probability=float(of_label[index]),
                classes=classes[index].tolist(),
                probabilities=probabilities[index].tolist(),
            )
            for index in worst
        ],
    )


def _probabilities(model: Model, images: Images) -> tuple[Array, Array, Array]:
    """Return the probability of each label (N,), the best classes (N, GUESSES), and theirs."""
    chunks = []
    for first in range(0, len(images), CHUNK):
        rows = np.arange(first, min(first + CHUNK, len(images)))
        probabilities = model.probabilities(images.rows(rows))
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :GUESSES]
        of_best = np.take_along_axis(probabilities, best, axis=1)
        of_label = probabilities[np.arange(len(rows)), images.labels[rows]]
        chunks.append((of_label, best, of_best))
    of_label, best, of_best = map(np.concatenate, zip(*chunks, strict=True))
    return of_label, best, of_best
