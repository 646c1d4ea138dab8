"""The metrics that a state keeps, which do not grow, and those that only the file has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.best import best_epoch, epochs_since_best
from dpcnn.run.directory import RunDirectory
from dpcnn.run.history import NEWEST, all_epochs, first_kept, kept
from dpcnn.run.loggers import csv, jsonl
from dpcnn.run.loggers.logger import Metrics
from tests.run.states import state

EPOCHS = 3 * NEWEST
BEST = 100


def lines(count: int, loss: float = 0.5) -> list[Metrics]:
    """Return metrics of so many epochs, of which BEST is the best."""
    accuracies = {epoch: 0.9 if epoch == BEST else 0.5 for epoch in range(1, count + 1)}
    recorded = state(accuracies=accuracies).metrics
    return [line | {"loss": loss} for line in recorded]


def kept_of(all_lines: list[Metrics]) -> list[Metrics]:
    """Return what a state has kept that has remembered these one by one."""
    metrics: list[Metrics] = []
    for line in all_lines:
        metrics = kept([*metrics, line])
    return metrics


@pytest.fixture(scope="module")
def whole() -> list[Metrics]:
    return lines(EPOCHS)


@pytest.fixture
def run(whole: list[Metrics], tmp_path: Path) -> RunDirectory:
    """A run that was killed after all of these epochs."""
    run = RunDirectory(tmp_path / "run")
    run.create({}, {})
    (run.path / jsonl.NAME).write_text(jsonl.text(whole) + '{"epoch": 9')
    run.release()
    return run


def recorded(run: RunDirectory) -> list[Any]:
    return [json.loads(text) for text in (run.path / jsonl.NAME).read_text().splitlines()]


@pytest.mark.parametrize("count", [0, 1, NEWEST, NEWEST + 1, EPOCHS])
def test_a_state_keeps_the_newest_epochs_and_the_best(count: int, whole: list[Metrics]) -> None:
    metrics = kept_of(whole[:count])
    assert metrics[-NEWEST:] == whole[:count][-NEWEST:]
    assert len(metrics) <= NEWEST + 1
    assert best_epoch(metrics) == best_epoch(whole[:count])
    if count:
        assert epochs_since_best(metrics) == epochs_since_best(whole[:count])


def test_a_checkpoint_does_not_grow(whole: list[Metrics], tmp_path: Path) -> None:
    sizes = []
    for count in (2 * NEWEST, 3 * NEWEST):
        checkpoint = state()
        checkpoint.metrics.extend(kept_of(whole[:count]))
        checkpoints.write(tmp_path / "a.h5", checkpoint)
        assert checkpoints.read(tmp_path / "a.h5").epochs == count
        sizes.append((tmp_path / "a.h5").stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 2 * NEWEST  # a digit or two a line


@pytest.mark.parametrize("count", [0, 7, NEWEST + 30, EPOCHS])
def test_the_file_of_a_killed_run_is_cut_to_the_checkpoints_epochs(
    count: int, run: RunDirectory, whole: list[Metrics]
) -> None:
    run.create({}, {}, kept_of(whole[:count]))
    assert recorded(run) == whole[:count]
    assert (run.path / csv.NAME).read_bytes().decode() == csv.text(whole[:count])
    longer = lines(count + 1)
    run.add_metrics(kept_of(longer))
    assert recorded(run) == longer


def test_the_kept_epochs_are_the_checkpoints_whatever_the_file_says(
    run: RunDirectory, whole: list[Metrics]
) -> None:
    newer = kept_of(lines(EPOCHS - 9, loss=0.25))
    run.create({}, {}, newer)
    first = first_kept(newer)
    assert recorded(run) == whole[: first - 1] + newer[-NEWEST:]


def test_broken_lines_are_left_out(run: RunDirectory, whole: list[Metrics]) -> None:
    texts = (run.path / jsonl.NAME).read_text().splitlines()
    texts[3:6] = ['{"epoch"', "[" * 100_000, "[]"]
    (run.path / jsonl.NAME).write_text("\n".join(texts))
    assert list(all_epochs(run.path, kept_of(whole))) == whole[:3] + whole[6:]


def test_a_run_that_goes_on_elsewhere_takes_the_older_epochs_along(
    run: RunDirectory, whole: list[Metrics], tmp_path: Path
) -> None:
    other = RunDirectory(tmp_path / "other")
    other.before = run.path
    other.create({}, {}, kept_of(whole))
    assert recorded(other) == whole


def test_without_the_file_the_kept_ones_are_left(whole: list[Metrics], tmp_path: Path) -> None:
    assert list(all_epochs(tmp_path, kept_of(whole))) == whole[-NEWEST:]
