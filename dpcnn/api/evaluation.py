"""Evaluating a trained network on labelled images: on those of its run, on others, on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from dpcnn.api.sources import Arrays
from dpcnn.cli.job import together
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import arrays
from dpcnn.data.formats.assemble import assemble
from dpcnn.errors import OptionError
from dpcnn.inference import evaluation
from dpcnn.inference.model import Model, read, restore
from dpcnn.metrics.classification import Mistake, PerClass, confusion, mistakes, per_class
from dpcnn.metrics.tables import class_table
from dpcnn.models.user import Make
from dpcnn.nn.layer import Layer
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.console import console
from dpcnn.training.datasets import Read, located, open_dataset, split, wanted

Array = NDArray[Any]
Facts = dict[str, Any]

LIMITS = ("train_limit", "test_limit")
OF_EVALUATION = ("dataroot", *LIMITS)  # options as the checkpoint has them, unless named


@dataclass(frozen=True)
class Evaluation:
    """How a network does on N labelled images.

    loss: the mean over the images. labels, predicted: their true and their predicted classes, (N,)
    integers from 0. facts: what was evaluated on what, as `evaluate --json` prints it.
    """

    loss: float
    accuracy: float
    labels: Array = field(repr=False)
    predicted: Array = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
    facts: Facts = field(repr=False, default_factory=dict)

    @property
    def per_class(self) -> PerClass:
        """Images, precision, recall and F1 of each class, (classes,) each."""
        return per_class(self.labels, self.predicted, len(self.class_names))

    @property
    def confusion(self) -> Array:
        """How many images of each class (row) were predicted as each class (column)."""
        return confusion(self.labels, self.predicted, len(self.class_names))

    @property
    def mistakes(self) -> list[Mistake]:
        """Each pair of a true class and a wrong prediction for it, the most frequent first."""
        return mistakes(self.labels, self.predicted)

    def __str__(self) -> str:
        lines = class_table(self.per_class, self.class_names)
        return "\n".join([f"loss {self.loss:.4f}, accuracy {self.accuracy:.4f}", *lines])


@dataclass(frozen=True)
class Wish:
    """What to evaluate, and on what.

    path: a run directory or a checkpoint; best: the best epoch of the run. split: test, validation
    or train. network: as for `load`. named: options that the user named, of OF_EVALUATION and keys.
    read: what reads the images, if that is not --dataroot's. progress: how to show how far it is,
    as of --progress.
    """

    path: Path
    best: bool = False
    split: str = "test"
    network: Sequence[Layer] | Make | None = None
    named: Mapping[str, Any] = field(default_factory=dict)
    read: Read | None = None
    progress: str = "none"


def evaluate(
    run: str | Path,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    best: bool = False,
    split: str = "test",
    network: Sequence[Layer] | Make | None = None,
    **options: Any,
) -> Evaluation:
    """Evaluate a run or a checkpoint, as `python -m dpcnn.evaluate` does, under mpirun too.

    X, y: images and labels in the place of the run's test images. best: the run's best epoch
    instead of its newest. split: test, validation or train. network: the layers, needed if some are
    your own. options: dataroot, keys, train_limit and test_limit. Raises DpcnnError.
    """
    unknown = ", ".join(sorted(options.keys() - {*OF_EVALUATION, "keys"}))
    if unknown:
        raise OptionError(f"unknown option {unknown}, expected {', '.join(OF_EVALUATION)} or keys")
    named = {name: str(value) if name == "dataroot" else value for name, value in options.items()}
    source = Arrays(X, y).source(named)
    if source is not None:
        named["dataroot"] = source.dataroot
    wish = Wish(Path(run), best, split, network, named, source and source.read)
    return together(lambda comm: evaluate_run(comm, wish))


def evaluate_run(comm: Communicator, wish: Wish) -> Evaluation:
    """Return the evaluation of what is wished for, on all ranks; collective.

    Raises OptionError, DataError or CheckpointError, on all ranks.
    """
    checkpoint = comm.on_root(lambda: read(wish.path, wish.best))
    model = comm.on_all(lambda: restore(checkpoint, wish.network))
    recorded, named = model.options, wish.named
    options = replace(recorded, **{name: named[name] for name in OF_EVALUATION if name in named})
    whole = replace(options, train_limit=None, test_limit=None)
    if "dataroot" in named:
        _, height, width = recorded.image_shape
        size = f"{height}x{width}"
        whole = replace(whole, keys=named.get("keys"), size=size, test_fraction=None)
    else:
        whole = comm.on_root(lambda: located(whole, checkpoint))
    names, node = tuple(checkpoint.dataset["class_names"]), comm.split_by_node()
    out, elsewhere = console(wish.progress, comm.rank), "dataroot" in named
    dataset = open_dataset(whole, comm, node, out, False, names, elsewhere, wish.read)
    dataset = dataset.normalized(model.normalization)
    images = comm.on_all(lambda: _images(dataset, wish.split, options, recorded, named))
    out.start_evaluation(f"{wish.split} set", len(images))
    try:
        found = evaluation.evaluate(model.network, images, comm, recorded.tta, out.evaluated)
    finally:
        out.end_progress()
    as_trained = dataset.limited(recorded.train_limit, recorded.test_limit)
    facts = {
        "path": str(wish.path),
        "step": checkpoint.progress["step"],
        "weights_sha256": model.weights_sha256,
        "ema": recorded.ema,
        "averaged": recorded.averages,
        "tta": recorded.tta,
        "dataset": dataset.source,
        "fingerprint": comm.on_root(as_trained.fingerprint),
        "trained_on": checkpoint.dataset,
        "split": wish.split,
        "images": len(images),
        "loss": found.loss,
        "accuracy": found.accuracy,
    }
    return Evaluation(*found[:2], images.labels, found.predicted, model.class_names, facts)


def evaluate_arrays(model: Model, X: ArrayLike, y: ArrayLike) -> Evaluation:
    """Return the evaluation of a model on images and labels, in this process alone."""
    choice = replace(wanted(model.options), test_alone=True)
    choice = replace(choice, class_names=tuple(model.checkpoint.dataset["class_names"]))
    images = assemble(arrays.raw(X, y), choice).normalized(model.normalization).test
    found = evaluation.evaluate(model.network, images, Communicator(), model.options.tta)
    return Evaluation(*found[:2], images.labels, found.predicted, model.class_names)


def _images(
    dataset: Dataset, name: str, options: Options, recorded: Options, named: Mapping[str, Any]
) -> Images:
    """Return the images of a set; raises OptionError if the run has no such set.

    options: with the limits of this command; recorded: those of the run. What the run has validated
    on is set apart as it was then: a limit that is named counts within either part.
    """
    if name == "test":
        return dataset.test.first(options.test_limit)
    if recorded.validation is None:
        if name == "validation":
            raise OptionError(
                "--split is validation, which the run has not, expected test or train"
            )
        return dataset.train.first(options.train_limit)
    as_trained = split(dataset.limited(recorded.train_limit, None), recorded, world_size=1)
    part = as_trained.train if name == "train" else as_trained.validation
    assert part is not None, "the run has a validation set"
    return part.first(named.get("train_limit"))
