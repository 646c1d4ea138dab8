"""What a run is, between two steps: what a checkpoint keeps and a replacement rank is given."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from dpcnn.errors import CheckpointError
from dpcnn.inference.evaluation import COUNTS
from dpcnn.models.build import check_values
from dpcnn.nn.layer import Array
from dpcnn.nn.network import Network
from dpcnn.optim.averaging import Average
from dpcnn.optim.optimizer import Optimizer
from dpcnn.options import Change
from dpcnn.parallel.reduction import Sums
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.history import kept


@dataclass
class Progress:
    """How far the run has come, with the sums and timings of the epoch in progress.

    step counts from the start of the run, epoch from 1, epoch_step within the epoch. deaths has
    the rank, host, process and step of each rank that was lost in the epoch, layers what --watch
    has measured in its last step (watch.py).
    """

    step: int = 0
    epoch: int = 1
    epoch_step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    images: float = 0.0
    compute_seconds: float = 0.0
    communication_seconds: float = 0.0
    waiting_seconds: float = 0.0
    deaths: list[dict[str, Any]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long the epoch's steps have taken."""
        return self.compute_seconds + self.communication_seconds + self.waiting_seconds

    def advance(self, sums: Sums, timings: Mapping[str, float]) -> None:
        """Count a step: its sums over all images, and its seconds by phase."""
        self.step += 1
        self.epoch_step += 1
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + sums[name])
        self.compute_seconds += timings["compute"]
        self.communication_seconds += timings["communication"]
        self.waiting_seconds += timings["waiting"]

    def next_epoch(self) -> Progress:
        """Return the progress before the first step of the next epoch."""
        return Progress(step=self.step, epoch=self.epoch + 1)


@dataclass(frozen=True)
class Identity:
    """What makes a run this run, as a checkpoint keeps it: options, dataset and layers.

    changes: of its learning rates, made on resuming.
    """

    options: dict[str, Any]
    dataset: dict[str, Any]
    network: list[dict[str, Any]]
    changes: Sequence[Change] = ()


@dataclass
class State:
    """All that a run is: the same on every rank that has made the same steps.

    `average` is that of the network's values, None without --ema and --lookahead. `metrics` has the
    epochs that are kept (run/history.py). `stop` is the signal that has asked the run to stop, None
    while none has; `asked` tells whether a callback has.
    """

    network: Network
    optimizer: Optimizer
    identity: Identity
    average: Average | None = None
    progress: Progress = field(default_factory=Progress)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    stop: signal.Signals | None = None
    asked: bool = False

    def standing(self) -> tuple[int, int, int, bool, bool]:
        """Return how far this state is: of two states of a run, the larger one is the newer."""
        progress = self.progress
        deaths, stopped = len(progress.deaths), self.stop is not None
        return progress.step, progress.epoch, deaths, stopped, self.asked

    def remember(self, line: dict[str, Any]) -> None:
        """Keep the metrics of an epoch that has ended."""
        self.metrics = kept([*self.metrics, line])

    def checkpoint(self) -> Checkpoint:
        """Return what a checkpoint keeps; its arrays are the state's own, not copies."""
        return Checkpoint(
            model=self.network.named_values(),
            average=self._averaged_values(),
            optimizer=self.optimizer.slots,
            progress=asdict(self.progress),
            metrics=self.metrics,
            options=self.identity.options,
            dataset=self.identity.dataset,
            network=self.identity.network,
            changes=self.identity.changes,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over the state of a checkpoint of this run's network."""
        self.network.restore(checkpoint.model)
        for name, views in self._averaged_values().items():
            for key, view in views.items():
                view[...] = checkpoint.average[name][key]
        for slot, vector in self.optimizer.slots.items():
            vector[...] = checkpoint.optimizer[slot]
        self.progress = Progress(**checkpoint.progress)
        self.metrics = kept(checkpoint.metrics)

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise CheckpointError unless the checkpoint has what this run's optimizer keeps."""
        found, expected = checkpoint.optimizer, self.optimizer.slots
        if found.keys() != expected.keys():
            raise CheckpointError(
                f"the checkpoint's optimizer: found {_words(found)}, expected {_words(expected)}"
            )
        for slot, vector in found.items():
            check_values(f"optimizer/{slot}", vector, slot in self.optimizer.never_negative)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the network the averaged values, where they are kept, while the body runs."""
        if self.average is None:
            yield
            return
        self.average.swap(self.network.values)
        try:
            yield
        finally:
            self.average.swap(self.network.values)

    def _averaged_values(self) -> dict[str, dict[str, Array]]:
        """Return layer name -> name -> view of the averaged parameters and state, if any."""
        return {} if self.average is None else self.network.views(self.average.vector)


def _words(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"


class Results(NamedTuple):
    """What rank 0 has found at the end of an epoch, and the seconds that it took.

    scores: test_accuracy, test_loss and, if there is a validation set, validation_accuracy and
    validation_loss; losses are means.
    """

    scores: dict[str, float]
    seconds: float


def epoch_metrics(
    state: State, results: Results, learning_rate: float, ranks: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the metrics of an epoch whose last step has been made, as metrics.jsonl has them.

    ranks: who the ranks are, and the timings of each.
    """
    progress = state.progress
    return {
        "epoch": progress.epoch,
        "step": progress.step,
        "loss": progress.loss / progress.images,
        "train_accuracy": progress.correct / progress.images,
        **results.scores,
        "learning_rate": learning_rate,
        "seconds": progress.seconds + results.seconds,
        "images_per_second": progress.images / progress.seconds,
        "compute_seconds": progress.compute_seconds,
        "communication_seconds": progress.communication_seconds,
        "waiting_seconds": progress.waiting_seconds,
        "evaluation_seconds": results.seconds,
        "world_size": len(ranks),
        "deaths": progress.deaths,
        "ranks": ranks,
        **({"layers": progress.layers} if progress.layers else {}),
        "weights_sha256": state.network.weights_sha256(),
    }


def check_progress(values: dict[str, Any], steps: int, images: int, minibatch_size: int) -> None:
    """Raise CheckpointError unless a run whose epochs have so many steps and images can be there.

    values: the fields of a Progress, as a checkpoint has recorded them.
    """
    if values.keys() == asdict(Progress()).keys():
        progress = Progress(**values)
        step = (progress.epoch - 1) * steps + progress.epoch_step
        visited = min(progress.epoch_step * minibatch_size, images)
        timed = progress.seconds > 0 or visited == 0
        inside = progress.epoch >= 1 and progress.epoch_step <= steps
        if inside and timed and (progress.step, progress.images) == (step, visited):
            return
    raise CheckpointError(
        f"the checkpoint's progress is {values}, impossible with {steps} steps an epoch and"
        f" {images} images"
    )
