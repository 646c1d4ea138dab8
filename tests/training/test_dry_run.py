"""--dry_run: what a run does is tried once, its cost is told, and nothing is left behind."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

import dpcnn
from dpcnn.cli.arguments import parse_keywords
from dpcnn.cli.job import Job
from dpcnn.errors import CheckpointError, DivergenceError
from dpcnn.nn import Dense, Flatten, Layer
from dpcnn.run.checkpoint import read
from dpcnn.training import api, dry_run
from dpcnn.training.dry_run import Cost
from tests.parallel.ranks import on_ranks

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def options(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    words = f"--train_limit 512 --n_filter 2 --epochs 7 --validation 0.25 --dataroot {small}"
    return [*words.split(), "--progress", "none"]


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_it_tells_what_the_run_will_cost_and_leaves_nothing(
    options: list[str], tmp_path: Path, capsys: Captured
) -> None:
    assert api.main([*options, "--dry_run"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "run directory  none: this is a dry run" in out
    *_, done, time, memory, disk = out.splitlines()
    assert done == dry_run.DONE
    number = r"[\d,.e+-]+"
    assert re.fullmatch(
        rf"time    0:\d\d:\d\d for 42 steps of {number} ms and 7 evaluations of {number} s", time
    )
    assert re.fullmatch(rf"memory  {number} MB a rank at most, {number} MB on \S+", memory)
    assert re.fullmatch(rf"disk    {number} MB at most, for 4 checkpoints", disk)
    assert list(tmp_path.iterdir()) == []


def test_of_a_run_that_is_resumed_it_tells_what_is_left(
    options: list[str], tmp_path: Path, capsys: Captured
) -> None:
    run = ["--run_dir", "run"]
    assert api.main([*options, *run, "--max_steps", "14"]) == 0
    before = files(tmp_path)
    resume = [*run, "--resume", "auto", "--progress", "none", "--dry_run"]
    assert api.main([*resume, "--max_steps", "20"]) == 0
    assert re.search(r"for 6 steps of .* and 1 evaluation of ", capsys.readouterr().out)
    assert api.main(resume) == 0
    assert capsys.readouterr().out.splitlines()[-1] == dry_run.FINISHED
    assert files(tmp_path) == before


def test_it_finds_what_the_run_would_fail_on(
    options: list[str], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.main([*options, "--dry_run", "--lr", "1e6", "--n_filter", "32"]) == 1
    assert "dpcnn: error: step 2: " in capsys.readouterr().err

    def damaged(*arguments: Any, **keywords: Any) -> Any:
        checkpoint = read(*arguments, **keywords)
        next(iter(checkpoint.model.values()))["W"][...] = 0
        return checkpoint

    monkeypatch.setattr("dpcnn.run.checkpoint.read", damaged)
    assert api.main([*options, "--dry_run"]) == CheckpointError.exit_code
    assert "other weights than were saved" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_it(
    options: list[str], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "requested", lambda sums: signal.SIGTERM)
    assert api.main([*options, "--dry_run"]) == 128 + signal.SIGTERM
    assert dry_run.DONE not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_several_ranks_keep_nothing_either(
    options: list[str], small: Path, tmp_path: Path, capsys: Captured
) -> None:
    parsed = parse_keywords({"dataroot": small, "train_limit": 512, "n_filter": 2, "dry_run": True})
    tried = on_ranks(2, lambda comm: dry_run.dry_run(Job(comm, 1), parsed).exit_code)
    assert tried == [0, 0]
    assert capsys.readouterr().out.count(dry_run.DONE) == 1
    assert list(tmp_path.iterdir()) == []


class Own(Layer):
    """Passes on what it gets: no command line has named it."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def forward(self, x: Any) -> Any:
        return x

    def backward(self, dy: Any) -> Any:
        return dy


def test_a_call_from_python_tries_its_layers_and_arrays_and_returns_the_cost(
    small: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watch(dpcnn.Callback):
        def on_end(self, run: dpcnn.Run) -> None:
            raise AssertionError("nothing was trained")

    monkeypatch.chdir(tmp_path)
    digits, layers = dpcnn.read(small, train_limit=256), [Flatten(), Own(), Dense(10)]
    arrays = {"X": digits.train.images, "y": digits.train.labels, "test_fraction": 0.25}
    run = dpcnn.train(layers, **arrays, epochs=9, ema=0.9, dry_run=True, callbacks=[Watch()])
    assert run.cost is not None
    assert str(run.cost).startswith("time    0:00:0")
    assert capsys.readouterr().out.endswith(f"{dry_run.DONE}\n{run.cost}\n")
    assert (run.cost.steps, run.cost.evaluations) == (27, 9)
    assert run.cost.seconds > 0
    assert (run.exit_code, run.metrics) == (0, [])
    assert "disk" in run._repr_html_()
    assert run.model.predict(digits.test.images[:2]).shape == (2,)
    assert list(tmp_path.iterdir()) == []


class Untested(Own):
    """Not finite outside of training."""

    def forward(self, x: Any) -> Any:
        return x if self.training else x / 0


def test_it_finds_what_an_evaluation_would_fail_on(small: Path, tmp_path: Path) -> None:
    options = {"dataroot": small, "train_limit": 256, "dry_run": True, "progress": "silent"}
    message = "evaluation: untested1's output .forward. is not finite .* for test images 1 to "
    with pytest.raises(DivergenceError, match=message):
        dpcnn.train([Flatten(), Untested(), Dense(10)], run_dir=tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_estimator_does_not_try_itself(small: Path) -> None:
    digits = dpcnn.read(small, train_limit=20)
    with pytest.raises(ValueError, match="dry_run is true, expected false"):
        dpcnn.Classifier(dry_run=True).fit(digits.train.images, digits.train.labels)


def test_the_lines_have_sizes_and_times_that_one_can_read() -> None:
    cost = Cost(1, 2000, 1, 0.0123456, 30, 2**20, [300 << 20, 200 << 20], ["a", "b"])
    assert [*cost.lines()] == [
        "time    16:40:00 for 1 step of 12.3 ms and 2,000 evaluations of 30 s",
        "memory  300 MB a rank at most, 300 MB on a, 200 MB on b",
        "disk    1.0 MB at most, for 1 checkpoint",
    ]
