"""A trained network for a program to use: predict, evaluate, look at, save, export, plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from dpcnn.api import exporting, reporting
from dpcnn.api.evaluation import Evaluation, evaluate_arrays
from dpcnn.errors import OptionError
from dpcnn.inference import model as inference
from dpcnn.inference.model import Array
from dpcnn.models.user import Make
from dpcnn.nn.config import own_layers
from dpcnn.nn.layer import Layer
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.checkpoint import Checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Model(inference.Model):
    """A trained network, with the options it was trained with and the checkpoint it came from."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the checkpoint and layers of the user's own; workspaces are made anew."""
        layers = self.network.layers if own_layers(self.checkpoint.network) else None
        return _restored, (self.checkpoint, layers)

    def predict_proba(self, images: ArrayLike) -> Array:
        """Return the probability of each class for each image, as `probabilities` does."""
        return self.probabilities(images)

    def evaluate(self, X: ArrayLike, y: ArrayLike) -> Evaluation:
        """Return loss, accuracy and predictions on images and labels, forms as for train().

        Raises DataError for what cannot be evaluated on.
        """
        return evaluate_arrays(self, X, y)

    def summary(self) -> str:
        """Return a table of the layers: name, what it is, output shape, parameters."""
        plan = self.network.plan
        rows = [("layer", "what", "output", "parameters")]
        for row in plan.table():
            shape = "x".join(map(str, row.output_shape))
            rows.append((row.name, row.layer, shape, f"{row.parameters:,}"))
        rows.append(("total", "", "", f"{plan.parameter_count:,}"))
        name, what, output, count = (max(map(len, column)) for column in zip(*rows, strict=True))
        return "\n".join(
            f"{row[0]:<{name}}  {row[1]:<{what}}  {row[2]:<{output}}  {row[3]:>{count}}"
            for row in rows
        )

    def save(self, path: str | Path) -> Path:
        """Write it as a checkpoint, which `dpcnn.load` reads; raises OptionError."""
        try:
            checkpoints.write(Path(path), self.checkpoint)
        except OSError as error:
            raise OptionError(f"{path}: {error.strerror}, expected a file to write") from error
        return Path(path)

    def export(self, path: str | Path) -> Path:
        """Write it for other programs, as NAME.onnx or NAME.npz; raises DpcnnError."""
        exporting.write(self, Path(path))
        return Path(path)

    def plot(self, chart: str = "accuracy") -> Figure:
        """Return one of a report's charts of the run up to this state, as a matplotlib figure.

        chart: accuracy or loss, over epochs, or with -time; learning-rate or speed. Raises
        OptionError without the extra `report`, and for another chart.
        """
        return reporting.chart(self.checkpoint.metrics, chart)


def _restored(checkpoint: Checkpoint, layers: Sequence[Layer] | None) -> Model:
    return Model(**vars(inference.restore(checkpoint, layers)))


def load(
    path: str | Path, network: Sequence[Layer] | Make | None = None, best: bool = False
) -> Model:
    """Return the model of a checkpoint, or of the newest sound one in a run directory.

    network: the layers it was trained with, or a function that makes them of the run's options;
    needed where some are not of dpcnn.nn. best: that after the best epoch of the run, by validation
    accuracy, or by test accuracy without a validation set. Raises CheckpointError for what cannot
    be read or is of another network.

    >>> import dpcnn, numpy
    >>> run = dpcnn.train(dataroot="digits", max_steps=20, progress="silent")
    >>> model = dpcnn.load(run.directory)
    >>> images = numpy.zeros((3, 28, 28))
    >>> model.predict(images).shape, model.predict_proba(images).shape
    ((3,), (3, 10))
    >>> print(" ".join(model.summary().splitlines()[1].split()))
    convolution1 Convolution(32 x 7x7, stride 1, padding 1) 32x24x24 1,600
    """
    return Model(**vars(inference.load(path, network, best)))
