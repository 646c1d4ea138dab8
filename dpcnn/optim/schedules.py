"""Learning-rate schedules: functions from the step, counted from 0, to the learning rate.

They are pure, so a run that is resumed goes on with the same rates. `total` is the number of steps
of the whole run, `warm_up` the number of those in which `warmed` lets the rate rise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

Schedule = Callable[[int], float]

# Of one-cycle, as in torch.optim.lr_scheduler.OneCycleLR: it starts at lr / 25, and ends at that
# divided by 10,000.
FIRST_DIVISOR = 25.0
LAST_DIVISOR = 1e4
# An improvement that plateau takes for one, relative to the best value before, as in PyTorch.
THRESHOLD = 1e-4


def constant(lr: float) -> Schedule:
    """Return the schedule that has this learning rate at every step."""
    return lambda step: lr


def milestones(lr: float, steps: Sequence[int], gamma: float) -> Schedule:
    """Return lr times gamma for each of the steps that has been reached.

    As torch.optim.lr_scheduler.MultiStepLR.
    """
    return lambda step: lr * gamma ** sum(step >= milestone for milestone in steps)


def cosine(lr: float, final_lr: float, total: int, warm_up: int = 0) -> Schedule:
    """Return half a cosine from lr at the end of the warm-up to final_lr after the last step.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, without
    restarts; as torch.optim.lr_scheduler.CosineAnnealingLR with T_max = total - warm_up.
    """
    return lambda step: _between(lr, final_lr, _eased(_done(step, warm_up, total)))


def linear(lr: float, final_lr: float, total: int, warm_up: int = 0) -> Schedule:
    """Return a straight line from lr at the end of the warm-up to final_lr after the last step.

    As torch.optim.lr_scheduler.LinearLR with start_factor 1, end_factor final_lr / lr and
    total_iters = total - warm_up.
    """
    return lambda step: _between(lr, final_lr, _done(step, warm_up, total))


def onecycle(lr: float, final_lr: float | None, total: int, pct_start: float) -> Schedule:
    """Return a rise from lr / 25 to lr in the share pct_start of the steps, and a fall to final_lr.

    Both are half cosines; final_lr None: lr / 250,000. As torch.optim.lr_scheduler.OneCycleLR with
    max_lr = lr, whose cycle of the momentum is left out. Smith and Topin, "Super-convergence: very
    fast training of neural networks using large learning rates", 2018.
    """
    first = lr / FIRST_DIVISOR
    last = first / LAST_DIVISOR if final_lr is None else final_lr
    peak = max(pct_start * total - 1, 0)

    def rate(step: int) -> float:
        if step < peak:
            return _between(first, lr, _eased(_done(step, 0, peak)))
        return _between(lr, last, _eased(_done(step, peak, total - 1)))

    return rate


def triangle(lr: float, first_lr: float, final_lr: float, total: int, pct_start: float) -> Schedule:
    """Return a straight line from first_lr up to lr, and one down to final_lr after the last step.

    The peak is at the share pct_start of the steps, rounded down to one of them. Smith, "Cyclical
    learning rates for training neural networks", 2017, with one cycle.
    """
    peak = int(pct_start * total)

    def rate(step: int) -> float:
        if step < peak:
            return _between(first_lr, lr, _done(step, 0, peak))
        return _between(lr, final_lr, _done(step, peak, total))

    return rate


class Plateau(NamedTuple):
    """What the losses of the epochs so far have come to.

    factor: what the learning rate is multiplied with, gamma for each time that the loss has not
    fallen, by at least 1e-4 of the smallest before, for more than `patience` epochs. best: the
    smallest loss. waited: the epochs since it, or since the factor has changed. As
    torch.optim.lr_scheduler.ReduceLROnPlateau.
    """

    factor: float = 1.0
    best: float = math.inf
    waited: int = 0

    def after(self, loss: float, gamma: float, patience: int) -> Plateau:
        """Return the plateau after one more epoch, with this loss."""
        factor, best, waited = self.factor, self.best, self.waited + 1
        if loss < best * (1 - THRESHOLD):
            best, waited = loss, 0
        if waited > patience:
            factor, waited = factor * gamma, 0
        return Plateau(factor, best, waited)


def warmed(schedule: Schedule, warm_up: int) -> Schedule:
    """Return a schedule whose first `warm_up` steps rise in equal parts to the full rate.

    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017; as
    torch.optim.lr_scheduler.LinearLR with start_factor 1 / warm_up, total_iters = warm_up - 1.
    """
    if warm_up == 0:
        return schedule
    return lambda step: schedule(step) * min(1.0, (step + 1) / warm_up)


def _done(step: int, start: float, stop: float) -> float:
    """Return the share of the way from start to stop that has been gone at a step, 0 to 1."""
    return min(max((step - start) / max(stop - start, 1), 0.0), 1.0)


def _eased(share: float) -> float:
    """Return a share of the way, slower at both ends, as half a cosine is."""
    return (1 - math.cos(math.pi * share)) / 2


def _between(first: float, last: float, share: float) -> float:
    return first + (last - first) * share
