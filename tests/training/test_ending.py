"""The last lines of a run: what was done, in how long, what is left, how to see it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from dpcnn.options import Options
from dpcnn.parallel.launcher import single_command
from dpcnn.training import ending
from dpcnn.training.state import Progress


@pytest.mark.parametrize(
    ("first", "progress", "seconds", "told"),
    [
        (0, Progress(step=32, epoch=3), 5.04, "32 steps in 5.0 s, to the end of epoch 2"),
        (32, Progress(step=33, epoch=3, epoch_step=1), 59.94, "1 step in 59.9 s, to step 1 of 16"),
        (0, Progress(step=3200, epoch=201), 3723.4, "3,200 steps in 1:02:03, to the end of"),
    ],
)
def test_it_says_what_was_done_and_where_it_ended(
    first: int, progress: Progress, seconds: float, told: str
) -> None:
    assert ending.account(first, progress, 16, seconds).startswith(f"Trained {told}")


@pytest.mark.parametrize(
    ("progress", "options", "told"),
    [
        (Progress(32, 3), {"epochs": 2}, "after step 32, in epoch 2; --epochs 3 or more goes on"),
        (Progress(20, 2, 4), {"max_steps": 20}, "step 20, in epoch 2; a larger --max_steps goes"),
        (Progress(20, 2, 4), {"epochs": 5, "patience": 1}, "after step 20, in epoch 2"),
    ],
)
def test_a_finished_run_says_what_lets_it_go_on(
    progress: Progress, options: dict[str, Any], told: str
) -> None:
    assert told in ending.nothing_left(Options(**options), progress)


def test_an_epoch_is_compared_with_the_best_before_it() -> None:
    metrics: list[dict[str, Any]] = []
    told = []
    for accuracy in (0.5, 0.75, 0.625, 0.75):
        metrics.append({"epoch": len(metrics) + 1, "test_accuracy": accuracy})
        told.append(ending.so_far(metrics))
    best = ["best 0.7500 in epoch 2"]
    assert told == [[], ["best so far"], best, best]


def test_the_command_that_shows_a_run_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "an environment/bin"
    for name in ("python3", "dpcnn"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python3"))
    monkeypatch.setenv("PATH", str(folder))
    assert shutil.which("dpcnn")
    assert single_command("report") == "dpcnn report"
    (folder / "dpcnn").unlink()
    assert single_command("report") == "python3 -m dpcnn.report"
    monkeypatch.setenv("PATH", "/nowhere")
    assert single_command("report") == f"'{folder}/python3' -m dpcnn.report"
    monkeypatch.chdir(tmp_path)
    assert single_command("report") == "'an environment/bin/python3' -m dpcnn.report"
