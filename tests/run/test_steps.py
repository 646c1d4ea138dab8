"""The steps within the epochs: bounded, means of all of them, kept where a run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dpcnn
from dpcnn.run.steps import NAME, POINTS, Step, Steps, settle
from tests.launching import metrics


def lines(directory: Path) -> list[Any]:
    return [json.loads(text) for text in (directory / NAME).read_text().splitlines()]


def add(steps: Steps, directory: Path, numbers: range, of: int) -> None:
    for step in numbers:
        steps.add(Step(step, of, step / 10, 2.0 * step, 4.0, 8.0, 0.1), directory)


def test_a_long_run_has_no_more_points_than_a_short_one(tmp_path: Path) -> None:
    steps, total = Steps(), 10 * POINTS
    add(steps, tmp_path, range(1, total + 1), total)
    steps.write(tmp_path)
    points = lines(tmp_path)
    assert [point["step"] for point in points] == [*range(10, total + 1, 10)]
    assert points[0]["loss"] == pytest.approx(5.5 * 2 / 8), "the mean over ten steps"
    assert all(point["accuracy"] == 0.5 for point in points)


def test_what_a_full_disk_does_not_take_is_written_later(tmp_path: Path) -> None:
    steps = Steps()
    add(steps, tmp_path / "gone", range(1, 4), 9)
    steps.write(tmp_path / "gone")
    add(steps, tmp_path, range(4, 6), 9)
    steps.write(tmp_path)
    assert [point["step"] for point in lines(tmp_path)] == [1, 2, 3, 4, 5]


def test_a_run_keeps_the_sound_lines_up_to_where_it_goes_on(tmp_path: Path) -> None:
    steps = Steps()
    add(steps, tmp_path, range(1, 8), 9)
    steps.write(tmp_path)
    with (tmp_path / NAME).open("a") as file:
        file.write('{"step": 3}\n[]\n{"step": 8')
    settle(tmp_path, tmp_path, 9)
    assert [point["step"] for point in lines(tmp_path)] == [*range(1, 8)]
    settle(tmp_path, tmp_path, 5)
    assert [point["step"] for point in lines(tmp_path)] == [*range(1, 6)]
    settle(tmp_path / "gone", tmp_path, 5)
    assert lines(tmp_path) == []


def test_a_resumed_run_has_every_step_once(small: Path, tmp_path: Path) -> None:
    options = {"dataroot": small, "train_limit": 300, "n_filter": 2, "progress": "silent"}
    dpcnn.train(run_dir=tmp_path, epochs=1, **options)
    first = lines(tmp_path)
    dpcnn.train(run_dir=tmp_path, epochs=2, resume="auto", **options)
    points = lines(tmp_path)
    assert points[:5] == first
    assert [point["step"] for point in points] == [*range(1, 11)]
    assert [point["epoch"] for point in points][4::5] == [1, 2]
    sizes = [64, 64, 64, 64, 44]
    for line, epoch in zip(metrics(tmp_path), (points[:5], points[5:]), strict=True):
        total = sum(size * point["loss"] for size, point in zip(sizes, epoch, strict=True))
        assert total / 300 == pytest.approx(line["loss"])
