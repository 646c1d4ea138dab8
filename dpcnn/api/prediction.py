"""Predicting the classes of images in files: an answer for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dpcnn.data.formats.image_files import LeftOut, is_array, read, walk
from dpcnn.inference.model import Model, load
from dpcnn.models.user import Make
from dpcnn.nn.layer import Layer
from dpcnn.system.text import in_one_line

Array = NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """An image (C, H, W) in [0, 1] or uint8, and the probability of each class.

    index: its place in a file of several images. names: of the classes.
    """

    file: Path
    index: int | None
    image: Array = field(repr=False)
    probabilities: Array = field(repr=False)
    names: tuple[str, ...] = field(repr=False)

    @property
    def label(self) -> int:
        """The most probable class, 0, 1, ..."""
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str:
        """The name of the most probable class."""
        return self.names[self.label]

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
        return float(self.probabilities[self.label])


def predict(
    run: str | Path,
    files: str | Path | Sequence[str | Path],
    *,
    best: bool = False,
    prepare: str = "auto",
    array: str | None = None,
    keys: str | None = None,
    network: Sequence[Layer] | Make | None = None,
) -> list[Answer]:
    """Return an answer for each image of pictures, arrays in files, or folders of these.

    As `python -m dpcnn.predict` does; for arrays there is `dpcnn.load(run).predict(X)`. best: the
    run's best epoch instead of its newest. prepare: auto, digit, resize or none; array: of an HDF5
    or .npz file; keys: the column of labels in a CSV file. network: the layers, needed if some are
    your own. Raises DpcnnError.
    """
    model = load(run, network, best)
    paths = [files] if isinstance(files, str | Path) else files
    return [
        answer
        for path in paths
        for file in walk(Path(path), LeftOut())
        for answer in answers(model, file, array, prepare, keys)
    ]


def answers(
    model: Model, path: Path, array: str | None, prepare: str, keys: str | None
) -> Iterator[Answer]:
    """Yield the answer for each image of a file; raises DataError."""
    shape, index = model.options.image_shape, 0
    names = tuple(map(in_one_line, model.class_names))
    for images in read(path, shape, array, preparation(model, prepare), keys):
        for image, probabilities in zip(images, model.probabilities(images), strict=True):
            number = index if is_array(path) else None
            yield Answer(path, number, image, probabilities, names)
            index += 1


def preparation(model: Model, prepare: str) -> str:
    """Return how pictures are prepared; `auto`: as fits what the model was trained on."""
    return str(model.checkpoint.dataset["prepare"]) if prepare == "auto" else prepare
