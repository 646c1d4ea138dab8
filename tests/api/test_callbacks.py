"""Callbacks: told what happens, unable to change it, and able to ask the run to stop."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.errors import OptionError
from dpcnn.training.callbacks import Step
from tests.conftest import Trained
from tests.test_readme import PYTHON


class Diary(dpcnn.Callback):
    """Keeps all that it is told, and is busy with NumPy's random numbers as a user may be."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.epochs: list[Mapping[str, Any]] = []
        self.ends: list[dpcnn.Run] = []

    def on_step(self, step: Step) -> None:
        np.random.default_rng().random(10)
        self.steps.append(step)

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        self.epochs.append(metrics)

    def on_end(self, run: dpcnn.Run) -> None:
        self.ends.append(run)


class Impatient(dpcnn.Callback):
    """Asks to stop after so many steps, or epochs."""

    def __init__(self, steps: int = 0, epochs: int = 0) -> None:
        self.limits = steps, epochs

    def on_step(self, step: Step) -> bool:
        return step.step == self.limits[0]

    def on_epoch(self, metrics: Mapping[str, Any]) -> bool:
        return bool(metrics["epoch"] == self.limits[1])


def train(quick: dict[str, Any], small: Path, *callbacks: Any, **options: Any) -> dpcnn.Run:
    return dpcnn.train(callbacks=callbacks, dataroot=small, **{"run_dir": "run"} | quick | options)


def test_they_are_told_all_and_change_no_bit(
    alone: Callable[..., Trained], small: Path, quick: dict[str, Any]
) -> None:
    diary = Diary()
    found = train(quick, small, diary)
    assert found.weights_sha256 == alone("--train_limit", 256, "--epochs", 2)[1]
    assert diary.ends == [found]
    assert [dict(metrics) for metrics in diary.epochs] == found.metrics
    assert [each[:4] for each in diary.steps] == [
        (step, 1 + (step - 1) // 4, 1 + (step - 1) % 4, 4) for step in range(1, 9)
    ]
    for metrics in found.metrics:
        steps = [each for each in diary.steps if each.epoch == metrics["epoch"]]
        assert np.mean([each.accuracy for each in steps]) == metrics["train_accuracy"]
        assert np.mean([each.loss for each in steps]) == pytest.approx(metrics["loss"], rel=1e-12)
        assert {each.learning_rate for each in steps} == {metrics["learning_rate"]}
        assert {each.images for each in steps} == {64}


def test_what_they_are_told_cannot_be_changed(small: Path, quick: dict[str, Any]) -> None:
    class Meddler(dpcnn.Callback):
        def on_step(self, step: Any) -> None:
            step.loss = 0

    class Vandal(dpcnn.Callback):
        def on_epoch(self, metrics: Any) -> None:
            metrics["ranks"].clear()
            metrics["loss"] = 0

    with pytest.raises(AttributeError):
        train(quick, small, Meddler())
    with pytest.raises(TypeError, match="does not support item assignment"):
        train(quick, small, Vandal(), run_dir="other")
    assert json.loads(Path("other/metrics.jsonl").read_text())["ranks"]
    with pytest.raises(OptionError, match=r"callbacks has <.*>, expected dpcnn.Callback"):
        train(quick, small, print, run_dir="third")


def test_a_run_stops_where_they_ask_and_goes_on_to_the_same_bits(
    small: Path, quick: dict[str, Any], alone: Callable[..., Trained]
) -> None:
    diary = Diary()
    found = train(quick, small, diary, Impatient(epochs=1))
    assert (found.exit_code, len(found.metrics), len(diary.steps)) == (0, 1, 4)
    assert diary.ends == [found]
    found = train(quick, small, Impatient(steps=5), resume="auto")
    assert found.model.checkpoint.progress["step"] == 6  # all ranks know of it after the next step
    events = [json.loads(line) for line in Path("run/events.jsonl").read_text().splitlines()]
    stops = [event["reason"] for event in events if event["event"] == "early_stop"]
    assert stops == ["a callback asked for it"] * 2
    found = train(quick, small, resume="auto")
    assert found.weights_sha256 == alone("--train_limit", 256, "--epochs", 2)[1]


def test_the_example_in_the_readme_works(
    small: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(log=logged.append))
    [code] = [block for block in PYTHON if "callbacks=" in block]
    code = code.replace('dataroot="digits"', "dataroot=small, **quick")
    exec(f"import dpcnn, wandb\n{code}", {"small": small, "quick": quick})
    assert [line["epoch"] for line in logged] == [1, 2]


def test_asking_in_the_last_step_of_an_epoch_leaves_time_for_its_evaluation(
    small: Path, quick: dict[str, Any]
) -> None:
    for steps in (3, 4):
        found = train(quick, small, Impatient(steps=steps), run_dir=f"run-{steps}")
        assert (len(found.metrics), found.model.checkpoint.progress["step"]) == (1, 4)
