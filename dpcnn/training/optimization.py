"""What the options of optimizer and schedule stand for, in a network and a run of some length."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dpcnn.errors import OptionError
from dpcnn.nn.layer import Array
from dpcnn.nn.plan import Plan
from dpcnn.optim import schedules
from dpcnn.optim.adam import Adam, AdamW
from dpcnn.optim.averaging import Average, Lookahead
from dpcnn.optim.lars import LARS
from dpcnn.optim.optimizer import Optimizer
from dpcnn.optim.rmsprop import RMSprop
from dpcnn.optim.schedules import Plateau, Schedule
from dpcnn.optim.sgd import SGD
from dpcnn.options import OPTIONS, Change, Options, before_change, is_part

Metrics = Sequence[dict[str, Any]]  # an object for each epoch that is finished

LOSS = ("label_smoothing", "class_weights")  # the options that change it


class LearningRate:
    """The learning rates of a run, which follow from the step alone."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, step: int, metrics: Metrics) -> float:
        """Return that of a step, counted from 0, after epochs with these metrics."""
        return self.schedule(step)

    def memory(self, line: dict[str, Any], metrics: Metrics) -> dict[str, float]:
        """Return what the metrics of an epoch keep for later rates, after those of the others."""
        return {}


class PlateauRate(LearningRate):
    """Learning rates that follow from the losses too, of which the last metrics keep the gist."""

    def __init__(self, options: Options, warm_up: int) -> None:
        super().__init__(schedules.warmed(schedules.constant(1.0), warm_up))
        self.lr, self.lowest, self.gamma = options.lr, options.final_lr or 0.0, _gamma(options)
        self.patience = 10 if options.plateau_patience is None else options.plateau_patience

    def __call__(self, step: int, metrics: Metrics) -> float:
        factor = _plateau(metrics).factor
        return max(self.lr * factor, self.lowest) * self.schedule(step)

    def memory(self, line: dict[str, Any], metrics: Metrics) -> dict[str, float]:
        plateau = _plateau(metrics).after(_watched(line), self.gamma, self.patience)
        return {f"plateau_{name}": value for name, value in plateau._asdict().items()}


class ChangedRate(LearningRate):
    """Those before a change that was made after some steps, and those after it.

    anew: whether a plateau forgets what it was before: another lr is what it begins with again.
    """

    def __init__(self, before: LearningRate, step: int, after: LearningRate, anew: bool) -> None:
        self.before, self.step, self.after, self.anew = before, step, after, anew

    def __call__(self, step: int, metrics: Metrics) -> float:
        if step < self.step:
            return self.before(step, metrics)
        return self.after(step, self._later(metrics))

    def memory(self, line: dict[str, Any], metrics: Metrics) -> dict[str, float]:
        if line["step"] <= self.step:
            return self.before.memory(line, metrics)
        return self.after.memory(line, self._later(metrics))

    def _later(self, metrics: Metrics) -> Metrics:
        """Return the metrics that the rates after the change may depend on."""
        return () if self.anew and metrics and metrics[-1]["step"] <= self.step else metrics


def _plateau(metrics: Metrics) -> Plateau:
    """Return the plateau after the last of these epochs."""
    last, none = metrics[-1] if metrics else {}, Plateau()
    names = (f"plateau_{name}" for name in Plateau._fields)
    return Plateau._make(last.get(name, value) for name, value in zip(names, none, strict=True))


def make_optimizer(options: Options, plan: Plan) -> Optimizer:
    """Return the optimizer of the plan's parameters.

    Vectors (biases, the scales and shifts of normalisations) are not decayed, unless --decay_all
    asks for it: they are few, and decaying them harms more than it helps (He et al., "Bag of tricks
    for image classification", 2019).
    """
    decayed = [
        slot.part
        for slot in plan.slots
        if slot.trained and (len(slot.shape) > 1 or options.decay_all)
    ]
    decay: float | Array = _weight_decay(options)
    if decay and not options.decay_all:
        of_each = np.zeros(plan.parameter_count, np.float32)
        for part in decayed:
            of_each[part] = decay
        decay = of_each
    factors = None if options.lr_factors is None else lr_factors(options.lr_factors, plan)
    if factors is not None:  # an update multiplies the decay with the learning rate
        decay = np.divide(decay, factors, out=np.zeros_like(factors), where=factors > 0)
    optimizer = _optimizer(options, plan.parameter_count, decay, decayed)
    optimizer.lr_factors = factors
    return optimizer


def lr_factors(text: str, plan: Plan) -> Array:
    """Return what the learning rate of each parameter (P,) is multiplied with, 1 unless named.

    text: as of --lr_factors; of several names that match, the last one counts. Raises OptionError
    for one that matches no parameter.
    """
    factors = np.ones(plan.parameter_count, np.float32)
    slots = {f"{slot.layer.name}/{slot.key}": slot.part for slot in plan.slots if slot.trained}
    for item in text.split(","):
        pattern, _, factor = item.rpartition(":")
        names = fnmatch.filter(slots, pattern)
        if not names:
            raise OptionError(
                f"--lr_factors has {pattern!r:.100}, expected a parameter of the network, such as"
                f" {next(iter(slots))}"
            )
        for name in names:
            factors[slots[name]] = float(factor)
    return factors


def make_average(options: Options, values: Array) -> Average | None:
    """Return the average of a network's values that --ema or --lookahead asks for, if one does."""
    if options.lookahead is not None:
        return Lookahead(values, options.lookahead)
    return None if options.ema is None else Average(values, options.ema)


