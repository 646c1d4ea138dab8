"""--tensorboard: TensorBoard's own reader finds every epoch once, also after a resume."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from dpcnn.run.loggers.tensorboard import CURVES, FOLDER, TensorBoard
from tests.launching import run

READER = "tensorboard.backend.event_processing.event_accumulator"


def curves(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Return step and value of every epoch by curve, as TensorBoard shows them."""
    reader = pytest.importorskip(READER)
    events = reader.EventAccumulator(str(run_dir / FOLDER), purge_orphaned_data=True).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in tags}


def expected(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {
        tag: [(line["step"], pytest.approx(line[key], rel=1e-6)) for line in lines]
        for tag, key in CURVES.items()
    }


def lines(*steps: int, loss: float) -> list[dict[str, Any]]:
    return [{"step": step, "loss": loss, "seconds": 10.0, "deaths": []} for step in steps]


def test_a_rewrite_takes_the_place_of_all_that_was_there(tmp_path: Path) -> None:
    first = TensorBoard()
    first.rewrite(tmp_path, [])
    for line in lines(16, 32, 48, loss=0.5):
        first.append(tmp_path, line)
    second = TensorBoard()
    second.rewrite(tmp_path, lines(16, 32, loss=0.25))
    for line in lines(40, 56, loss=0.125):
        second.append(tmp_path, line)
    assert curves(tmp_path)["loss/train"] == [(16, 0.25), (32, 0.25), (40, 0.125), (56, 0.125)]


def test_the_numbers_of_each_layer_are_curves_where_there_are_any(tmp_path: Path) -> None:
    logger = TensorBoard()
    layers = [{"layer": "block1/relu1", "dead": 0.25}, {"layer": "dense1", "update": None}]
    [line] = lines(16, loss=0.5)
    logger.rewrite(tmp_path, [line | {"layers": layers}])
    logger.append(tmp_path, line | {"step": 32})
    assert curves(tmp_path) == {
        "loss/train": [(16, 0.5), (32, 0.5)],
        "seconds/epoch": [(16, 10), (32, 10)],
        "dead/block1/relu1": [(16, 0.25)],
    }


def test_an_epoch_that_is_rewritten_keeps_its_distance_in_time(tmp_path: Path) -> None:
    logger = TensorBoard()
    before = time.time()
    logger.rewrite(tmp_path, lines(16, 32, 48, loss=0.5))
    after = time.time()
    reader = pytest.importorskip(READER)
    events = reader.EventAccumulator(str(tmp_path / FOLDER)).Reload()
    times = [each.wall_time for each in events.Scalars("loss/train")]
    assert before <= times[-1] <= after
    assert [times[-1] - each for each in times] == pytest.approx([20, 10, 0])


def test_what_is_no_number_has_no_curve(tmp_path: Path) -> None:
    line = {"step": 16, "loss": "high", "test_loss": None, "seconds": None, "learning_rate": 0.5}
    TensorBoard().append(tmp_path, line)
    assert curves(tmp_path) == {"learning_rate": [(16, 0.5)]}


def test_tensorboard_reads_what_was_recorded_also_after_a_resume(small, tmp_path):
    pytest.importorskip(READER)
    options = ("--dataroot", small, "--run_dir", "run", "--keep_checkpoints", 9)
    options += ("--validation", 30)  # which leaves 16 steps an epoch
    assert run(2, *options, "--epochs", 3, "--tensorboard", cwd=tmp_path).returncode == 0
    assert curves(tmp_path / "run") == expected(tmp_path / "run")
    # From the first epoch on again: what was written of the others is not shown twice.
    for step in (32, 48):
        (tmp_path / f"run/checkpoints/step-{step:08d}.h5").unlink()
    assert run(3, *options, "--epochs", 4, "--resume", "auto", cwd=tmp_path).returncode == 0
    found = curves(tmp_path / "run")
    assert [step for step, _ in found["loss/train"]] == [16, 32, 48, 64]
    assert found["accuracy/test"] == expected(tmp_path / "run")["accuracy/test"]
    assert [value for _, value in found["world_size"]] == [2, 3, 3, 3]


def test_a_missing_tensorboard_is_named_before_anything_starts(small, tmp_path):
    (tmp_path / "tensorboard.py").write_text("raise ImportError('not here')")
    options = ("--dataroot", small, "--run_dir", "run", "--tensorboard")
    result = run(2, *options, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("dpcnn: error: --tensorboard needs the package tensorboard")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
