"""Learning-rate schedules, against PyTorch's and their formulas."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.optim.schedules import (
    Plateau,
    Schedule,
    constant,
    cosine,
    linear,
    milestones,
    onecycle,
    triangle,
    warmed,
)

STEPS = 50
LR = 0.3


@pytest.fixture(scope="module")
def schedulers() -> Any:
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    torch.set_num_threads(1)
    return torch.optim.lr_scheduler


def rates(scheduler: Any, kind: Any, *args: Any, **kwargs: Any) -> list[float]:
    """Return the learning rates of a scheduler of PyTorch over the steps."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    scheduler = kind(optimizer, *args, **kwargs)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer makes no steps
        for _ in range(STEPS):
            found.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
    return found


def ours(schedule: Schedule) -> list[float]:
    return [schedule(step) for step in range(STEPS)]


def close(expected: list[float]) -> Any:
    return pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_constant_is_exactly_the_learning_rate() -> None:
    assert ours(constant(LR)) == [LR] * STEPS


def test_milestones_are_those_of_multi_step_lr(schedulers: Any) -> None:
    expected = rates(schedulers, schedulers.MultiStepLR, [7, 20, 20, 41], 0.2)
    assert ours(milestones(LR, [7, 20, 20, 41], 0.2)) == close(expected)


@pytest.mark.parametrize("final", [0.0, 0.01])
def test_the_cosine_is_that_of_cosine_annealing_lr(schedulers: Any, final: float) -> None:
    expected = rates(schedulers, schedulers.CosineAnnealingLR, STEPS, final)
    assert ours(cosine(LR, final, STEPS)) == close(expected)


@pytest.mark.parametrize("final", [0.0, 0.03])
def test_the_line_is_that_of_linear_lr(schedulers: Any, final: float) -> None:
    expected = rates(schedulers, schedulers.LinearLR, 1.0, final / LR, STEPS)
    assert ours(linear(LR, final, STEPS)) == close(expected)


@pytest.mark.parametrize("pct_start", [0.1, 0.3, 0.75])
def test_onecycle_is_that_of_one_cycle_lr(schedulers: Any, pct_start: float) -> None:
    # One step more, which PyTorch would refuse, is none of the run's.
    args = {"max_lr": LR, "total_steps": STEPS + 1, "pct_start": pct_start}
    expected = rates(schedulers, schedulers.OneCycleLR, **args, cycle_momentum=False)
    assert ours(onecycle(LR, None, STEPS + 1, pct_start)) == close(expected)


@pytest.mark.parametrize("warm_up", [2, 5, 20])
def test_a_warm_up_before_a_cosine_is_linear_lr_and_then_cosine_lr(
    schedulers: Any, warm_up: int
) -> None:
    def both(optimizer: Any) -> Any:
        rise = schedulers.LinearLR(optimizer, 1 / warm_up, 1.0, warm_up - 1)
        fall = schedulers.CosineAnnealingLR(optimizer, STEPS - warm_up)
        return schedulers.SequentialLR(optimizer, [rise, fall], [warm_up])

    expected = rates(schedulers, both)
    assert ours(warmed(cosine(LR, 0.0, STEPS, warm_up), warm_up)) == close(expected)


def test_no_warm_up_changes_no_bit() -> None:
    assert ours(warmed(constant(LR), 0)) == [LR] * STEPS


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.1, 2), max_size=STEPS), st.integers(0, 3), st.floats(0.1, 0.9))
def test_plateau_is_that_of_reduce_lr_on_plateau(
    losses: list[float], patience: int, gamma: float
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=gamma, patience=patience, eps=0
    )
    plateau = Plateau()
    for loss in losses:
        scheduler.step(loss)
        plateau = plateau.after(loss, gamma, patience)
        assert plateau.factor == pytest.approx(optimizer.param_groups[0]["lr"])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 60))
def test_every_schedule_has_a_rate_at_every_step_of_short_runs(
    total: int, pct_start: float, warm_up: int
) -> None:
    """Runs of a step, cycles without a rise or without a fall, warm-ups that outlast the run."""
    schedules = [
        cosine(LR, 0.0, total, warm_up), linear(LR, 0.0, total, warm_up),
        onecycle(LR, None, total, pct_start),
    ]  # fmt: skip
    for schedule in schedules:
        for step in range(total):
            assert 0 <= warmed(schedule, warm_up)(step) <= LR * (1 + 1e-12)


def test_a_triangle_is_two_straight_lines() -> None:
    found = ours(triangle(LR, 0.06, 0.03, STEPS, 0.25))
    expected = np.interp(np.arange(STEPS), [0, 12, STEPS], [0.06, LR, 0.03])
    assert found == close(expected.tolist())
    assert triangle(LR, 0.06, 0.03, STEPS, 0.0)(0) == LR
    assert triangle(LR, 0.06, 0.03, STEPS, 1.0)(STEPS - 1) < LR