def vectors(options: Options) -> int:
    """Return how many vectors as long as the parameters training keeps besides them."""
    own = len(_optimizer(options, 0, 0.0, []).slots)
    return own + options.averages + (options.lr_factors is not None)


def run_length(options: Options, epoch_steps: int) -> int:
    """Return the steps of a run whose epochs have so many of them."""
    total = epoch_steps * options.epochs
    return total if options.max_steps is None else min(total, options.max_steps)


def learning_rate(options: Options, epoch_steps: int) -> LearningRate:
    """Return the learning rate of each step, of a run whose epochs have so many steps.

    Raises OptionError if the warm-up leaves nothing of a run whose length the schedule needs.
    """
    total = run_length(options, epoch_steps)
    warm_up = 0 if options.warmup is None else _steps(options.warmup, epoch_steps, total)
    if options.schedule == "plateau":
        return PlateauRate(options, warm_up)
    if options.schedule in ("cosine", "linear") and warm_up >= total:
        raise OptionError(
            f"--warmup {options.warmup} is {warm_up:,} steps, expected fewer than the {total:,} of"
            f" the run: --schedule {options.schedule} takes the rest"
        )
    spans = (options.milestones or "").split(",") if options.schedule == "step" else []
    reached = [_steps(span, epoch_steps, total) for span in spans]
    schedule = schedules.warmed(_schedule(options, total, warm_up, reached), warm_up)
    return LearningRate(schedule)


def changed_rate(options: Options, epoch_steps: int, changes: Sequence[Change]) -> LearningRate:
    """Return the learning rate of each step of a run that was changed on resuming.

    changes: in their order. Raises OptionError as `learning_rate`, and CheckpointError for changes
    that no run can have had.
    """
    rate, after = learning_rate(options, epoch_steps), options
    for change in reversed(changes):
        before = before_change(options, change)
        earlier = learning_rate(before, epoch_steps)
        rate = ChangedRate(earlier, change["step"], rate, anew=before.lr != after.lr)
        after = before
    return rate


def summary(options: Options) -> dict[str, str]:
    """Return, by name, what optimizes which loss, where that is not plain descent at one rate."""
    facts = {}
    changed = _changed(options, LOSS)
    if changed:
        facts["loss"] = ", ".join(["cross entropy", *changed])
    for group, choice in (("optimizer", options.optimizer), ("schedule", options.schedule)):
        names = [name for name in OPTIONS if OPTIONS[name].group == group != name]
        changed = _changed(options, names)
        if changed or choice != OPTIONS[group].default:
            facts[group] = ", ".join([choice, *changed])
    return facts


def _changed(options: Options, names: Iterable[str]) -> list[str]:
    """Return those options of these names that are not as by default, with their values."""
    return [
        f"{name} {OPTIONS[name].text(getattr(options, name))}"
        for name in names
        if getattr(options, name) != OPTIONS[name].default
    ]


def _weight_decay(options: Options) -> float:
    if options.weight_decay is None:
        return 0.01 if options.optimizer == "adamw" else 0.0
    return options.weight_decay


def _optimizer(
    options: Options, size: int, decay: float | Array, parts: Sequence[slice]
) -> Optimizer:
    """Return the optimizer of `size` parameters; what is auto is for the optimizer to say."""
    match options.optimizer:
        case "adam":
            return Adam(size, weight_decay=decay, **_chosen(options, "beta1", "beta2", "eps"))
        case "adamw":
            return AdamW(size, weight_decay=decay, **_chosen(options, "beta1", "beta2", "eps"))
        case "rmsprop":
            chosen = _chosen(options, "beta2", "eps", "momentum")
            return RMSprop(size, weight_decay=decay, **chosen)
        case "lars":
            return LARS(size, parts, weight_decay=decay, **_chosen(options, "momentum"))
    return SGD(size, weight_decay=decay, **_chosen(options, "momentum", "nesterov"))


def _chosen(options: Options, *names: str) -> dict[str, Any]:
    """Return those of the options that are not auto."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _schedule(options: Options, total: int, warm_up: int, reached: Sequence[int]) -> Schedule:
    """Return the schedule without its warm-up; reached: the steps of the milestones."""
    lr, final_lr = options.lr, options.final_lr
    pct_start = 0.3 if options.pct_start is None else options.pct_start
    match options.schedule:
        case "step":
            return schedules.milestones(lr, reached, _gamma(options))
        case "cosine":
            return schedules.cosine(lr, final_lr or 0.0, total, warm_up)
        case "linear":
            return schedules.linear(lr, final_lr or 0.0, total, warm_up)
        case "onecycle":
            return schedules.onecycle(lr, final_lr, total, pct_start)
        case "triangle":
            ends = options.first_lr or 0.0, final_lr or 0.0
            return schedules.triangle(lr, *ends, total, pct_start)
    return schedules.constant(lr)


def _watched(line: dict[str, Any]) -> float:
    """Return the loss of an epoch that plateau looks at, infinite in metrics that lack it."""
    loss = line.get("validation_loss", line.get("loss"))
    return float(loss) if isinstance(loss, int | float) else math.inf


def _gamma(options: Options) -> float:
    return 0.1 if options.gamma is None else options.gamma


def _steps(span: str, epoch_steps: int, total: int) -> int:
    """Return the steps of a length of time: epochs (2ep), steps (500st), a part of the run."""
    if is_part(span):
        return round(float(span) * total)
    count, unit = float(span[:-2]), span[-2:]
    return round(count * epoch_steps) if unit == "ep" else int(count)
