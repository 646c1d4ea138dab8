"""What a trainer is told: every `auto` and every text of the options, resolved once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dpcnn.data.sampler import auto_microbatch_size
from dpcnn.errors import OptionError
from dpcnn.nn.layer import Array
from dpcnn.nn.losses import Labels, Loss, balanced_weights, scaled_weights, training_loss
from dpcnn.options import Change, Options
from dpcnn.training.optimization import LearningRate, changed_rate, run_length
from dpcnn.training.state import Progress


@dataclass(frozen=True)
class Every:
    """How often to save: after so many steps (`st`) or epochs (`ep`)."""

    count: int
    unit: str

    def due(self, progress: Progress, epoch_ended: bool) -> bool:
        """Tell whether to save now; `progress` stands before the next epoch when one has ended."""
        if self.unit == "st":
            return progress.step % self.count == 0
        return epoch_ended and (progress.epoch - 1) % self.count == 0


@dataclass(frozen=True)
class Config:
    """How a network is trained, in the trainer's own terms."""

    minibatch_size: int
    microbatch_size: int
    epochs: int
    max_steps: float  # infinite for no limit
    seed: int
    shuffle: str
    last_minibatch: str
    augment: str | None
    reduce: str
    evaluate_on: str
    tta: str
    patience: int | None
    label_smoothing: float
    class_weights: str | None
    clip_norm: float | None
    watch: bool
    # the steps of an epoch, and what was changed on resuming -> the learning rate of each step
    schedule: Callable[[int, Sequence[Change]], LearningRate]
    length: Callable[[int], int]  # the steps of an epoch -> those of the run
    save: Every

    @classmethod
    def of(cls, options: Options) -> Config:
        """Return the config of options whose micro-batch size is resolved."""
        assert options.microbatch_size is not None, "resolved() has chosen one"
        count, unit = options.checkpoint_every[:-2], options.checkpoint_every[-2:]
        return cls(
            minibatch_size=options.minibatch_size,
            microbatch_size=options.microbatch_size,
            epochs=options.epochs,
            max_steps=math.inf if options.max_steps is None else options.max_steps,
            seed=options.seed,
            shuffle=options.shuffle,
            last_minibatch=options.last_minibatch,
            augment=options.augment,
            reduce=options.reduce,
            evaluate_on=options.evaluate_on,
            tta=options.tta,
            patience=options.patience,
            label_smoothing=options.label_smoothing,
            class_weights=options.class_weights,
            clip_norm=options.clip_norm,
            watch=options.watch,
            schedule=partial(changed_rate, options),
            length=partial(run_length, options),
            save=Every(int(count), unit),
        )

    def loss(self, labels: Labels, classes: int) -> Loss:
        """Return the loss that is trained, of training images with these labels (N,).

        Raises OptionError for class weights that do not fit the classes.
        """
        return training_loss(self.label_smoothing, self._class_weights(labels, classes))

    def _class_weights(self, labels: Labels, classes: int) -> Array | None:
        """Return the weights (classes,) that --class_weights stands for."""
        if self.class_weights is None:
            return None
        if self.class_weights == "balanced":
            return balanced_weights(labels, classes)
        weights = [float(weight) for weight in self.class_weights.split(",")]
        if len(weights) != classes:
            raise OptionError(
                f"--class_weights has {len(weights)} numbers, expected {classes}, one for each"
                " class"
            )
        return scaled_weights(weights, labels)


def resolved(options: Options, ranks: int) -> Options:
    """Return the options with the micro-batch size that `auto` means on so many ranks."""
    if options.microbatch_size is not None:
        return options
    return replace(options, microbatch_size=auto_microbatch_size(options.minibatch_size, ranks))
