"""Validation, patience and what the loss is made of: the same on any ranks, through any resume."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dpcnn
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.sources import synthetic
from dpcnn.errors import OptionError
from dpcnn.evaluate import main as evaluate
from dpcnn.models.build import plan_network
from dpcnn.parallel.communicator import Communicator
from dpcnn.run.best import best_epoch, exhausted
from dpcnn.training.config import Config
from dpcnn.training.datasets import split
from dpcnn.training.log import Log
from dpcnn.training.recovery import Recovery
from dpcnn.training.setup import initial_state
from dpcnn.training.signals import StopRequests
from dpcnn.training.trainer import Trainer
from tests.launching import TIMES
from tests.networks import of_mnist
from tests.parallel.ranks import on_ranks

IMAGES = 130
SMALL = {"train_limit": 200, "test_limit": 60, "n_filter": 2, "progress": "silent"}
# Learns so fast that it is soon no better: patience ends it long before the epochs do.
HASTY = SMALL | {"validation": 0.2, "patience": 2, "epochs": 60, "lr": 0.05, "minibatch_size": 32}
Outcome = tuple[str, list[dict[str, Any]]]


@cache
def dataset() -> Dataset:
    sets = [synthetic.draw(IMAGES, seed=0), synthetic.draw(20, seed=1)]
    return Dataset(*(Images(images[:, None], labels) for images, labels in sets), "digits", 10)


def train(comm: Communicator, evaluate_on: str = "rank0") -> Outcome:
    options = of_mnist(
        dataroot="digits",
        n_filter=2,
        epochs=30,
        lr=0.1,
        minibatch_size=30,
        microbatch_size=7,
        evaluate_on=evaluate_on,
        validation=25,
        patience=2,
        label_smoothing=0.1,
        class_weights="balanced",
    )
    state = initial_state(options, plan_network(options), dataset(), "")
    sets = split(dataset(), options, comm.size)
    trainer = Trainer(Config.of(options), state, sets, comm, Log(), Recovery(), StopRequests())
    assert trainer.run() == 0
    lines = [{key: line[key] for key in line if key not in TIMES} for line in state.metrics]
    return state.network.weights_sha256(), lines


@cache
def expected() -> Outcome:
    return train(Communicator())


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6), st.sampled_from(["rank0", "all"]), st.integers(0, 2**16))
def test_any_number_of_ranks_gives_the_bits_of_one(ranks: int, evaluate_on: str, seed: int) -> None:
    outcomes = on_ranks(ranks, lambda comm: train(comm, evaluate_on), seed)
    assert outcomes == [expected()] * ranks
    assert len(expected()[1]) < 30


@pytest.fixture(scope="module")
def hasty(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dpcnn.Run:
    """A run that patience has ended."""
    directory = tmp_path_factory.mktemp("hasty") / "run"
    return dpcnn.train(dataroot=small, run_dir=directory, **HASTY)


def test_patience_ends_a_run_as_soon_as_it_is_exhausted(hasty: dpcnn.Run) -> None:
    assert hasty.exit_code == 0
    assert 4 < len(hasty.metrics) < 60
    assert exhausted(hasty.metrics, 2)
    assert not exhausted(hasty.metrics[:-1], 2)


def test_the_checkpoint_of_the_best_validation_accuracy_is_kept(
    hasty: dpcnn.Run, small: Path, tmp_path: Path
) -> None:
    dpcnn.train(dataroot=small, run_dir=tmp_path, keep_checkpoints=1, **HASTY)
    best = best_epoch(hasty.metrics)
    assert best is not None
    steps = {best["step"], hasty.metrics[-1]["step"]}
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"best.h5", *(f"step-{step:08d}.h5" for step in steps)}
    assert len(steps) == 2
    assert best["validation_accuracy"] == max(line["validation_accuracy"] for line in hasty.metrics)


@pytest.mark.parametrize("epochs_before", [1, -1])
def test_a_run_resumed_before_its_early_end_ends_there_too(
    hasty: dpcnn.Run, epochs_before: int, small: Path, tmp_path: Path
) -> None:
    epochs = len(hasty.metrics)
    options = HASTY | {"dataroot": small, "run_dir": tmp_path}
    dpcnn.train(**options | {"epochs": epochs_before % epochs})
    again = dpcnn.train(**options, resume="auto")
    assert again.weights_sha256 == hasty.weights_sha256
    assert len(again.metrics) == epochs
    # Resumed at its end it stops at once; with more patience it goes on.
    assert len(dpcnn.train(**options, resume="auto").metrics) == epochs
    longer = options | {"patience": 50, "epochs": epochs + 1}
    assert len(dpcnn.train(**longer, resume="auto").metrics) == epochs + 1


def test_the_files_and_the_lines_tell_of_the_validation_set(
    hasty: dpcnn.Run, small: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    dpcnn.train(dataroot=small, run_dir=tmp_path, **HASTY | {"progress": "none"})
    lines = capsys.readouterr().out.splitlines()
    last, best = hasty.metrics[-1], best_epoch(hasty.metrics)
    assert best is not None
    assert any("160 to train on, 40 to validate on, 60 to test on" in line for line in lines)
    assert (
        f", Test Accuracy = {last['test_accuracy']:.4f},"
        f" Validation Accuracy = {last['validation_accuracy']:.4f}, best "
    ) in lines[-5]
    assert lines[-3] == (
        "Stopped early: no better validation accuracy for 2 epochs; the best was"
        f" {best['validation_accuracy']:.4f} after epoch {best['epoch']}, step {best['step']}"
    )
    assert lines[-1].startswith("Weights SHA-256: ")
    keys = (tmp_path / "metrics.csv").read_text().partition("\n")[0].split(",")
    assert {"validation_accuracy", "validation_loss"} < set(keys)
    events = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").open()]
    assert events[-2:] == ["early_stop", "end"]


def evaluated(run: dpcnn.Run, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert evaluate([str(run.directory), "--json", *options]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_evaluate_finds_the_numbers_of_the_run(
    hasty: dpcnn.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    last, found = hasty.metrics[-1], evaluated(hasty, capsys, "--split", "validation")
    assert (found["images"], found["loss"]) == (40, last["validation_loss"])
    assert found["accuracy"] == last["validation_accuracy"]
    few = ("--train_limit", "7")
    for split_name, images in (("validation", 40), ("train", 160)):
        assert evaluated(hasty, capsys, "--split", split_name)["images"] == images
        assert evaluated(hasty, capsys, "--split", split_name, *few)["images"] == 7


def test_evaluate_refuses_a_validation_set_that_the_run_has_not(
    small: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    dpcnn.train(dataroot=small, run_dir=tmp_path, epochs=1, **SMALL)
    assert evaluate([str(tmp_path), "--split", "validation"]) == 2
    error = capsys.readouterr().err
    assert "expected test or train" in error
    assert "\n" not in error.strip()


def test_a_streamed_run_validates_on_the_same_images(small: Path, tmp_path: Path) -> None:
    """In the order of the file, so that streaming changes nothing."""
    options = HASTY | {"dataroot": small, "epochs": 2, "shuffle": "none"}
    runs = [
        dpcnn.train(run_dir=tmp_path / str(stream), stream=stream, **options)
        for stream in (False, True)
    ]
    in_memory, streamed = ([line["validation_loss"] for line in run.metrics] for run in runs)
    assert streamed == in_memory
    assert runs[0].weights_sha256 == runs[1].weights_sha256


BAD = [
    *(("validation", value) for value in (0, 1.5, 200, -1, "all")),
    *(("patience", value) for value in (0, 1.5)),
    *(("label_smoothing", value) for value in (1, -0.1, "much")),
    *(("class_weights", value) for value in ("unbalanced", "1,2", "1,-2", ",".join("0" * 10))),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_one_line(
    name: str, value: float | str, small: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=f"--{name}") as caught:
        dpcnn.train(dataroot=small, run_dir=tmp_path / "run", **SMALL | {name: value})
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("validation", 0.1), ("label_smoothing", 0.2), ("class_weights", "balanced")],
)
def test_what_decides_bits_stays_as_it_was_on_a_resume(
    hasty: dpcnn.Run, small: Path, name: str, value: float | str
) -> None:
    options = HASTY | {"dataroot": small, "run_dir": hasty.directory, name: value}
    with pytest.raises(OptionError, match=f"--{name} is {value}, expected"):
        dpcnn.train(**options, resume="auto")
